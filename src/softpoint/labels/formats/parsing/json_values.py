"""JSON label files, checked value by value: an untrusted file may hold anything where a number belongs."""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.labels.skeleton import MAX_KEYPOINTS

# Lone surrogates cannot be written to any file, and control characters break lines and paths.
_FORBIDDEN = re.compile("[\x00-\x1f\ud800-\udfff]")
_NUMBERS = {int, float, type(None)}  # null is NaN
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 120


def load_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises FileNotFoundError, and ValueError with line and column, but without the path, for a file that is not JSON.
    A key that repeats within an object is refused; NaN and Infinity are read as floats.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"the file cannot be opened: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"the file is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    return parse_json(text)


def parse_json(text: str) -> Any:
    """Return the content of a JSON text; raise as `load_json` does.

    >>> parse_json('{"id": 1}')
    {'id': 1}
    >>> parse_json('{"id": 1, "id": 2}')
    Traceback (most recent call last):
    ValueError: the file cannot be read as JSON: the key 'id' repeats in the object {'id': 2}; remove one of the two
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        place = f"at line {error.lineno} column {error.colno}"
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
            raise ValueError(f"the file is incomplete: it ends {place} ({error.msg}); copy it again") from error
        raise ValueError(f"the file is not JSON {place}: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("the file nests lists or objects too deeply to be a label file") from error
    except ValueError as error:  # a repeated key, an integer of thousands of digits
        raise ValueError(f"the file cannot be read as JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {quote(key)} repeats in the object {quote(result)}; remove one of the two")
    return result


def quote(value: Any) -> str:
    """Return a value for a message, shortened if it is long.

    >>> quote(list(range(1000)))
    '[0, 1, 2, 3, 4, 5, ...]'
    """
    return _repr.repr(value)


def as_list(value: Any, name: str) -> list[Any]:
    """Return a list; raise ValueError for anything else."""
    if not isinstance(value, list):
        raise ValueError(f"{name} is {quote(value)}; it must be a list")
    return value


def as_object(value: Any) -> dict[str, Any]:
    """Return an object; raise ValueError for anything else."""
    if not isinstance(value, dict):
        raise ValueError(f"the entry is {quote(value)}; it must be an object with keys and values")
    return value


def as_text(value: Any, name: str) -> str:
    """Return a name or path: text that is not blank, without control characters; raise ValueError for anything else."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} is {quote(value)}; it must be text")
    if _FORBIDDEN.search(value):
        raise ValueError(f"{name} {quote(value)} has characters that no name can hold; rename it")
    return value


def as_number(value: Any, name: str) -> float:
    """Return a finite number; raise ValueError for anything else, also for a number in quotes.

    >>> as_number(2, "area")
    2.0
    >>> as_number("2", "area")
    Traceback (most recent call last):
    ValueError: area is '2'; it must be a finite number
    """
    if type(value) not in (int, float) or not math.isfinite(number := _float(value)):
        raise ValueError(f"{name} is {quote(value)}; it must be a finite number")
    return number


def as_numbers(value: Any, name: str, count: int) -> np.ndarray:
    """Return float64 (count,) from a list of so many numbers, NaN, null and infinity included; else raise ValueError.

    >>> as_numbers([1, None], "point", 2)
    array([ 1., nan])
    """
    if not isinstance(value, list) or len(value) != count:
        length = f"{len(value)} values" if isinstance(value, list) else quote(value)
        raise ValueError(f"{name} holds {length}; it must be a list of {count} numbers")
    if not set(map(type, value)) <= _NUMBERS:
        wrong = next(entry for entry in value if type(entry) not in _NUMBERS)
        raise ValueError(f"{name} holds {quote(wrong)}; it must be a list of {count} numbers")
    try:
        return np.array(value, np.float64)
    except OverflowError:
        return np.array([math.nan if entry is None else _float(entry) for entry in value])


def box_from_corners(edges: Sequence[float], bbox: Any) -> tuple[float, float, float, float]:
    """Return edges in pixel-center coordinates from edges that count from the corner of the image.

    Raises a ValueError that quotes `bbox` for edges that are not finite or enclose no area.

    >>> box_from_corners((0, 0, 640, 480), [0, 0, 640, 480])
    (-0.5, -0.5, 639.5, 479.5)
    """
    left, top, right, bottom = (edge - 0.5 for edge in edges)
    if not (-math.inf < left < right < math.inf and -math.inf < top < bottom < math.inf):
        raise ValueError(f"bbox {quote(bbox)} encloses no area; give it a width and height above 0, or remove it")
    return left, top, right, bottom


def check_keypoint_count(count: int) -> int:
    """Return the count; raise ValueError for more keypoints than any skeleton has."""
    if count > MAX_KEYPOINTS:
        raise ValueError(f"it has {count} keypoints; at most {MAX_KEYPOINTS} are read")
    return count


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf
