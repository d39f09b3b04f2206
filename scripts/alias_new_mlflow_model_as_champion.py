"""Make the model of a run the champion, through the same gate as `reviews-parsing promote`.

    python scripts/alias_new_mlflow_model_as_champion.py --run_id=RUN --model_name=NAME [--env=prod]

`--env` reads settings such as MLFLOW_TRACKING_URI from the file `.env.ENV` beside this project.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Read the options and run `promote`."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--run_id", required=True, help="run whose model is to be champion")
    options.add_argument("--model_name", required=True, help="name of the registered model")
    options.add_argument("--env", help="read settings from .env.ENV")
    args = options.parse_args()
    if args.env:
        from dotenv import load_dotenv

        file = PROJECT / f".env.{args.env}"
        if not load_dotenv(file):
            sys.exit(f"error: {file} does not exist or is empty; write MLFLOW_TRACKING_URI=... into it")
    os.environ["REVIEWS_PARSING_MODEL_NAME"] = args.model_name
    sys.argv = ["reviews-parsing", "promote", "--run-id", args.run_id]

    from reviews_parsing.cli import main as command

    command()


if __name__ == "__main__":
    main()
