"""`python -m softpoint.cli COMMAND ...` is `softpoint COMMAND ...`."""

from softpoint.cli import main

main()
