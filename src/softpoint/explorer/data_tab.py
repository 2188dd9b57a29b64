"""The tab of a label set: its images one by one, with what the audit found, by keypoint, split and finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import gradio as gr
import numpy as np

from softpoint.audit import Example, Finding, Report
from softpoint.explorer.events import follow
from softpoint.explorer.html import drawing, problem, table
from softpoint.labels.load import LoadedLabels
from softpoint.viz import draw_tile, palette
from softpoint.viz.colors import to_hex

ANY = "any"
_SIZE = (700, 900)  # height and width up to which an image is shown
_MAX_NAMES = 24  # keypoints up to which names are written
_STATES = {-1: "absent", 0: "unlabeled", 1: "occluded", 2: "visible"}


@dataclass(frozen=True, eq=False)
class AuditedSet:
    """Labels as they were read for an audit, its report, and the subjects of each split."""

    loaded: LoadedLabels
    report: Report
    splits: Mapping[str, Sequence[int]]

    def examples(self, row: int) -> list[tuple[Finding, Example]]:
        """Return each finding that concerns a subject, or its image, with the example."""
        image = self.loaded.labels.subjects[row].image
        return [
            (finding, example)
            for finding in self.report.findings
            for example in finding.examples
            if (example.subject == row if example.subject is not None else image in (example.image, example.other))
        ]

    def rows(self, keypoint: str = ANY, split: str = ANY, kind: str = ANY) -> list[int]:
        """Return the subjects in which a keypoint is labeled, of a split, and with a kind of finding.

        Where both a keypoint and a finding are chosen, the finding is about that keypoint or about none.
        """
        labels = self.loaded.labels
        rows = range(len(labels)) if split == ANY else sorted(self.splits.get(split, ()))
        k = None if keypoint == ANY else labels.skeleton.index(keypoint)
        if kind != ANY:
            found = ((row, [e for f, e in self.examples(row) if f.kind == kind]) for row in rows)
            return [
                row
                for row, examples in found
                if any(k is None or not e.keypoints or k in e.keypoints for e in examples)
            ]
        return [row for row in rows if k is None or labels.subjects[row].visibility[k] > 0]


def build(data: AuditedSet) -> None:
    """Add the tab's controls and its result to the page."""
    with gr.Row(equal_height=False, elem_classes="split"):
        with gr.Column(scale=1, min_width=280):
            choices = (
                ("Finding", [finding.kind for finding in data.report.findings], "finding"),
                ("Keypoint", data.loaded.labels.skeleton.names, "keypoint"),
                ("Split", list(data.splits), "split"),
            )
            kind, keypoint, split = (
                gr.Dropdown([ANY, *names], value=ANY, label=label, elem_id=name) for label, names, name in choices
            )
            number = gr.Number(1, precision=0, minimum=1, label="Number among these", elem_id="number")
        with gr.Column(scale=3, min_width=320):
            result = gr.HTML(show(data), elem_id="data", elem_classes="page-html words")
    follow([kind, keypoint, split, number], partial(show, data), [kind, keypoint, split, number], result)


def show(data: AuditedSet, kind: str = ANY, keypoint: str = ANY, split: str = ANY, number: int | None = 1) -> str:
    """Return one of the chosen subjects with its labels and findings, and all findings of the set."""
    rows = data.rows(keypoint, split, kind)
    if not rows:
        return problem("no image is so: choose any for some of the filters") + _findings(data.report)
    position = min(max(number or 1, 1), len(rows))
    return _subject(data, rows[position - 1], f"{position} of {len(rows)}") + _findings(data.report)


def _subject(data: AuditedSet, row: int, position: str) -> str:
    """Return a subject's image, its points, and its findings."""
    labels = data.loaded.labels
    subject, examples = labels.subjects[row], data.examples(row)
    suspects = {k for _, example in examples for k in example.keypoints}
    rows: list[tuple[str, ...]] = [("keypoint", "x (px)", "y (px)", "label")]
    for name, (x, y), state in zip(
        labels.skeleton.names, subject.keypoints.tolist(), subject.visibility.tolist(), strict=True
    ):
        place = (f"{x:.2f}", f"{y:.2f}") if state > 0 else ("", "")
        rows.append((name, *place, _STATES[state]))
    points = table(rows, f"{position}: {subject.image}, {subject.place}", _colors(len(labels.skeleton)))
    found = [("finding", "severity", "value"), *((f.kind, f.severity, e.value) for f, e in examples)]
    return _image(data, row, suspects) + f'<div class="tables">{points}{table(found) if examples else ""}</div>'


def _image(data: AuditedSet, row: int, suspects: set[int]) -> str:
    labels = data.loaded.labels
    subject = labels.subjects[row]
    try:
        image = data.loaded.image_folder.read(subject.image)
    except (ValueError, OSError) as error:
        return problem(error)
    ringed = np.where(np.isin(np.arange(len(labels.skeleton)), list(suspects))[:, None], subject.keypoints, np.nan)
    names = len(labels.skeleton) <= _MAX_NAMES
    scale = min(_SIZE[0] / image.shape[0], _SIZE[1] / image.shape[1])
    size = (max(1, round(scale * image.shape[0])), max(1, round(scale * image.shape[1])))
    tile = draw_tile(image, subject.keypoints[None], size, labels.skeleton, truth=ringed[None], names=names)
    count = int((subject.visibility > 0).sum())
    return drawing(tile, f"{subject.image} with {count} labeled keypoints, suspicious ones in a ring")


def _findings(report: Report) -> str:
    rows: list[tuple[str, ...]] = [("finding", "severity", "what", "advice")]
    rows += [(finding.kind, finding.severity, finding.message, finding.advice) for finding in report.findings]
    counted = f"{report.subjects} subjects in {report.images} images"
    return f"<h3>All findings</h3><div class=scroll>{table(rows, counted)}</div>"


def _colors(count: int) -> list[str]:
    return [to_hex(color) for color in palette(count).tolist()]
