"""The part of a report about found subjects: tables, figures, and images with what is found, missed and false."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from softpoint.evaluation.subjects import SubjectResults
from softpoint.evaluation.subjects.matching import Outcomes, by_oks, match_subjects
from softpoint.evaluation.subjects.measures import found_errors
from softpoint.evaluation.subjects.plots import counts_figure, precision_recall_figure, score_figure
from softpoint.evaluation.subjects.results import select_found
from softpoint.evaluation.subjects.tables import (
    crowding_table,
    distances_table,
    finding_table,
    found_keypoints_table,
    thresholds_table,
)
from softpoint.evaluation.tables import Table, skipped_lines
from softpoint.progress import track
from softpoint.report.figures import Plot, Plots
from softpoint.report.gallery import data_uri, short_names
from softpoint.viz.subjects import draw_found

Load = Callable[[int], np.ndarray]  # the image uint8 RGB (H, W, 3) at a place of the results

_WIDTH = 720  # pixels of an overlay
_WORST, _OTHERS = 8, 4


@dataclass(frozen=True)
class Overlay:
    """One image with its subjects, and what is wrong in it."""

    image: str
    group: str  # "" where all images are of one
    tile: str  # data URI
    size: tuple[int, int]  # width and height of it
    verdict: str
    description: str


@dataclass(frozen=True)
class SubjectSection:
    """What the template shows."""

    overall: Table
    crowding: Table
    keypoints: Table
    distances: Table
    thresholds: Table
    meanings: list[str]
    notes: list[str]
    skipped: list[str]
    plots: list[Plot]
    gallery: Mapping[str, list[Overlay]]


def subject_section(figures: Plots, results: SubjectResults, finding: Mapping[str, Any], load: Load) -> SubjectSection:
    """Return the part of a page about `results`, of which `finding` is measured; images are opened one at a time."""
    table, definitions = finding_table(finding), finding["definitions"]
    outcomes = match_subjects(results, by_oks(np.array(finding["oks_sigmas"]), finding["oks_level"]))
    gallery = {
        name: overlays(results, outcomes, rows, finding["threshold"], load)
        for name, rows in choose_images(results, outcomes, finding["threshold"]).items()
    }
    return SubjectSection(
        table,
        crowding_table(finding),
        found_keypoints_table(finding),
        distances_table(finding),
        thresholds_table(finding),
        [definitions[name] for name, _ in _named(table, definitions)],
        finding["notes"],
        skipped_lines(finding),
        _plots(figures, finding),
        gallery,
    )


def _named(table: Table, definitions: Mapping[str, str]) -> list[tuple[str, Any]]:
    """The rows of a table by the names of their measures, without units."""
    return [(name.split(" (")[0], cells) for name, cells in table.rows]


def _plots(figures: Plots, finding: Mapping[str, Any]) -> list[Plot]:
    values = {name: f"{entry['value']:.2f}" for name, entry in finding["oks"]["overall"].items()}
    reached = f"precision {values.get('precision', '-')}, recall {values.get('recall', '-')}"
    plots = []
    if finding["subjects"]:
        plots.append(
            figures.add(
                precision_recall_figure(finding),
                f"Precision against recall over the thresholds of the score; {reached} at the one that is set.",
                "Toward the upper right is better; a lower threshold is farther right.",
            )
        )
    if finding["score"]:
        error = finding["score"]["ece"]["value"]
        plots.append(
            figures.add(
                score_figure(finding),
                f"Rate of right subjects against their score; calibration error {error:.2f}.",
                "Tenths of the score, with 95 % intervals; a calibrated score is on the line. Matched by OKS.",
            )
        )
    if finding["counts"]:
        plots.append(
            figures.add(
                counts_figure(finding),
                "Numbers of found and of labeled subjects in the images.",
                "Circles are as large as there are images; above the line too many are found, below it too few.",
            )
        )
    return plots


def choose_images(results: SubjectResults, outcomes: Outcomes, threshold: float) -> dict[str, list[int]]:
    """Return the images with the most missed and false subjects, the worst first, and of others those that err most.

    Of as many faults an image with larger mean errors comes first. Images without any subject, labeled or found, are
    left out.
    """
    kept, images = results.found.score >= threshold, len(results)
    missed = np.bincount(results.labeled_in[outcomes.measured & ~outcomes.seen(kept)], minlength=images)
    faults = missed + np.bincount(results.found_in[outcomes.wrong(kept)], minlength=images)
    errors = image_errors(results, outcomes, threshold)
    shown = np.bincount(results.labeled_in, minlength=images) + np.bincount(results.found_in[kept], minlength=images)
    order = [int(i) for i in np.lexsort((-np.nan_to_num(errors), -faults)) if shown[i]]
    wrong = [i for i in order if faults[i]]
    right = [i for i in order if not faults[i]]
    chosen = {"Missed and false subjects, the worst images first": wrong[:_WORST]}
    chosen["Every subject found, the largest errors first"] = right[:_OTHERS]
    return {name: rows for name, rows in chosen.items() if rows}


def image_errors(results: SubjectResults, outcomes: Outcomes, threshold: float) -> np.ndarray:
    """Return the mean error (I,) of the points of found subjects of each image in px; NaN where there are none."""
    errors, means = found_errors(results, outcomes, threshold), np.full(len(results), np.nan)
    sums = np.bincount(results.labeled_in, np.nansum(errors, axis=1), len(results))
    counts = np.bincount(results.labeled_in, np.isfinite(errors).sum(1), len(results))
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def overlays(
    results: SubjectResults, outcomes: Outcomes, rows: Sequence[int], threshold: float, load: Load
) -> list[Overlay]:
    """Return these images with their subjects; those found with a lower score than `threshold` are left out."""
    names, grouped = short_names(results.images), len(set(results.groups)) > 1
    errors = image_errors(results, outcomes, threshold)
    drawn = []
    for i in track(rows, "drawing found subjects"):
        finds = np.flatnonzero((results.found_in == i) & (results.found.score >= threshold))
        kept = np.isin(np.arange(len(results.found_in)), finds)
        faults = [_fault(outcomes, int(row)) for row in finds]
        missed = (outcomes.measured & ~outcomes.seen(kept))[results.labeled_in == i]
        image, scene = load(i), results.scene(i)
        size = round(_WIDTH * float(np.clip(image.shape[0] / image.shape[1], 0.4, 1.4))), _WIDTH
        found = select_found(results.found, finds)
        tile = draw_found(image, found, scene, results.skeleton, faults=faults, missed=missed, size=size)
        verdict = _verdict(int(missed.sum()), faults, float(errors[i]))
        description = f"{len(scene.keypoints)} labeled subjects and {len(finds)} found ones; {verdict}"
        group = results.groups[i] * grouped
        drawn.append(Overlay(names[i], group, data_uri(tile), size[::-1], verdict, description))
    return drawn


def _fault(outcomes: Outcomes, row: int) -> str:
    """The word for a wrong found subject; "" for one that is right or neither."""
    if outcomes.twin[row] >= 0:
        return "doubled"
    return "" if outcomes.subject[row] >= 0 or outcomes.ignored[row] else "false"


def _verdict(missed: int, faults: Sequence[str], error: float) -> str:
    counts = {"missed": missed, "false": faults.count("false"), "doubled": faults.count("doubled")}
    parts = [f"{count} {name}" for name, count in counts.items() if count]
    parts += [f"mean error {error:.2f} px"] if np.isfinite(error) else []
    return ", ".join(parts) or "nothing to find"
