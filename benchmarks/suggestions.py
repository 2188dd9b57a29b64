"""EPE over labels that are chosen by `softpoint suggest` and at random, and the recall of planted label errors.

SOFTPOINT_DATA=FOLDER python benchmarks/suggestions.py --curves openfield ultrasound_tongue \\
    --errors openfield mirror_mouse data.size=128 data.batch_size=4 data.epoch_steps=120 epochs=1
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from report import parser, print_machine
from softpoint.cli.hydra_errors import CONFIGS
from softpoint.cli.train import STUDY, train
from softpoint.evaluation import Results
from softpoint.evaluation.eval_data import open_set
from softpoint.evaluation.predict import evaluation_predictor, predict
from softpoint.inference import read_checkpoint
from softpoint.inference.batch.sources import ImageSource
from softpoint.labels.csv_io import write_rows
from softpoint.labels.formats import dlc_csv, read_labels
from softpoint.labels.partition import evenly_spaced
from softpoint.labels.schema import VISIBLE, Labels
from softpoint.labels.split import read_splits
from softpoint.metrics.calibration import FRACTION
from softpoint.selection.candidates import Candidate, FeaturePredictor, Pool, Reading, collect
from softpoint.selection.diversity import choose
from softpoint.selection.label_errors import suspicions
from softpoint.studies.markdown import hardware, interval_text, update_page
from softpoint.studies.summaries import mean_interval
from softpoint.tables import markdown_table

QUIET = ("~callbacks.progress", "trainer.enable_progress_bar=false", "report=false", "data.num_workers=0")
FOLDS, EACH = 5, 10  # of the planted errors: swapped, shifted and forgotten


class Planted(NamedTuple):
    """A label that was made wrong."""

    kind: str
    image: str
    keypoints: tuple[int, ...]


def main(arguments: Sequence[str]) -> None:
    """Print the sections of all sets in Markdown, and write them to the page if one is given."""
    options_of = parser(__doc__)
    options_of.add_argument("--curves", nargs="*", default=[], help="sets, by the name of data=NAME")
    options_of.add_argument("--errors", nargs="*", default=[], help="sets, likewise")
    options_of.add_argument("--seeds", type=int, default=3)
    options_of.add_argument("--start", type=int, default=12, help="labels at the start, drawn at random")
    options_of.add_argument("--add", type=int, default=12, help="labels that are added in each of two rounds")
    options_of.add_argument("--test", type=int, default=100, help="test images, at most")
    options_of.add_argument("--output", type=Path, default=Path("outputs/suggestions"))
    options_of.add_argument("--page", type=Path)
    options = options_of.parse_intermixed_args(arguments)
    print_machine()
    os.environ[STUDY] = "1"
    how = f"`python benchmarks/suggestions.py {shlex.join(arguments)}`, on {hardware()}."
    work = [("label errors", recall, name) for name in options.errors]
    work += [("suggestions", curve, name) for name in options.curves]
    for kind, section, name in work:
        text = section(name, options, how)
        print(text, flush=True)
        if options.page:
            update_page(options.page, f"{kind} {name}", text)


def configured(overrides: Sequence[str], folder: Path) -> DictConfig:
    """Return the config of a training whose folder is given."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", [*QUIET, *overrides], return_hydra_config=True)
    cfg.hydra.runtime.output_dir, cfg.hydra.mode = str(folder), RunMode.RUN
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg.hydra
    return cfg


def trained(overrides: Sequence[str], folder: Path) -> Results:
    """Return the predictions of a training for its test split; one that an earlier call ended is not repeated."""
    if (folder / "model_card.md").is_file():
        checkpoint = read_checkpoint(folder / "checkpoints" / "best.ckpt")
        eval_set = open_set(checkpoint, "test")
        return predict(evaluation_predictor(checkpoint, eval_set), eval_set)
    folder.mkdir(parents=True, exist_ok=True)
    results = train(configured(overrides, folder))[1]
    assert results is not None
    return results


def curve(name: str, options: Any, how: str) -> str:
    """Return the table of EPE by number of labels, chosen in both ways by the models of each round."""
    cfg = configured([f"data={name}", *options.overrides], options.output)
    labels = read_labels(cfg.data.labels, images=cfg.data.images)
    rows = read_splits(cfg.data.splits, labels.images)
    test = [labels.images[rows["test"][i]] for i in evenly_spaced(len(rows["test"]), options.test)]
    pool = [labels.images[i] for i in (*rows["train"], *rows["val"])]
    folder = Path(cfg.data.images or labels.folder)
    sizes = [options.start + options.add * n for n in range(3)]
    errors: dict[str, list[list[float]]] = {"random": [], "suggested": []}
    for seed in range(options.seeds):
        order = [pool[i] for i in np.random.default_rng(seed).permutation(len(pool))]
        first, place = order[: sizes[0]], options.output / name / f"seed{seed}"
        words = [f"data={name}", *options.overrides, f"seed={seed}"]
        start = epe(words, labels, first, test, place / "start")
        for way in errors:
            measured, chosen, model = [start], first, place / "start"
            for size in sizes[1:]:
                rest = [image for image in order if image not in chosen]
                new = suggested(model, folder, chosen, rest, options.add) if way == "suggested" else []
                chosen = [*chosen, *new, *(image for image in rest if image not in new)][:size]
                model = place / f"{way}{size}"
                measured.append(epe(words, labels, chosen, test, model))
            errors[way].append(measured)
            print(name, seed, way, [f"{value:.2f}" for value in measured], flush=True)
    table = [
        [str(size), *(f"{fmean(by_seed[i] for by_seed in errors[way]):.2f}" for way in errors), difference(errors, i)]
        for i, size in enumerate(sizes)
    ]
    return (
        f"### Labels by suggestion on {name}\n\n"
        f"EPE in px on {len(test)} test images after trainings on so many labels (a fifth of them to calibrate), of"
        f" {len(pool)} that could be chosen; means of {options.seeds} seeds. Each round's model chooses the next"
        " images. In brackets, 95 % intervals of the difference by Student's t over the seeds, which share their"
        f" start.\n\n{markdown_table(['labels', 'random', 'suggested', 'difference'], table)}\n\n{how}"
    )


def difference(errors: dict[str, list[list[float]]], i: int) -> str:
    """Return the mean difference of the two ways at a size, with its interval; "-" where both are the same."""
    if i == 0:
        return "-"
    pairs = zip(errors["suggested"], errors["random"], strict=True)
    return interval_text(mean_interval([one[i] - other[i] for one, other in pairs]), "+.2f")


def epe(words: Sequence[str], labels: Labels, chosen: Sequence[str], test: Sequence[str], folder: Path) -> float:
    """Return the mean error on the test images of a training on the chosen ones, every fifth of which calibrates it."""
    split = dict.fromkeys(labels.images, "unused") | dict.fromkeys(test, "test") | dict.fromkeys(chosen, "train")
    split |= dict.fromkeys(chosen[4::5], "val")
    write_rows(folder / "chosen.csv", [("image", "split"), *split.items()])
    return float(np.nanmean(trained([*words, f"data.splits={folder / 'chosen.csv'}"], folder).errors))


def suggested(model: Path, folder: Path, labeled: Sequence[str], rest: Sequence[str], count: int) -> list[str]:
    """Return the images that `softpoint suggest` chooses."""
    predictor = FeaturePredictor(read_checkpoint(model / "checkpoints" / "best.ckpt"), "cpu")

    def candidates(images: Sequence[str]) -> list[Candidate]:
        pool = Pool(len(images))
        collect(predictor, ImageSource(folder, tuple(sorted(images))), Reading(FRACTION), pool)
        return pool.candidates()

    return [choice.candidate.name for choice in choose(candidates(rest), count, candidates(labeled))]


def recall(name: str, options: Any, how: str) -> str:
    """Return the table of the planted errors that are among the first of the list."""
    cfg = configured([f"data={name}", *options.overrides], options.output)
    labels = read_labels(cfg.data.labels, images=cfg.data.images)
    wrong, planted = plant(labels, np.random.default_rng(0))
    folder, path = options.output / f"{name}_errors", options.output / f"{name}_errors" / "labels.csv"
    dlc_csv.write(wrong, path, np.zeros((len(wrong), 2)))
    words = [
        "data=custom",
        *options.overrides,
        f"data.labels={path}",
        f"data.images={cfg.data.images or labels.folder}",
    ]
    words += ["data.group=none", f"data.folds={FOLDS}"]
    folds = [trained([*words, f"data.fold={fold}"], folder / f"fold{fold}") for fold in range(FOLDS)]
    results = Results.concat(folds)
    found = [(results.images[one.subject], {*one.keypoints}) for one in suspicions([results], FRACTION)]
    rows = []
    for kind in ("swapped", "shifted", "forgotten", "all"):
        own = [one for one in planted if kind in (one.kind, "all")]
        hits = [sum(any(o.image == i and k & {*o.keypoints} for i, k in found[:n]) for o in own) for n in (30, 60)]
        rows.append([kind, str(len(own)), *map(str, hits)])
    return (
        f"### Planted label errors on {name}\n\n"
        f"{len(labels)} images, {len(labels.skeleton)} keypoints; {FOLDS} folds trained on the labels with their"
        " errors. Found: planted errors among the first 30 and 60 of the list of `softpoint suggest`, which has"
        f" {len(found)}.\n\n{markdown_table(['kind', 'planted', 'in 30', 'in 60'], rows)}\n\n{how}"
    )


def plant(labels: Labels, rng: np.random.Generator) -> tuple[Labels, list[Planted]]:
    """Return labels with 30 errors: points exchanged, moved by 10 to 20 % of their subject's size, and left out."""
    points, planted = labels.keypoints.copy(), list[Planted]()
    enough = np.flatnonzero(np.isfinite(points[..., 0]).sum(1) >= 3)
    kinds = ["swapped", "shifted", "forgotten"] * EACH
    for kind, row in zip(kinds, rng.permutation(enough)[: len(kinds)].tolist(), strict=True):
        a, b = rng.permutation(np.flatnonzero(np.isfinite(points[row, :, 0])))[:2].tolist()
        size = float(np.linalg.norm(np.nanmax(points[row], 0) - np.nanmin(points[row], 0)))
        if kind == "swapped":
            points[row, [a, b]] = points[row, [b, a]]
        elif kind == "shifted":
            center = np.nanmean(points[row], 0) - points[row, a]  # inwards, so that it stays in the image
            angle = np.arctan2(center[1], center[0]) + rng.uniform(-1, 1)
            points[row, a] += size * rng.uniform(0.1, 0.2) * np.array([np.cos(angle), np.sin(angle)])
        else:
            points[row, a] = np.nan
        planted.append(Planted(kind, labels.images[row], (a, b) if kind == "swapped" else (a,)))
    states = np.where(np.isfinite(points[..., 0]), VISIBLE, 0)
    subjects = (
        replace(s, keypoints=p, visibility=v, written=None)
        for s, p, v in zip(labels.subjects, points, states, strict=True)
    )
    return replace(labels, subjects=tuple(subjects)), planted


if __name__ == "__main__":
    main(sys.argv[1:])
