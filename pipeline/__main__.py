"""`python -m pipeline` is the command `prospectra`."""

from pipeline.cli import main

main()
