"""Pages of studies: the evaluation of all folds of a cross-validation, and the comparison of variants."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softpoint.cli.report import write_report
from softpoint.cli.shell import here
from softpoint.cli.study import composed
from softpoint.cli.trust import own_packages
from softpoint.suggest import setting

if TYPE_CHECKING:
    import numpy as np

    from softpoint.evaluation import Results
    from softpoint.studies.runs import Trial


def write_folds_page(output: Path, trials: Sequence[Trial], summary: Mapping[str, Any], results: Results) -> None:
    """Write report.html of a cross-validation, whose `summary` and `results` are of all folds and seeds."""
    from softpoint.evaluation.files import REPORT
    from softpoint.report import evaluation_page
    from softpoint.studies.runs import pooled_subjects

    first = next(trial for trial in trials if not trial.failed)
    failed = [f"{entry['run']} failed and is left out: {entry['why']}" for entry in summary["failed"]]

    def page() -> str:
        facts, read = _model_facts(first), _reader(first)
        facts = [("trainings", f"{len(trials)}, the facts below are of {first.name}"), *facts]
        title = f"Cross-validation on {summary['data']}, {len(summary['folds'])} folds"
        about = {"split": "each image once per seed, by a model trained without it", **summary}
        again, found = _command(summary, output), pooled_subjects([t for t in trials if not t.failed])
        images = [] if found is None else found.images
        shown = None if found is None else (found, lambda i: read(images[i]))
        return evaluation_page(
            results, about, lambda i: read(results.images[i]), facts, failed, again, title, found=shown
        )

    write_report(output / REPORT, page)


def write_variants_page(output: Path, name: str, trials: Sequence[Trial], summary: Mapping[str, Any]) -> None:
    """Write NAME.html, which compares the variants on one data set with the first; for several seeds, of the first one.

    Nothing is written where fewer than two variants are complete.
    """
    from softpoint.report import comparison_page

    seed, complete = trials[0].seed, _complete(trials)
    if len(complete) < 2:
        return

    def page() -> str:
        facts = {}
        for letter, (variant, own) in zip(string.ascii_uppercase, complete.items(), strict=False):
            changes = " ".join(summary["variants"][variant]["overrides"]) or "none"
            facts[letter] = [("variant", variant), ("changes", changes), *_model_facts(own[0])]
        read = _reader(next(iter(complete.values()))[0])
        models, comparisons = _compared(complete, summary)
        first = models["A"]
        several = len(summary["seeds"]) > 1
        warnings = [f"these are the trainings with seed {seed} alone; {name}.md has all seeds"] * several
        warnings += [
            f"{variant} has failed and is left out" for variant in summary["variants"] if variant not in complete
        ]
        again, title = _command(summary, output), f"{summary['title']} on {summary['on']}"
        return comparison_page(models, comparisons, lambda i: read(first.images[i]), facts, warnings, again, title)

    write_report(output / f"{name}.html", page)


def _complete(trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    """The trials of the first seed of each variant of which no fold failed, as many as there are letters."""
    of_seed = [trial for trial in trials if trial.seed == trials[0].seed]
    failed = {trial.variant for trial in of_seed if trial.failed}
    names = [v for v in dict.fromkeys(trial.variant for trial in of_seed) if v not in failed]
    return {v: [trial for trial in of_seed if trial.variant == v] for v in names[: len(string.ascii_uppercase)]}


def _compared(
    complete: Mapping[str, Sequence[Trial]], summary: Mapping[str, Any]
) -> tuple[dict[str, Results], dict[str, dict[str, Any]]]:
    """The results of each variant by its letter, on the same points, and what compares A with each other one."""
    from softpoint.evaluation import compare
    from softpoint.evaluation.comparison import matched
    from softpoint.studies.runs import fraction_of, pooled

    models = dict(zip(string.ascii_uppercase, matched([pooled(own) for own in complete.values()]), strict=False))
    fractions = {letter: fraction_of(own) for letter, own in zip(models, complete.values(), strict=True)}
    names, comparisons = dict(zip(models, complete, strict=True)), {}
    for letter in [*models][1:]:
        about = {"a": names["A"], "b": names[letter], "data": summary["on"], "split": "test"}
        same = fractions["A"] if fractions["A"] == fractions[letter] else None
        comparisons[letter] = compare(models["A"], models[letter], fraction=same, about=about)
    return models, comparisons


def _model_facts(trial: Trial) -> list[tuple[str, str]]:
    from softpoint.inference import read_checkpoint
    from softpoint.report.facts import model_facts

    return model_facts(read_checkpoint(trial.evaluated_checkpoint, own_packages(composed(trial.overrides))))


def _reader(trial: Trial) -> Callable[[str], np.ndarray]:
    """Return what reads an image of the data of a training by its name, whatever its split."""
    from hydra.utils import instantiate

    from softpoint.evaluation.eval_sets import split_set

    data = instantiate(composed(trial.overrides).datamodule)
    data.prepare_data()
    data.setup("fit")
    sets = [split_set(data, split) for split in data.sources]
    places = {image: (part.image, i) for part in sets for i, image in enumerate(part.images)}
    places |= {image: (part.scene_image, i) for part in sets for i, image in enumerate(part.scene_images)}

    def read(name: str) -> np.ndarray:
        if name not in places:
            raise ValueError(f"{name} is no longer in the data")
        load, i = places[name]
        return load(i)

    return read


def _command(summary: Mapping[str, Any], output: Path) -> str:
    return f"{summary['command']} {setting('output', here(output))}"
