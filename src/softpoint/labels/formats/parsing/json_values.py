"""JSON label files, value by value: a file from a stranger may hold anything where a number belongs."""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.labels.skeleton import MAX_KEYPOINTS

_UNFIT = re.compile("[\x00-\x1f\ud800-\udfff]")
_quote = reprlib.Repr()
_quote.maxstring = _quote.maxother = 120


def load_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises FileNotFoundError, and ValueError with line and column, but without the path, for what is not JSON.
    A key that stands twice in one object is refused; NaN and Infinity are read as floats.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"it cannot be opened: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    return parse_json(text)


def parse_json(text: str) -> Any:
    """What a JSON text holds; raises as `load_json` does.

    >>> parse_json('{"id": 1}')
    {'id': 1}
    >>> parse_json('{"id": 1, "id": 2}')
    Traceback (most recent call last):
    ValueError: it cannot be read as JSON: the key 'id' stands twice in one object, {'id': 2}; remove one
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        place = f"at line {error.lineno} column {error.colno}"
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
            raise ValueError(f"it is not whole: it breaks off {place} ({error.msg}); copy it again") from error
        raise ValueError(f"it is not JSON {place}: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("it nests lists or objects too deeply to be a label file") from error
    except ValueError as error:  # a key that repeats, an integer of thousands of digits
        raise ValueError(f"it cannot be read as JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {shown(twice)} stands twice in one object, {shown(found)}; remove one")
    return found


def shown(value: Any) -> str:
    """A value as a message quotes it: cut short where it is long.

    >>> shown(list(range(1000)))
    '[0, 1, 2, 3, 4, 5, ...]'
    """
    return _quote.repr(value)


def entries(value: Any, what: str) -> list:
    """A list; ValueError for anything else."""
    if not isinstance(value, list):
        raise ValueError(f"its {what} is {shown(value)}; it must be a list")
    return value


def record(value: Any) -> dict[str, Any]:
    """An object; ValueError for anything else."""
    if not isinstance(value, dict):
        raise ValueError(f"it is {shown(value)}; it must be an object with keys and values")
    return value


def text(value: Any, what: str) -> str:
    """A name or path: text that is not empty and has no control characters; ValueError for anything else."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"its {what} is {shown(value)}; it must be text")
    # Lone surrogates cannot be written to any file, and control characters break lines and paths.
    if _UNFIT.search(value):
        raise ValueError(f"its {what} {shown(value)} has characters that no name can hold; rename it")
    return value


def number(value: Any, what: str) -> float:
    """A finite number; ValueError for anything else, a number in quotes included.

    >>> number(2, "area")
    2.0
    >>> number("2", "area")
    Traceback (most recent call last):
    ValueError: its area is '2'; it must be a finite number
    """
    finite = type(value) in (int, float) and math.isfinite(_float(value))
    if not finite:
        raise ValueError(f"its {what} is {shown(value)}; it must be a finite number")
    return float(value)


def numbers(value: Any, what: str, count: int) -> np.ndarray:
    """float64 (count,) out of a list of so many numbers, NaN and infinity among them; ValueError for anything else.

    >>> numbers([1, 2.5], "point", 2)
    array([1. , 2.5])
    """
    if not isinstance(value, list) or len(value) != count:
        length = f"{len(value)} values" if isinstance(value, list) else shown(value)
        raise ValueError(f"its {what} holds {length}; it must be a list of {count} numbers")
    if not set(map(type, value)) <= {int, float}:
        wrong = next(entry for entry in value if type(entry) not in (int, float))
        raise ValueError(f"its {what} holds {shown(wrong)}; it must be a list of {count} numbers")
    try:
        return np.array(value, np.float64)
    except OverflowError:
        return np.array([_float(entry) for entry in value])


def box(left: float, top: float, right: float, bottom: float, written: Any) -> tuple[float, float, float, float]:
    """Edges in our pixels from edges counted from the corner of the image, half a pixel further out.

    Raises ValueError, which quotes the box as `written`, for edges that are not finite or enclose no area.

    >>> box(0, 0, 640, 480, [0, 0, 640, 480])
    (-0.5, -0.5, 639.5, 479.5)
    """
    edges = (left - 0.5, top - 0.5, right - 0.5, bottom - 0.5)
    if not (all(map(math.isfinite, edges)) and edges[0] < edges[2] and edges[1] < edges[3]):
        raise ValueError(
            f"its bbox {shown(written)} encloses no area; give it width and height above 0, or leave the box out"
        )
    return edges


def keypoint_count(count: int) -> int:
    """The count itself; ValueError for more keypoints than any skeleton has."""
    if count > MAX_KEYPOINTS:
        raise ValueError(f"it has {count} keypoints; files with more than {MAX_KEYPOINTS} are not read")
    return count


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf
