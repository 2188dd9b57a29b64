"""Tables of chosen images and of suspicious labels, as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from softpoint.labels.csv_io import write_rows
from softpoint.labels.skeleton import Skeleton
from softpoint.selection.diversity import Choice
from softpoint.selection.judged import Judged
from softpoint.selection.label_errors import Suspicion, odds
from softpoint.tables import NumberTable

_NAMED = 3  # keypoints of the largest expected errors


def write_suggested(path: Path, choices: Sequence[Choice], files: Sequence[str], skeleton: Skeleton) -> None:
    """Write a row per chosen image, the first choice first; `files` are their copies."""
    rows = [["rank", "image", "source", "time", "score", "expected_error", "distance", "why"]]
    for i, (one, distance) in enumerate(choices):
        time = "" if np.isnan(one.time) else f"{one.time:.3f}"
        numbers = [f"{one.score:.5f}", f"{one.errors.mean():.2f}", f"{distance:.3f}"]
        source = str(one.source.folder / one.name)
        rows.append([str(i + 1), files[i], source, time, *numbers, reason(one.errors, skeleton)])
    write_rows(path, rows)


def reason(errors: np.ndarray, skeleton: Skeleton) -> str:
    """Return the keypoints of the largest expected errors.

    >>> reason(np.array([1.0, 12.34]), Skeleton(("nose", "tail")))
    'tail 12.3 px, nose 1.0 px'
    """
    return ", ".join(f"{skeleton.names[k]} {errors[k]:.1f} px" for k in np.argsort(-errors)[:_NAMED])


def write_suspicious(path: Path, judged: Judged, found: Sequence[Suspicion]) -> None:
    """Write a row per keypoint of each suspicion: where its label is, and where it is expected."""
    write_rows(path, _suspicious_rows(judged, found))


def _suspicious_rows(judged: Judged, found: Sequence[Suspicion]) -> Iterator[list[str]]:
    yield ["rank", "score", "kind", "image", "place", "keypoint", "x", "y", "expected_x", "expected_y", "held_out"]
    results = judged.results
    for rank, one in enumerate(found, 1):
        row = one.subject
        place, held_out = judged.labels.places[row], "yes" if judged.held_out[row] else "no"
        head = [str(rank), f"{one.score:.2f}", one.kind, results.images[row], place]
        for k in one.keypoints:
            points = [*results.truth[row, k].tolist(), *results.keypoints[row, k].tolist()]
            cells = ["" if value != value else f"{value:.2f}" for value in points]
            yield [*head, results.skeleton.names[k], *cells, held_out]


def suspicion_table(judged: Judged, found: Sequence[Suspicion]) -> NumberTable:
    """Return suspicious labels as a table for a terminal; a narrow one keeps how unlikely each is.

    The score of an exchange is what it saves, not the surprise of a label, and has no frequency.
    """
    table = NumberTable("image", ["right labels like this", "kind", "keypoints"])
    for one in found:
        names = ", ".join(judged.results.skeleton.names[k] for k in one.keypoints[:_NAMED])
        more = ", ..." * (len(one.keypoints) > _NAMED)
        table.add_row(
            judged.results.images[one.subject],
            "-" if one.kind == "exchanged" else odds(one.score),
            one.kind,
            names + more,
        )
    return table
