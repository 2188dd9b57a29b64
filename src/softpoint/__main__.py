"""`python -m softpoint COMMAND ...` is `softpoint COMMAND ...`."""

from softpoint.cli import main

main()
