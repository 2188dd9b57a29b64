"""The tab of a label set: its images one by one, with what the audit found, by keypoint, split, finding and error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import gradio as gr
import numpy as np

from softpoint.audit import Example, Finding, Report
from softpoint.colors import to_hex
from softpoint.explorer.errors import Measured
from softpoint.explorer.events import ONCE, follow
from softpoint.explorer.html import drawing, problem, table, text
from softpoint.functional.coordinates import grid_to_image
from softpoint.labels.boxes import subject_boxes
from softpoint.labels.load import LoadedLabels
from softpoint.labels.schema import Labels
from softpoint.labels.skeleton import Skeleton
from softpoint.viz import draw_tile, palette
from softpoint.viz.primitives import draw_line

ANY = ""  # which is no name of a keypoint or split
_SIZE = (700, 900)  # height and width up to which an image is shown
_MAX_NAMES = 24  # keypoints up to which names are written
_MAX_TABLES = 12  # subjects of an image whose points are listed
_STATES = {-1: "absent", 0: "unlabeled", 1: "occluded", 2: "visible"}


@dataclass(frozen=True, eq=False)
class AuditedSet:
    """Labels as they were read for an audit, its report, and the subjects of each split."""

    loaded: LoadedLabels
    report: Report
    splits: Mapping[str, Sequence[int]]

    @cached_property
    def of_image(self) -> Mapping[str, list[int]]:
        """The subjects of each image."""
        rows: dict[str, list[int]] = {}
        for row, subject in enumerate(self.loaded.labels.subjects):
            rows.setdefault(subject.image, []).append(row)
        return rows

    def boxes(self, source: str | None) -> np.ndarray:
        """Return the box (N, 4) of each subject, see `subject_boxes`; NaN where there is none."""
        try:
            return subject_boxes(self.loaded.labels, source)
        except ValueError:
            return np.full((len(self.loaded.labels), 4), np.nan)

    @cached_property
    def examples(self) -> Mapping[int, list[tuple[Finding, Example]]]:
        """Each finding that concerns a subject, or its image, with the example; by subject."""
        examples: dict[int, list[tuple[Finding, Example]]] = {}
        for finding in self.report.findings:
            for example in finding.examples:
                images = dict.fromkeys((example.image, example.other))
                rows = (row for image in images for row in self.of_image.get(image, ()))
                for row in rows if example.subject is None else [example.subject]:
                    examples.setdefault(row, []).append((finding, example))
        return examples

    def rows(self, keypoint: str = ANY, split: str = ANY, kind: str = ANY) -> list[int]:
        """Return the subjects in which a keypoint is labeled, of a split, and with a kind of finding.

        Where both a keypoint and a finding are chosen, the finding is about that keypoint or about none.
        """
        labels = self.loaded.labels
        rows = range(len(labels)) if split == ANY else sorted(self.splits.get(split, ()))
        k = None if keypoint == ANY else labels.skeleton.index(keypoint)
        if kind != ANY:
            found = ((row, [e for f, e in self.examples.get(row, ()) if f.kind == kind]) for row in rows)
            return [
                row
                for row, examples in found
                if any(k is None or not e.keypoints or k in e.keypoints for e in examples)
            ]
        return [row for row in rows if k is None or labels.visibility[row, k] > 0]


def build(data: AuditedSet, measured: Measured | None = None) -> None:
    """Add the tab's controls and its result to the page; errors are those of the model that is `measured`."""
    with gr.Row(equal_height=False, elem_classes="split"):
        with gr.Column(scale=1, min_width=280):
            choices = (
                ("Finding", [finding.kind for finding in data.report.findings], "finding"),
                ("Keypoint", data.loaded.labels.skeleton.names, "keypoint"),
                ("Split", list(data.splits), "split"),
            )
            kind, keypoint, split = (
                gr.Dropdown([("any", ANY), *((one, one) for one in names)], value=ANY, label=label, elem_id=name)
                for label, names, name in choices
            )
            number = gr.Number(1, precision=0, minimum=1, label="Number among these", elem_id="number")
            button = gr.Button("Measure the model's errors", visible=measured is not None, elem_id="measure")
            least = gr.Number(0, minimum=0, label="Error of at least (px)", visible=False, elem_id="least",
                              info="Of the chosen keypoint, or of any. The largest come first.")  # fmt: skip
        with gr.Column(scale=3, min_width=320):
            result = gr.HTML(show(data), elem_id="data", elem_classes="page-html words")
    controls = [kind, keypoint, split, number, least]
    follow(controls, partial(show, data, measured), controls, result)

    def measure(*values: Any, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        assert measured
        measured.measure(lambda rows: progress.tqdm(rows, desc="Predicting", unit="subjects"))
        return [gr.Button(visible=False), gr.Number(visible=True), show(data, measured, *values)]

    button.click(measure, controls, [button, least, result], **ONCE | {"show_progress": "full"})


def show(
    data: AuditedSet,
    measured: Measured | None = None,
    kind: str = ANY,
    keypoint: str = ANY,
    split: str = ANY,
    number: int | None = 1,
    least: float | None = 0,
) -> str:
    """Return one of the chosen subjects with its labels, errors and findings, and all findings of the set."""
    rows = data.rows(keypoint, split, kind)
    errors = None if measured is None else measured.errors
    if errors is not None:
        rows = by_error(rows, errors if keypoint == ANY else errors[:, [data.loaded.labels.skeleton.index(keypoint)]],
                        least or 0)  # fmt: skip
    if not rows:
        return problem("no image is so: choose any for some of the filters") + _findings(data.report)
    position = min(max(number or 1, 1), len(rows))
    return _subject(data, measured, rows[position - 1], f"{position} of {len(rows)}") + _findings(data.report)


def by_error(rows: Sequence[int], errors: np.ndarray, least: float) -> list[int]:
    """Return the rows with an error (N, K) of at least `least`, the largest first; at 0 also those without any.

    >>> by_error([0, 1, 2], np.array([[1.0], [5.0], [np.nan]]), 0), by_error([0, 1], np.array([[1.0], [5.0]]), 2)
    ([1, 0, 2], [1])
    """
    largest = np.nan_to_num(errors, nan=-1.0).max(1)
    return sorted((row for row in rows if least <= 0 or largest[row] >= least), key=lambda row: -largest[row])


def _subject(data: AuditedSet, measured: Measured | None, row: int, position: str) -> str:
    """Return a subject's image, its points and findings, and the points of the image's other subjects."""
    labels, examples = data.loaded.labels, data.examples.get(row, [])
    subject = labels.subjects[row]
    others = [other for other in data.of_image[subject.image] if other != row]
    title = f"{position}: {subject.image}, {subject.place}"
    tables = [_points(data, measured, row, title)]
    found = [("finding", "severity", "value"), *((f.kind, f.severity, e.value) for f, e in examples)]
    tables += [table(found)] if examples else []
    for other in others[: _MAX_TABLES - 1]:
        tables.append(_points(data, measured, other, f"in the same image: {labels.places[other]}"))
    suspects = {k for _, example in examples for k in example.keypoints}
    return _image(data, measured, row, others, suspects) + f'<div class="tables">{"".join(tables)}</div>'


def _points(data: AuditedSet, measured: Measured | None, row: int, title: str) -> str:
    """Return the table of a subject's points, with the model's errors where they were measured."""
    labels = data.loaded.labels
    subject, errors = labels.subjects[row], None if measured is None else measured.errors
    rows: list[tuple[str, ...]] = [("keypoint", "x (px)", "y (px)", "label", *(["error (px)"] * (errors is not None)))]
    for k, name in enumerate(labels.skeleton.names):
        state, (x, y) = int(subject.visibility[k]), subject.keypoints[k].tolist()
        place = (f"{x:.2f}", f"{y:.2f}") if state > 0 else ("", "")
        error = () if errors is None else (f"{errors[row, k]:.2f}" if np.isfinite(errors[row, k]) else "",)
        rows.append((name, *place, _STATES[state], *error))
    return table(rows, title, _colors(len(labels.skeleton)))


def _image(data: AuditedSet, measured: Measured | None, row: int, others: Sequence[int], suspects: set[int]) -> str:
    """Return the image with the points of all its subjects, and a sentence on what is drawn."""
    subject = data.loaded.labels.subjects[row]
    try:
        image = data.loaded.image_folder.read(subject.image)
    except (ValueError, OSError) as error:
        return problem(error)
    predicted = None if measured is None or measured.points is None else measured.points[row]
    described = f"{subject.image} with {int((subject.visibility > 0).sum())} labeled keypoints"
    described += f" and those of {len(others)} more subjects" if others else ""
    described += ", suspicious ones in a ring" if suspects else ""
    described += "" if predicted is None else ", and lines to the model's points, which are crosses"
    tile = _tile(image, data.loaded.labels, row, others, suspects, predicted)
    return drawing(tile, described) + f"<p>{text(described)}.</p>"


def _tile(
    image: np.ndarray, labels: Labels, row: int, others: Sequence[int], suspects: set[int], predicted: np.ndarray | None
) -> np.ndarray:
    """Return an image with the points of a subject and their names, its `predicted` points, and those of `others`."""
    skeleton = labels.skeleton
    scale = min(_SIZE[0] / image.shape[0], _SIZE[1] / image.shape[1])
    size = (max(1, round(scale * image.shape[0])), max(1, round(scale * image.shape[1])))
    tile = draw_tile(image, labels.keypoints[others], size, skeleton)
    growth = tile.shape[1] / image.shape[1]
    points = grid_to_image(labels.keypoints[row], growth)
    crosses = np.full(points.shape, np.nan) if predicted is None else grid_to_image(predicted, growth)
    for k in np.flatnonzero(np.isfinite(points + crosses).all(1)):
        draw_line(tile, points[k], crosses[k], palette(len(skeleton))[k].tolist())
    ringed = np.where(np.isin(np.arange(len(skeleton)), list(suspects))[:, None], points, np.nan)
    tile = draw_tile(tile, points[None], size, skeleton, truth=ringed[None], names=len(skeleton) <= _MAX_NAMES)
    return draw_tile(tile, crosses[None], size, Skeleton(skeleton.names), confidence=np.zeros((1, len(skeleton))))


def _findings(report: Report) -> str:
    rows: list[tuple[str, ...]] = [("finding", "severity", "what", "advice")]
    rows += [(finding.kind, finding.severity, finding.message, finding.advice) for finding in report.findings]
    counted = f"{report.subjects} subjects in {report.images} images"
    return f"<h3>All findings</h3><div class=scroll>{table(rows, counted)}</div>"


def _colors(count: int) -> list[str]:
    return [to_hex(color) for color in palette(count).tolist()]
