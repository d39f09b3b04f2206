"""Input and output: atomic writes, local and remote file systems, ports. Knows nothing of reviews."""
