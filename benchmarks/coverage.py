"""Coverage of conformal regions and errors of accepted points, over random splits of real predictions by group.

python benchmarks/coverage.py RUN/evaluation/predictions.csv CROSSVAL/predictions.csv
SOFTPOINT_DATA=FOLDER python benchmarks/coverage.py --sets openfield ultrasound_tongue

Half of the units (groups, or images of a single one) fit the radii and the threshold, the others are measured. Sets are
predicted by cross-validation with a backbone that stays as ImageNet left it: see frozen.py.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from report import parser, print_machine
from softpoint.evaluation import Results
from softpoint.evaluation.bootstrap import find_units
from softpoint.metrics.conformal import joint_scores, mahalanobis, needed_units, region_radii, unit_shares
from softpoint.metrics.functional import ellipse_radius
from softpoint.metrics.risk import choose_threshold
from softpoint.studies.markdown import hardware, update_page
from softpoint.tables import markdown_table
from suggestions import opened, results_of

FOLDS, LEVEL = 5, 0.9
HEADING = [
    "predictions", "units", "ellipses", "of unsure", "of sure", "regions", "worst keypoint", "joint",
    "found", "accepted", "wrong", "above",
]  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Print one row for each file of predictions and each set, and write them to the page if one is given."""
    options_of = parser(__doc__)
    options_of.add_argument("--sets", nargs="*", default=[], help="sets, by the name of data=NAME")
    options_of.add_argument("--splits", type=int, default=200)
    options_of.add_argument(
        "--error", type=float, default=0.05, help="of the subject's size, from which a point is wrong"
    )
    options_of.add_argument("--rate", type=float, default=0.1, help="of wrong points among the accepted")
    options_of.add_argument("--pool", type=int, default=330, help="images of a set that are trained on, at most")
    options_of.add_argument("--test", type=int, default=220, help="and others, at most")
    options_of.add_argument("--steps", type=int, default=100, help="of a training")
    options_of.add_argument("--page", type=Path)
    options = options_of.parse_intermixed_args(arguments)
    print_machine()
    files = [word for word in options.overrides if word.endswith(".csv")]
    options.overrides = [word for word in options.overrides if word not in files]
    rows = [row(Path(file).parent.name, Results.read(file), options) for file in files]
    rows += [row(name, cross_validated(name, options), options) for name in options.sets]
    how = f"`python benchmarks/coverage.py {shlex.join(arguments)}`, on {hardware()}."
    text = f"{markdown_table(HEADING, rows)}\n\n{how}"
    print(text)
    if options.page:
        update_page(options.page, "coverage", text)


def cross_validated(name: str, options: Any) -> Results:
    """Return predictions of every image of a set by networks that were fitted and calibrated on other groups."""
    frozen = opened(name, options)
    images = [frozen.labels.images[row] for row in frozen.rows]
    unit, _ = find_units(images, [frozen.labels.groups[row] for row in frozen.rows])
    place = np.random.default_rng(0).permutation(int(unit.max()) + 1)[unit] % FOLDS
    parts = []
    for fold in range(FOLDS):
        rows = {part: [row for row, own in zip(frozen.rows, place, strict=True) if own in folds]
                for part, folds in (("test", {fold}), ("val", {(fold + 1) % FOLDS}))}  # fmt: skip
        fit = [row for row in frozen.rows if row not in rows["test"] and row not in rows["val"]]
        net = frozen.train(frozen.labels, fit, rows["val"], options.steps, fold)
        parts.append(results_of(frozen, net, rows["test"], frozen.source))
    return Results.concat(parts)


def row(name: str, results: Results, options: Any) -> list[str]:
    """Return the row of a table: means over random halves of the units."""
    unit, kind = find_units(results.images, results.groups)
    distance = mahalanobis(results.keypoints - results.truth, results.covariance)
    units, rng, shares, found = int(unit.max()) + 1, np.random.default_rng(0), [], []
    for _ in range(options.splits):
        fit = np.isin(unit, rng.permutation(units)[: units // 2])
        shares.append(covered(distance, unit, fit))
        if (entry := accepted(results, unit, fit, options)) is not None:
            found.append(entry)
    (ellipse, *own, joint), texts = np.nanmean(shares, 0).tolist(), ["-"] * 3
    if found:
        share, wrong = np.mean(found, 0).tolist()
        above = np.mean([rate > options.rate for _, rate in found])
        texts = [f"{share:.2f}", f"{wrong:.3f}", f"{above:.3f}"]
    ellipses = [f"{value:.3f}" for value in (ellipse, *quarters(results, distance))]
    regions = [f"{value:.3f}" for value in (np.nanmean(own), np.nanmin(own), joint)]
    regions = regions if units // 2 >= needed_units(LEVEL) else ["-"] * 3
    return [name, f"{units} {kind}", *ellipses, *regions, f"{len(found) / options.splits:.2f}", *texts]


def quarters(results: Results, distance: np.ndarray) -> tuple[float, float]:
    """Return the coverage of the 90 % ellipses of the quarters of the points of lowest and of highest confidence."""
    inside = (distance <= ellipse_radius(LEVEL))[results.labeled]
    parts = np.array_split(np.argsort(results.confidence[results.labeled], kind="stable"), 4)
    return float(inside[parts[0]].mean()), float(inside[parts[-1]].mean())


def covered(distance: np.ndarray, unit: np.ndarray, fit: np.ndarray) -> list[float]:
    """Return the coverage of new units: by the 90 % ellipses, by each keypoint's region, and by the joint one."""
    radii, new = region_radii(distance[fit], unit[fit], LEVEL), distance[~fit]
    columns = [*new.T, joint_scores(new)]
    shares = [mean_share(column, radius, unit[~fit]) for column, radius in zip(columns, radii, strict=True)]
    ellipse = mean_share(new.ravel(), ellipse_radius(LEVEL), np.repeat(unit[~fit], new.shape[1]))
    return [ellipse, *shares]


def mean_share(distance: np.ndarray, radius: float, unit: np.ndarray) -> float:
    """Return the mean over units of the share of their distances within a radius."""
    inside = np.where(np.isnan(distance), np.nan, distance <= radius)
    shares = unit_shares(inside, unit, int(unit.max()) + 1)
    return float(np.nanmean(shares))


def accepted(results: Results, unit: np.ndarray, fit: np.ndarray, options: Any) -> tuple[float, float] | None:
    """Return the share of new points that the threshold accepts, and that of these which is wrong; None without one."""
    labeled, wrong = results.labeled, results.errors > options.error * results.scale[:, None]
    owner, old = (np.broadcast_to(part[:, None], labeled.shape)[labeled] for part in (unit, fit))
    confidence, wrong = results.confidence[labeled], wrong[labeled]
    threshold = choose_threshold(confidence[old], wrong[old], owner[old], options.rate, 0.95)
    if threshold is None:
        return None
    takes = confidence[~old] >= threshold
    shares = [
        unit_shares(part.astype(float), owner[~old], int(unit.max()) + 1) for part in (takes, takes & wrong[~old])
    ]
    share, off = np.nanmean(shares, 1).tolist()
    return share, off / share if share else 0.0


if __name__ == "__main__":
    main(sys.argv[1:])
