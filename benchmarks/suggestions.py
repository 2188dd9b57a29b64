"""EPE over labels that are chosen by `softpoint suggest` and at random, and the recall of planted label errors.

SOFTPOINT_DATA=FOLDER python benchmarks/suggestions.py --curves openfield mirror_mouse --errors openfield mirror_mouse

The backbone stays as ImageNet left it, so that a training takes seconds: see frozen.py.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from scipy.stats import spearmanr

from frozen import FrozenSet
from planted import KINDS, Planted, plant
from report import parser, print_machine
from softpoint.cli.command_line import CONFIGS
from softpoint.evaluation import Results
from softpoint.evaluation.eval_sets import EvaluationSet
from softpoint.evaluation.predict import join_labels
from softpoint.labels.schema import Labels
from softpoint.metrics.calibration import FRACTION
from softpoint.models import KeypointNet
from softpoint.selection.diversity import choose
from softpoint.selection.judged import CovarianceLaw, as_scales
from softpoint.selection.label_errors import suspicions
from softpoint.studies.markdown import hardware, interval_text, update_page
from softpoint.studies.summaries import mean_interval
from softpoint.tables import markdown_table

FOLDS, WAYS = 5, ("random", "suggested")


def main(arguments: Sequence[str]) -> None:
    """Print the sections of all sets in Markdown, and write them to the page if one is given."""
    options_of = parser(__doc__)
    options_of.add_argument("--curves", nargs="*", default=[], help="sets, by the name of data=NAME")
    options_of.add_argument("--errors", nargs="*", default=[], help="sets, likewise")
    options_of.add_argument("--seeds", type=int, default=8)
    options_of.add_argument("--first-seed", type=int, default=0)
    options_of.add_argument("--start", type=int, default=12, help="labels at the start, drawn at random")
    options_of.add_argument("--add", type=int, default=12, help="labels that are added in each of two rounds")
    options_of.add_argument("--pool", type=int, default=250, help="images that can be chosen, at most")
    options_of.add_argument("--test", type=int, default=120, help="test images, at most")
    options_of.add_argument("--each", type=int, default=4, help="planted errors of each kind")
    options_of.add_argument("--steps", type=int, default=100, help="of a training")
    options_of.add_argument("--page", type=Path)
    options = options_of.parse_intermixed_args(arguments)
    print_machine()
    how = f"`python benchmarks/suggestions.py {shlex.join(arguments)}`, on {hardware()}."
    work = [("label errors", recall, name) for name in options.errors]
    work += [("suggestions", curve, name) for name in options.curves]
    for kind, section, name in work:
        text = f"{section(name, options)}\n\n{how}"
        print(text, flush=True)
        if options.page:
            update_page(options.page, f"{kind} {name}", text)


def opened(name: str, options: Any) -> FrozenSet:
    """Return a set at a small input."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", [f"data={name}", "data.pixels=16384", "data.verify=false", *options.overrides])
    return FrozenSet(cfg, options.pool, options.test)


def curve(name: str, options: Any) -> str:
    """Return the table of EPE by number of labels, chosen in both ways by the models of each round."""
    frozen = opened(name, options)
    sizes = [options.start + options.add * n for n in range(3)]
    errors: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    ranks = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        pool, test = parted(frozen, seed, options)
        start = trained(frozen, pool[: sizes[0]], options.steps, seed)
        ranks.append(rank_correlation(frozen, start, pool[sizes[0] :]))
        for way in WAYS:
            net, chosen, measured = start, pool[: sizes[0]], [epe(frozen, start, test)]
            for size in sizes[1:]:
                rest = [row for row in pool if row not in chosen]
                new = suggested(frozen, net, chosen, rest, options.add) if way == "suggested" else []
                chosen = [*chosen, *new, *(row for row in rest if row not in new)][:size]
                net = trained(frozen, chosen, options.steps, seed)
                measured.append(epe(frozen, net, test))
            errors[way].append(measured)
        print(name, seed, {way: [f"{value:.2f}" for value in errors[way][-1]] for way in WAYS}, flush=True)
    table = [
        [str(size), *(f"{fmean(by_seed[i] for by_seed in errors[way]):.2f}" for way in WAYS), difference(errors, i)]
        for i, size in enumerate(sizes)
    ]
    return (
        f"### Labels by suggestion on {name}\n\n"
        f"EPE in px on {len(test)} test images after trainings on so many labels (a fifth of them to calibrate), of"
        f" {len(pool)} that could be chosen; means of {options.seeds} seeds, each with its own start and"
        f" {'order' if frozen.test else 'test images'}. Each round's model chooses the next images. In brackets, 95 %"
        " intervals of the paired difference by Student's t over the seeds. At the start, the rank correlation of"
        f" expected and true errors of the images that could be chosen is {fmean(ranks):.2f}."
        f"\n\n{markdown_table(['labels', *WAYS, 'difference'], table)}"
    )


def parted(frozen: FrozenSet, seed: int, options: Any) -> tuple[list[int], list[int]]:
    """Return the images that can be chosen, in random order, and those to test.

    A small set is divided anew for each seed, two to one; a large one has the test images of its split.
    """
    order = np.random.default_rng(seed).permutation(frozen.rows).tolist()
    if not frozen.test:
        return order[len(order) // 3 :], order[: len(order) // 3]
    return [row for row in order if row not in frozen.test][: options.pool], frozen.test


def trained(frozen: FrozenSet, chosen: Sequence[int], steps: int, seed: int) -> KeypointNet:
    """Return a network that was trained on the chosen images, every fifth of which calibrates it."""
    val = list(chosen[4::5])
    return frozen.train(frozen.labels, [row for row in chosen if row not in val], val, steps, seed)


def results_of(frozen: FrozenSet, net: KeypointNet, rows: Sequence[int], source: Any) -> Results:
    """Return predictions beside the labels of a source."""
    found = list(frozen.predict(net, rows))
    stacked = {name: np.stack([one[name] for one in found]) for name in ("keypoints", "confidence", "covariance")}
    names = frozen.labels.skeleton.names
    eval_set = EvaluationSet(source, [frozen.labels.images[row] for row in rows])
    return join_labels(eval_set, [source.describe(row) for row in rows], stacked, frozen.labels.skeleton, names)


def epe(frozen: FrozenSet, net: KeypointNet, rows: Sequence[int]) -> float:
    """Return the mean error on images."""
    return float(np.nanmean(results_of(frozen, net, rows, frozen.source).errors))


def rank_correlation(frozen: FrozenSet, net: KeypointNet, rows: Sequence[int]) -> float:
    """Return Spearman's correlation of the expected and the true mean errors of images, relative to their size."""
    results = results_of(frozen, net, rows, frozen.source)
    scores = [one.score for one in frozen.candidates(net, rows)]
    return float(spearmanr(scores, np.nanmean(results.errors, 1) / results.scale, nan_policy="omit").statistic)


def suggested(
    frozen: FrozenSet, net: KeypointNet, labeled: Sequence[int], rest: Sequence[int], count: int
) -> list[int]:
    """Return the images that `softpoint suggest` chooses."""
    choices = choose(frozen.candidates(net, rest), count, frozen.candidates(net, labeled))
    return [choice.candidate.number for choice in choices]


def difference(errors: dict[str, list[list[float]]], i: int) -> str:
    """Return the mean difference of the two ways at a size, with its interval; "-" where both are the same."""
    if i == 0:
        return "-"
    pairs = zip(errors["suggested"], errors["random"], strict=True)
    return interval_text(mean_interval([one[i] - other[i] for one, other in pairs]), "+.2f")


def recall(name: str, options: Any) -> str:
    """Return the table of the planted errors that are among the first of the list."""
    frozen = opened(name, options)
    count, hits, listed = options.each * len(KINDS), {kind: np.zeros(2, int) for kind in KINDS}, []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        wrong, planted = plant(frozen.labels, options.each, np.random.default_rng(seed))
        found = listed_errors(frozen, wrong, options.steps, seed)
        listed.append(len(found))
        for one, rank in zip(planted, first_ranks(planted, found), strict=True):
            hits[one.kind] += rank < np.array([count, 2 * count])
        print(name, seed, {kind: hits[kind].tolist() for kind in KINDS}, flush=True)
    number = options.each * options.seeds
    table = [[f"{kind}: {text}", str(number), *map(str, hits[kind])] for kind, text in KINDS.items()]
    table.append(["all", str(number * len(KINDS)), *map(str, np.sum(list(hits.values()), 0))])
    heading = ["kind", "planted", f"in {count}", f"in {2 * count}"]
    return (
        f"### Planted label errors on {name}\n\n"
        f"{len(frozen.labels)} images, {len(frozen.labels.skeleton)} keypoints; {count} errors at a time, with"
        f" {options.seeds} seeds; {FOLDS} folds trained on the labels with their errors. Found: planted errors among"
        f" the first {count} and {2 * count} of the list of `softpoint suggest`, which has {fmean(listed):.0f} on"
        " average."
        f"\n\n{markdown_table(heading, table)}"
    )


def listed_errors(frozen: FrozenSet, wrong: Labels, steps: int, seed: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return the row and keypoints of each suspicion about labels, by a cross-validation of them."""
    order, source = np.random.default_rng(seed).permutation(len(wrong)).tolist(), frozen.labeled(wrong)
    tested, folds = list[int](), []
    for fold in range(FOLDS):
        test, others = order[fold::FOLDS], [row for i, row in enumerate(order) if i % FOLDS != fold]
        val = others[4::5]
        net = frozen.train(wrong, [row for row in others if row not in val], val, steps, seed)
        tested += test
        law = CovarianceLaw.of(net.calibration)
        folds.append(as_scales(results_of(frozen, net, test, source), law, FRACTION))
    return [(tested[one.subject], one.keypoints) for one in suspicions([Results.concat(folds)], FRACTION)]


def first_ranks(planted: Sequence[Planted], found: Sequence[tuple[int, tuple[int, ...]]]) -> list[float]:
    """Return the place of each planted error in a list of (row, keypoints), from 0; infinity where it is not there."""
    return [
        min((i for i, (row, own) in enumerate(found) if row == one.row and {*own} & {*one.keypoints}), default=np.inf)
        for one in planted
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
