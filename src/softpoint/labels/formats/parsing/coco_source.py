"""What a COCO file holds beside its labels, for the COCO file that these are written to."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softpoint.labels.formats.parsing import json_values
from softpoint.labels.formats.parsing.coco_schema import ANNOTATION, CATEGORY, IMAGE, Entry, parse_id, place_of
from softpoint.labels.formats.parsing.known_skeletons import WHOLE_BODY
from softpoint.labels.schema import Labels

_LISTS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class CocoSource:
    """The fields of a file that are no labels, by the place of each subject and the name of each category."""

    rest: Entry  # info, licenses and the like
    images: dict[str, Entry]
    annotations: dict[str, Entry]
    categories: dict[str, Entry]


def source_of(labels: Labels) -> CocoSource | None:
    """Return what the file of the labels holds beside them; None where they are of no single COCO file."""
    path = Path(labels.source)
    try:
        content = json_values.as_object(json_values.load_json(path))
        images, annotations, categories = (_objects(content.get(name)) for name in _LISTS)
        by_id = {parse_id(entry, "id"): _without(entry, IMAGE) for entry in images}
        shown = {place_of("image", i, entry): by_id[parse_id(entry, "id")] for i, entry in enumerate(images)}
        if len(by_id) < len(images):  # an id that repeats tells no entry from another
            return None
        own: dict[str, Entry] = {}
        for i, entry in enumerate(annotations):
            with suppress(ValueError):  # of a row that is left out
                place, image = place_of("annotation", i, entry), by_id.get(parse_id(entry, "image_id"), {})
                if place in own:
                    return None
                own[place], shown[place] = _without(entry, {*ANNOTATION, *WHOLE_BODY}), image
    except (ValueError, KeyError, OSError):
        return None
    kinds = {str(entry.get("name")): _without(entry, CATEGORY) for entry in categories}
    complete = len(kinds) == len(categories) and {*labels.categories} <= kinds.keys()
    if not complete or not all(shown.get(place) for place in labels.places):
        return None
    if not all("id" in entry for entry in own.values()):  # nor may numbers of ours be those of others
        own = {place: _without(entry, {"id"}) for place, entry in own.items()}
    rest = {key: value for key, value in content.items() if key not in _LISTS}
    return CocoSource(rest, shown, own, kinds)


def _objects(value: Any) -> list[Entry]:
    return [json_values.as_object(entry) for entry in json_values.as_list(value, "a list")]


def _without(entry: Entry, keys: Iterable[str]) -> Entry:
    return {key: value for key, value in entry.items() if key not in keys}
