"""Libraries that are installed with an extra of this package."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def require(library: str, extra: str, purpose: str) -> Any:
    """Return a library; ImportError with the command that installs it.

    >>> require("no_such_library", "export", "exporting")
    Traceback (most recent call last):
    ImportError: exporting needs no_such_library: pip install "softpoint[export]"
    """
    try:
        return import_module(library)
    except ImportError as error:
        raise ImportError(f'{purpose} needs {library}: pip install "softpoint[{extra}]"') from error
