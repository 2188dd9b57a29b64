"""Libraries that only exports need."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def needed(name: str) -> Any:
    """The library; ImportError with the command that installs it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f'exporting needs {name}: pip install -e ".[export]"') from error
