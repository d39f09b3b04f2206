"""`python -m reviews_parsing.cli`: the command without its script."""

from reviews_parsing.cli import main

main()
