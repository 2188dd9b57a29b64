"""Facts that a stranger may have noted, as words of a page; what is none of the kind asked for counts as not known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from softpoint.inference.markdown import escape

# Of keypoints, in a list or a table.
MOST_SHOWN = 60


def said(record: Mapping[str, Any], key: str) -> str:
    """A fact in words, empty where it is not known."""
    value = record.get(key)
    return escape(value) if isinstance(value, str) else ""


def mapping(record: Mapping[str, Any], key: Any) -> Mapping[str, Any]:
    """What stands at a key, empty where it is no mapping."""
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


def finite(value: Any) -> float | None:
    """A number; None for anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def number(value: Any) -> str:
    """
    >>> number(12.345), number(0.01234), number(None)
    ('12.35', '0.012', '-')
    """
    known = finite(value)
    return "-" if known is None else f"{known:.2f}" if abs(known) >= 1 else f"{known:.3f}"


def count(value: Any) -> str:
    """
    >>> count(12345), count("many")
    ('12,345', '-')
    """
    return f"{int(known):,}" if (known := finite(value)) is not None else "-"


def share(value: Any) -> str | None:
    """
    >>> share(0.255)
    '26 %'
    """
    return None if (known := finite(value)) is None else f"{100 * known:.0f} %"


def ends(pair: Any) -> str:
    """
    >>> ends([1.234, 5]), ends("1 to 2")
    ('1.23 to 5.00', '-')
    """
    known = [finite(end) for end in pair] if isinstance(pair, list | tuple) else []
    return "-" if len(known) != 2 or None in known else f"{number(known[0])} to {number(known[1])}"


def listed(names: Sequence[str]) -> str:
    """The names, the first of them where there are many."""
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(map(escape, names[:MOST_SHOWN])) + more
