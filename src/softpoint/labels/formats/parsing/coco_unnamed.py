"""Keypoints of COCO files that their categories do not name: all of them, or those of face, hands and feet."""

from __future__ import annotations

from collections import Counter
from typing import Any

from softpoint.labels.formats.parsing.known_skeletons import WHOLE_BODY, numbered
from softpoint.labels.skeleton import MAX_KEYPOINTS

_VISIBLE = 2


def complete(categories: list[Any], annotations: list[Any]) -> None:
    """Add keypoints to the categories, and their points to the annotations, in place.

    Where no category names a keypoint, one gets as many numbered ones as most of its annotations have. Where
    annotations have the lists of COCO-WholeBody, all 133 points are their keypoints; if no 2 occurs in these lists, 1
    means visible.
    """
    entries = [entry for entry in annotations if isinstance(entry, dict)]
    kinds = [kind for kind in categories if isinstance(kind, dict)]
    if not any(kind.get("keypoints") for kind in kinds):
        _number(kinds, entries)
    if whole := [entry for entry in entries if any(isinstance(entry.get(key), list) for key in WHOLE_BODY)]:
        _add_whole_body(kinds, whole)


def _number(kinds: list[dict[str, Any]], entries: list[dict[str, Any]]) -> None:
    counts: dict[str, Counter[int]] = {}
    for entry in entries:
        if isinstance(points := entry.get("keypoints"), list) and 0 < len(points) // 3 <= MAX_KEYPOINTS:
            counts.setdefault(str(entry.get("category_id")), Counter())[len(points) // 3] += 1
    for kind in kinds:
        if own := counts.get(str(kind.get("id"))):
            kind["keypoints"] = list(numbered(own.most_common(1)[0][0]))


def _add_whole_body(kinds: list[dict[str, Any]], entries: list[dict[str, Any]]) -> None:
    names = [name for part in WHOLE_BODY.values() for name in part]
    states = [state for entry in entries for key in WHOLE_BODY for state in _list(entry, key)[2::3]]
    only_labeled = not any(type(state) in (int, float) and state == _VISIBLE for state in states)
    owners = {str(entry.get("category_id")) for entry in entries}
    for kind in kinds:
        key, own = str(kind.get("id")), kind.get("keypoints")
        if key in owners and isinstance(own, list) and "face-0" not in own:
            kind["keypoints"] = [*own, *names]
            for entry in entries:
                if str(entry.get("category_id")) == key:
                    entry["keypoints"] = _joined(entry, len(own), only_labeled)


def _list(entry: dict[str, Any], key: str) -> list[Any]:
    value = entry.get(key)
    return value if isinstance(value, list) else []


def _joined(entry: dict[str, Any], count: int, only_labeled: bool) -> list[Any]:
    """Return the lists of an annotation in one, with zeros for one that it lacks."""
    tail = [value for key, names in WHOLE_BODY.items() for value in _list(entry, key) or [0] * 3 * len(names)]
    if only_labeled:
        tail[2::3] = [_VISIBLE if state else state for state in tail[2::3]]
    return (_list(entry, "keypoints") or [0] * 3 * count) + tail
