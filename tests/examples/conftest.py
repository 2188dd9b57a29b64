"""Commands run in the test's own process."""

from helpers.commands import start

__all__ = ["start"]
