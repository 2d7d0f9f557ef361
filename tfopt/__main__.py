"""`python -m tfopt` is the command `tfopt`."""

from tfopt.cli.main import main

main()
