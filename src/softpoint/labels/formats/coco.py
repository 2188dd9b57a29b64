"""COCO's keypoint JSON: images, categories with their keypoints, and one annotation per subject."""

from __future__ import annotations

import logging
import math
import mmap
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from softpoint.labels.formats.parsing import coco_schema, json_values
from softpoint.labels.formats.parsing.coco_schema import Category, Entry, Image
from softpoint.labels.formats.parsing.coco_source import CocoSource
from softpoint.labels.formats.parsing.coco_unnamed import complete
from softpoint.labels.formats.parsing.known_skeletons import skeleton_of
from softpoint.labels.formats.parsing.path_search import Tails, best_folder, folder_of, folders_near
from softpoint.labels.formats.parsing.rows import unlabeled_points
from softpoint.labels.row_errors import NothingLeftError, RowErrors, first_few
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs
from softpoint.labels.subjects import Subjects
from softpoint.paths import normalize_path, write_json

DESCRIPTION = "a JSON object with the lists images, annotations and categories (COCO)"

DEFAULT_CATEGORY = "subject"  # in `write`, of subjects without category

_log = logging.getLogger(__name__)
_KEYS = re.compile(rb'"(images|annotations)"\s*:\s*\[|"(file_name|image_id)"\s*:')
_ABSOLUTE = re.compile(r"[/\\]|\w:[/\\]|\w+://")
_T = TypeVar("_T")


def recognize(path: Path, head: bytes) -> bool:
    """Return whether the file is a JSON object with COCO's lists, or the beginning of one.

    >>> recognize(Path(), b'{"images": [], "annotations": []}'), recognize(Path(), b'{"keypoints": []}')
    (True, False)
    """
    if not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return False
    if _has_lists(head):
        return True
    try:  # one list may fill the whole head
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _has_lists(content)
    except (OSError, ValueError):
        return False


def _has_lists(content: bytes | mmap.mmap) -> bool:
    """Return whether there are both lists, or one of them and a key of an entry."""
    keys = {key for match in _KEYS.finditer(content) for key in match.groups() if key}
    return len(keys) > 1 and bool(keys & {b"images", b"annotations"})


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return the labels in the order of the list `images`; an image without annotations is kept as unlabeled.

    Annotations of categories without keypoints are skipped, and what is marked as deleted; where no category names any,
    the points are numbered, and COCO-WholeBody's 133 points are read by their names, see `complete`. The other
    categories share one skeleton: the keypoints of all, in the order of their first appearance. A crowd keeps only its
    box; an annotation with neither box nor labeled point is dropped. `file_name` is relative to the folder of the JSON
    file, or the one near it that has nearly all images; of an absolute path or a URL, the end that exists below
    `images` or near the file counts. Two keys are an extension of COCO: `name` of an annotation identifies an
    individual, `group` of an annotation or image a video.
    Raises ValueError for a file that is not COCO's.
    """
    try:
        content = json_values.as_object(json_values.load_json(path))
        for name in ("images", "annotations", "categories"):
            if name not in content:
                raise ValueError(f"it has no {name}; COCO's keypoint files have images, annotations and categories")
            json_values.as_list(content[name], name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    unused: Counter[str] = Counter()
    coco_schema.leave_out_deleted(content, unused)
    complete(content["categories"], content["annotations"])
    categories, skeleton = _categories(content["categories"], errors, unused)
    if not len(skeleton):
        before = len(errors.skipped)
        errors.raise_or_warn()
        reasons = errors.skipped[before:] if errors.silent else []
        way_out = "; name the file that has them (COCO's person_keypoints_*.json, not instances_*.json)"
        raise NothingLeftError(
            f"{path}: none of its {len(categories)} categories has keypoints{first_few(reasons) or way_out}"
        )
    unlabeled = unlabeled_points(len(skeleton))
    names = [entry.get("file_name") for entry in content["images"] if isinstance(entry, dict)]
    written = [name for name in names if isinstance(name, str)]
    absolute = [name for name in written if _ABSOLUTE.match(name)]
    if absolute:
        folder = best_folder([images] if images else folders_near(path), absolute)
    else:
        folder = images or folder_of(path, written)
    tails = Tails(folder, absolute)
    first: dict[str, tuple[Any, str]] = {}  # entry of each path

    def add_image(entry: Entry, place: str) -> Image:
        image = coco_schema.parse_image(entry, place)
        if _ABSOLUTE.match(image.path):
            image.path = tails[entry["file_name"]]
        key, earlier = first.setdefault(normalize_path(image.path), (entry["id"], place))
        if earlier != place:
            by_id[key] = None  # which of the two the annotations are about cannot be decided
            raise ValueError(
                f"{earlier} has the file_name {image.path} too; give each image one entry and its own path"
            )
        return image

    by_id: dict[Any, Image | None] = {}
    _add_entries(by_id, content["images"], "image", add_image, errors)
    _add_subjects(content["annotations"], by_id, categories, unlabeled, errors, unused)
    taken = (_taken(image, unlabeled) for image in by_id.values() if image)
    subjects = Subjects.of(chain.from_iterable(taken), len(skeleton))
    keypoints = {category.name: category.keypoints for category in filter(None, categories.values())}
    keypoints = {name: parts for name, parts in keypoints.items() if parts}
    unread = coco_schema.unread_fields(content["images"], content["annotations"])
    return Labels(str(path), str(folder), skeleton, subjects, keypoints, unused=unused, unread=unread)


def _categories(
    entries: list[Any], errors: RowErrors, unused: Counter[str]
) -> tuple[dict[Any, Category | None], Skeleton]:
    """Return the categories by id, and the skeleton of all of them."""
    names: set[str] = set()
    keypoints: set[str] = set()

    def parse(entry: Entry, place: str) -> Category:
        category = coco_schema.parse_category(entry, unused)
        if category.keypoints and category.name in names:
            raise ValueError(f"an earlier category is named {category.name!r} too; rename one of the two")
        keypoints.update(category.keypoints)
        json_values.check_keypoint_count(len(keypoints))
        names.update([category.name] if category.keypoints else [])
        return category

    categories: dict[Any, Category | None] = {}
    _add_entries(categories, entries, "category", parse, errors)
    valid = [category for category in categories.values() if category]
    order = {part: k for k, part in enumerate(dict.fromkeys(chain.from_iterable(c.keypoints for c in valid)))}
    edges = tuple(dict.fromkeys(chain.from_iterable(category.edges for category in valid)))
    indexed = {
        key: category and category._replace(columns=np.array([order[part] for part in category.keypoints], int))
        for key, category in categories.items()
    }
    return indexed, replace(skeleton_of(tuple(order)), edges=edges)


def _add_entries(
    result: dict[Any, _T | None], entries: list[Any], kind: str, parse: Callable[[Entry, str], _T], errors: RowErrors
) -> None:
    """Add the parsed entries by id; None for an entry with an error and for a repeated id."""
    for position, entry in enumerate(entries):
        place = coco_schema.place_of(kind, position, entry)
        with errors.row(place):
            key = coco_schema.parse_id(json_values.as_object(entry), "id")
            repeated = key in result
            result[key] = None
            if repeated:
                raise ValueError(f"an earlier {kind} has the same id; give each its own")
            result[key] = parse(entry, place)


def _add_subjects(
    entries: list[Any],
    images: dict[Any, Image | None],
    categories: dict[Any, Category | None],
    unlabeled: coco_schema.Points,
    errors: RowErrors,
    unused: Counter[str],
) -> None:
    """Add the subjects to their images, and count in `unused` what they do not hold."""
    ids: set[int | str] = set()
    for position, entry in enumerate(entries):
        place = coco_schema.place_of("annotation", position, entry)
        with errors.row(place) as row:
            image = _resolve(images, json_values.as_object(entry), "image")
            image.invalid += 1
            row.image = image.path
            if entry.get("id") is not None:  # nothing refers to an annotation, and some tools do not number them
                if (key := coco_schema.parse_id(entry, "id")) in ids:
                    raise ValueError("an earlier annotation has the same id; give each its own")
                ids.add(key)
            category = _resolve(categories, entry, "category")
            if not category.keypoints:
                unused["annotations of categories without keypoints"] += 1
            elif subject := coco_schema.parse_subject(entry, row, image, category, unlabeled, unused):
                image.subjects.append(subject)
            else:
                unused["annotations with neither points nor box"] += 1
            image.invalid -= 1


def _taken(image: Image, unlabeled: coco_schema.Points) -> list[Subject]:
    """Return the subjects of an image, which loses them; for one without annotations, an unlabeled one."""
    if not image.subjects and not image.invalid:
        return [Subject(image.path, image.place, *unlabeled, group=image.group, size=image.size)]
    subjects, image.subjects = image.subjects, []
    return subjects


def _resolve(by_id: dict[Any, _T | None], entry: Entry, kind: str) -> _T:
    key = coco_schema.parse_id(entry, f"{kind}_id")
    if key not in by_id:
        raise ValueError(f"{kind}_id {json_values.quote(key)} is the id of no {kind}; correct it")
    if (result := by_id[key]) is None:
        raise ValueError(f"{kind} {json_values.quote(key)} cannot be used; correct that first")
    return result


def write(labels: Labels, path: Path, sizes: np.ndarray, source: CocoSource | None = None) -> None:
    """Write a file that `read` and COCO's own tools read, completely or not at all.

    COCO requires a box and an area: a subject without box gets that of its labeled pixels, one without area the area
    of its box. Subjects without category get `DEFAULT_CATEGORY`. `sizes` (N, 2) is the height and width of each
    subject's image. The fields and ids of a `source` stay.
    """
    assert len(sizes) == len(labels)
    keypoints = _keypoints_of_categories(labels)
    source = source or CocoSource({}, {}, {}, {})
    ids = {name: source.categories.get(name, {}).get("id", number) for number, name in enumerate(keypoints, 1)}
    columns = {name: [labels.skeleton.index(part) for part in parts] for name, parts in keypoints.items()}
    images: dict[str, Entry] = {}
    annotations: list[Entry] = []
    for subject, (height, width) in zip(labels.subjects, np.asarray(sizes).tolist(), strict=True):
        entry = {"id": len(images) + 1, "file_name": subject.image, "width": width, "height": height}
        image = images.setdefault(normalize_path(subject.image), entry | source.images.get(subject.place, {}))
        if _is_annotated(subject):
            category = subject.category or DEFAULT_CATEGORY
            start = {"id": len(annotations) + 1, "image_id": image["id"], "category_id": ids[category]}
            own = source.annotations.get(subject.place, {})
            annotations.append(start | _annotation(subject, columns[category]) | own)
        elif subject.group is not None:
            image["group"] = subject.group
    categories = []
    for name, parts in keypoints.items():
        edges = [[parts.index(a) + 1, parts.index(b) + 1] for a, b in labels.skeleton.edges if {a, b} <= {*parts}]
        entry = {"id": ids[name], "name": name, "supercategory": name, "keypoints": [*parts], "skeleton": edges}
        categories.append(entry | source.categories.get(name, {}))
    _warn_of_changes(labels, path)
    head: Entry = {"info": {"description": "written by softpoint"}, "licenses": []} | source.rest
    content = {"images": [*images.values()], "annotations": annotations, "categories": categories}
    write_json(path, head | content, indent=None)


def _is_annotated(subject: Subject) -> bool:
    return subject.box is not None or bool(subject.visibility.any())


def _keypoints_of_categories(labels: Labels) -> dict[str, tuple[str, ...]]:
    """Return the keypoints of each category, if possible in an order from which `read` makes the same skeleton."""
    names = labels.skeleton.names
    categories = dict(labels.categories)
    for subject in filter(_is_annotated, labels.subjects):
        categories.setdefault(subject.category or DEFAULT_CATEGORY, names)
    if tuple(dict.fromkeys(chain(*categories.values()))) != names:
        categories = {name: tuple(part for part in names if part in own) for name, own in categories.items()}
    return categories or {DEFAULT_CATEGORY: names}


def _annotation(subject: Subject, columns: list[int]) -> Entry:
    labeled = int((subject.visibility > 0).sum())
    points, states = np.nan_to_num(subject.keypoints[columns]), subject.visibility[columns]
    assert int((states > 0).sum()) == labeled, subject  # its category has all of its labeled keypoints
    edges: Iterable[float] | None = subject.box
    if edges is None:  # the edges of the pixels of the labeled points
        low, high = np.nanmin(subject.keypoints, axis=0) - 0.5, np.nanmax(subject.keypoints, axis=0) + 0.5
        edges = (*low.tolist(), *high.tolist())
    left, top, right, bottom = map(float, edges)
    bbox = [left + 0.5, top + 0.5, right - left, bottom - top]  # from the corner of the image
    extension = {"name": subject.name or None, "group": subject.group}
    return {
        "bbox": bbox,
        "area": bbox[2] * bbox[3] if math.isnan(subject.area) else float(subject.area),
        "iscrowd": int(subject.crowd),
        "num_keypoints": labeled,
        "keypoints": [*chain.from_iterable((*point, int(v)) for point, v in zip(points.tolist(), states, strict=True))],
        "segmentation": [],
    } | {key: value for key, value in extension.items() if value is not None}


def _warn_of_changes(labels: Labels, path: Path) -> None:
    written = list(filter(_is_annotated, labels.subjects))
    counts = {
        "subjects without a box get that of their labeled points": sum(s.box is None for s in written),
        "subjects without an area get that of their box": sum(math.isnan(s.area) for s in written),
        "flip pairs are dropped": len({*labels.skeleton.flip_pairs} - {*infer_flip_pairs(labels.skeleton.names)}),
    }
    if changes := [f"{count} {change}" for change, count in counts.items() if count]:
        _log.warning("%s: COCO cannot hold everything: %s", path, ", ".join(changes))
