"""`python -m tfopt` is the command `tfopt`."""

from tfopt.cli import main

main()
