"""Input and output: file systems, file formats, atomic writes, read-ahead, ports. Knows nothing of reviews."""
