"""Measure a trained model on held-out images: softpoint evaluate ckpt=RUN/checkpoints/best.ckpt"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.evaluate_subjects import check_finding, finding_metrics, found_subjects, why_not_found
from softpoint.cli.faults import warn_of_faults
from softpoint.cli.overrides import whole_number
from softpoint.cli.predict_split import overridden_data, plain_value, predict_split
from softpoint.cli.report import collected_warnings, typed_command, write_report
from softpoint.cli.run_folder import lock_output
from softpoint.cli.tta import decide_tta

if TYPE_CHECKING:
    from softpoint.evaluation import Results
    from softpoint.evaluation.eval_sets import EvaluationSet
    from softpoint.inference import Checkpoint
    from softpoint.report.facts import Facts

_LETTERS = string.ascii_uppercase  # names of models that are compared


def main(cfg: DictConfig) -> None:
    """Write metrics.json, what it is made of, and a report; for several checkpoints comparison.json."""
    from pathlib import Path

    from softpoint.evaluation.summary import check_settings
    from softpoint.inference import read_checkpoint
    from softpoint.inference.predictor import check_device

    paths, output = checkpoint_paths(cfg), Path(cfg.output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"output={output} is a file; name a folder")
    check_device(cfg.device)
    settings: dict[str, Any] = {"oks_sigmas": plain_value(cfg.oks_sigmas), "nme_pair": plain_value(cfg.nme_pair)}
    check_alone(cfg, len(paths))
    check_finding(cfg)
    draws = {key: whole_number(cfg, key) for key in ("draws", "seed")}
    with collected_warnings() as warnings:
        checkpoints = [read_checkpoint(path, cfg.trust) for path in paths]
        decide_tta(cfg, checkpoints[0])
        for checkpoint in checkpoints if cfg.warn else ():
            warn_of_faults(checkpoint)
        if cfg.missing == "error":  # then all keypoints will be there, and an error need not wait for the predictions
            check_settings(checkpoints[0].skeleton, **settings)
        lock_output(output)
        single = _write_evaluation if cfg.against is None else _write_against
        write = single if len(paths) == 1 else _write_comparison
        write(cfg, checkpoints, settings | draws, warnings)
    print(f"written to {output}")


def _write_evaluation(
    cfg: DictConfig, checkpoints: list[Checkpoint], settings: Mapping[str, Any], warnings: list[str]
) -> None:
    """Measure one model, print the tables and write the files."""
    from pathlib import Path

    from softpoint.data.dataset import input_pixel
    from softpoint.evaluation import evaluate
    from softpoint.evaluation.console import finding_tables, metrics_tables
    from softpoint.evaluation.eval_data import confidence_fraction
    from softpoint.evaluation.files import REPORT, write_evaluation
    from softpoint.evaluation.regions import held_out_regions
    from softpoint.evaluation.repeats import measure_repeats, repeats_tables
    from softpoint.evaluation.risk import Risk
    from softpoint.inference.regions import ELLIPSES, SETS
    from softpoint.paths import sha256
    from softpoint.report import evaluation_page
    from softpoint.report.facts import model_facts
    from softpoint.tables import console

    (checkpoint,) = checkpoints
    risk = None if cfg.risk is None else Risk.parse(plain_value(cfg.risk))
    results, eval_set, predictor = predict_split(cfg, checkpoint)
    fraction = confidence_fraction(checkpoint)
    radius = float(checkpoint.net.calibration.radius) or None  # in input pixels; 0 where it was not calibrated
    original = radius and radius * input_pixel(eval_set.source, predictor.size, eval_set.padding)
    about = {"checkpoint": checkpoint_paths(cfg)[0], **_about(cfg, eval_set), "confidence_radius": radius}
    about |= {"confidence_radius_original": original, "confidence_fraction": fraction}
    about["checkpoint_sha256"] = sha256(checkpoint.weights_file)  # predict accept=metrics.json compares it
    measured = cfg.split, results.images
    regions, reason = held_out_regions(checkpoint, *measured)
    sets, no_sets = (None, "") if results.set_tails is None else held_out_regions(checkpoint, *measured, SETS)
    metrics = evaluate(results, **settings, fraction=fraction, regions=regions, sets=sets, risk=risk, about=about)
    metrics["skipped"] |= {kind: why for kind, why in ((ELLIPSES, reason), (SETS, no_sets)) if why}
    if cfg.repeat is not None:
        metrics |= measure_repeats(results, str(cfg.repeat))
    found = found_subjects(cfg, checkpoint, eval_set, predictor)
    metrics |= finding_metrics(cfg, found, settings)
    metrics["skipped"] |= why_not_found(checkpoint, found)
    write_evaluation(Path(cfg.output), results, metrics, found, figures=cfg.figures)
    tables = [finding_tables(metrics["finding"])] if found is not None else []
    console().print(metrics_tables(metrics), *repeats_tables(metrics), *tables)
    if cfg.report:
        facts, again = model_facts(checkpoint), typed_command("evaluate")
        shown = None if found is None else (found, eval_set.scene_image)
        page = partial(evaluation_page, results, metrics, eval_set.image, facts, warnings, again, found=shown)
        write_report(Path(cfg.output) / REPORT, page)
    if original:
        print(f"confidence: the probability of an error of at most {original:.1f} px in these images")


def _write_comparison(
    cfg: DictConfig, checkpoints: list[Checkpoint], settings: Mapping[str, Any], warnings: list[str]
) -> None:
    """Compare the first model with each other one on what all have in common, print the tables and write the files."""
    from pathlib import Path

    from softpoint.evaluation import compare
    from softpoint.evaluation.comparison import matched_rows
    from softpoint.evaluation.console import comparison_tables
    from softpoint.evaluation.eval_data import confidence_fraction, decides_split, held_out_of_all
    from softpoint.evaluation.files import REPORT, write_comparison
    from softpoint.paths import normalize_path
    from softpoint.report.facts import model_facts
    from softpoint.tables import console

    first, *others = checkpoints
    paths, (results, eval_set, _) = checkpoint_paths(cfg), predict_split(cfg, first)
    # Where the command line decides what is tested, the splits of the runs do not.
    fair = None if decides_split(overridden_data(cfg)) else held_out_of_all(checkpoints, cfg.split)
    kept = [i for i, image in enumerate(results.images) if fair is None or normalize_path(image) in fair]
    measured = [results.select(kept), *(predict_split(cfg, first, other)[0] for other in others)]
    rows = matched_rows(measured)
    models = {letter: part.select(own) for letter, part, own in zip(_LETTERS, measured, rows, strict=False)}
    fractions = [confidence_fraction(checkpoint) for checkpoint in checkpoints]
    comparisons = {}
    for letter, path, own in zip(_LETTERS[1:], paths[1:], fractions[1:], strict=False):
        about = {"a": paths[0], "b": path, **_about(cfg, eval_set), "confidence_fractions": [fractions[0], own]}
        same = fractions[0] if fractions[0] == own else None
        comparisons[letter] = compare(models["A"], models[letter], **settings, fraction=same, about=about)
        console().print(comparison_tables(comparisons[letter], letter))
    print(*(f"{letter} is {path}" for letter, path in zip(_LETTERS, paths, strict=False)), sep="\n")
    images = [kept[i] for i in rows[0]]
    write_comparison(Path(cfg.output), dict(zip(_LETTERS, measured, strict=False)), comparisons)
    if cfg.report:
        facts = dict(zip(models, map(model_facts, checkpoints), strict=True))
        write_report(
            Path(cfg.output) / REPORT,
            partial(_comparison_page, facts, models, comparisons, eval_set, images, warnings),
        )


def check_alone(cfg: DictConfig, count: int) -> None:
    """Raise an error for settings of one model beside others, and for a file of predictions that is not there."""
    from pathlib import Path

    if cfg.tta == "auto" and count > 1:
        raise ValueError("tta=auto is decided for one model; compare several with tta=flip or without")
    for key in ("risk", "repeat"):
        if cfg[key] is not None and (count > 1 or cfg.against is not None):
            raise ValueError(f"{key}= is of one model: give one checkpoint, and no against=")
    if cfg.against is not None and count > 1:
        raise ValueError(f"against={cfg.against} compares one checkpoint with the predictions in a file; give one ckpt")
    if cfg.against is not None and not Path(str(cfg.against)).exists():
        raise FileNotFoundError(f"against={cfg.against} does not exist; name a file of predictions of the same images")


def _write_against(
    cfg: DictConfig, checkpoints: list[Checkpoint], settings: Mapping[str, Any], warnings: list[str]
) -> None:
    """Compare a model with the predictions of another tool, print the tables and write the files."""
    from pathlib import Path

    from softpoint.data.sources import LabeledImages
    from softpoint.evaluation import compare
    from softpoint.evaluation.against import against
    from softpoint.evaluation.console import comparison_tables
    from softpoint.evaluation.eval_data import confidence_fraction
    from softpoint.evaluation.files import REPORT, write_comparison
    from softpoint.report.facts import model_facts, predictions_facts
    from softpoint.tables import console

    (checkpoint,), path = checkpoints, Path(str(cfg.against))
    results, eval_set, _ = predict_split(cfg, checkpoint)
    source = eval_set.source
    labels = Path(source.labels.source) if isinstance(source, LabeledImages) else None
    both = against(path, results, getattr(getattr(source, "reader", None), "folder", None), labels)
    about = {"a": checkpoint_paths(cfg)[0], "b": str(path), **_about(cfg, eval_set)}
    options = {**settings, "fraction": confidence_fraction(checkpoint), "about": about}
    comparison = compare(both.model, both.other, **options, notes=both.notes, unmeasured=both.unmeasured)
    console().print(comparison_tables(comparison))
    print(f"A is {checkpoint_paths(cfg)[0]}\nB is {path}")
    models = {"A": both.model, "B": both.other}
    write_comparison(Path(cfg.output), models, {"B": comparison})
    if cfg.report:
        facts = {"A": model_facts(checkpoint), "B": predictions_facts(path, both.other)}
        page = partial(_comparison_page, facts, models, {"B": comparison}, eval_set, both.rows, warnings)
        write_report(Path(cfg.output) / REPORT, page)


def _comparison_page(
    facts: Mapping[str, Facts],
    models: Mapping[str, Results],
    comparisons: Mapping[str, Mapping[str, Any]],
    eval_set: EvaluationSet,
    images: Sequence[int],
    warnings: list[str],
) -> str:
    """The report of models on the same subjects, whose places in the set are `images`."""
    from softpoint.evaluation.comparison import matched
    from softpoint.report import comparison_page

    alike = dict(zip(models, matched(list(models.values())), strict=True))  # the keypoints that all have
    command = typed_command("evaluate")
    return comparison_page(alike, comparisons, lambda i: eval_set.image(images[i]), facts, warnings, command)


def _about(cfg: DictConfig, eval_set: EvaluationSet) -> dict[str, Any]:
    """What is measured, as metrics.json and comparison.json state it."""
    labels = getattr(eval_set.source, "labels", None)
    data = labels.source if labels else cfg.get("name") or "that of the run"
    return {"data": data, "split": cfg.split, "tta": cfg.tta, "group": cfg.group}


def checkpoint_paths(cfg: DictConfig) -> list[str]:
    """Return the paths of one checkpoint or of up to 26; ValueError for anything else."""
    paths = list(cfg.ckpt) if OmegaConf.is_list(cfg.ckpt) else [cfg.ckpt]
    if not all(isinstance(path, str) for path in paths) or not 0 < len(paths) <= len(_LETTERS):
        raise ValueError(f"ckpt={cfg.ckpt}: give the path of one checkpoint, or [A,B,...] to compare up to 26")
    return paths
