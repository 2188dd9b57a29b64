"""Find errors in labeled images: softpoint inspect data.labels=FILE data.images=FOLDER"""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from softpoint.cli.run_folder import keep_inputs, lock_file, lock_output

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from softpoint.audit import Report
    from softpoint.labels.load import LoadedLabels
    from softpoint.labels.source import LabelSource
    from softpoint.labels.split import Split

_OUTPUTS = ("report.json", "images.png", "findings.png", "fixes.csv")


def main(cfg: DictConfig) -> None:
    """Print tables, write report.json, images.png and findings.png; exit with 1 where training would fail.

    With `fix`, write corrected labels and fixes.csv; then training on these decides how it exits.
    """
    if "painter" in cfg.data:
        show_scenes(cfg)
        return
    if "labels" not in cfg.data:
        raise ValueError("this data has no data.labels to inspect; inspect the labels that it was packed from")
    from hydra.utils import instantiate

    from softpoint.audit.console import print_report
    from softpoint.audit.pages import page_of_findings, page_of_labels
    from softpoint.labels.convert import check_splits_path
    from softpoint.labels.label_sets import as_paths
    from softpoint.labels.load import load_labels
    from softpoint.paths import write_json
    from softpoint.viz import write_image

    source, split = instantiate(cfg.datamodule.source), instantiate(cfg.datamodule.split)
    output = Path(cfg.output)
    target = None if cfg.fix is None else (Path(cfg.fix), fixed_format(Path(cfg.fix), source, cfg.fix_kinds))
    files = [*as_paths(source.labels), source.boxes, split.splits, cfg.fix]
    keep_inputs(output, _OUTPUTS, files)
    loaded = load_labels(source, audit=True)
    shown = [path for path in loaded.labels.paths if path.endswith(_OUTPUTS)]
    keep_inputs(output, _OUTPUTS, (loaded.image_folder.folder / path for path in shown))
    if target:
        lock_file(target[0])
        check_splits_path(loaded.labels, target[0], f"no file is overwritten: name another fix={target[0]}")
    report = audit(loaded, source, split, cfg.data.seed, cfg.unlabeled)
    labels, read = loaded.labels, loaded.image_folder.read
    lock_output(output)
    pages = {
        "images.png": page_of_labels(labels, read, cfg.images),
        "findings.png": page_of_findings(labels, read, report.findings, cfg.examples),
    }
    write_json(output / "report.json", report.to_dict())
    written = ["report.json"]
    for name, page in pages.items():
        if page is not None:
            write_image(output / name, page)
            written.append(name)
    print_report(report)
    if target:
        fixed = write_fixed(*target, loaded, source, report, cfg.fix_kinds, output)
        written.append("fixes.csv")
        report = audit(fixed, source, split, cfg.data.seed, unlabeled=False)
        left = [f"{finding.kind} ({finding.severity})" for finding in report.findings if finding.severity != "info"]
        print(f"left in {cfg.fix}: {', '.join(left) or 'no error or warning'}")
    print(f"{output}: {', '.join(written)}")
    if report.has_errors:
        sys.exit(1)


def fixed_format(path: Path, source: LabelSource, kinds: Sequence[str]) -> str:
    """Return the format of corrected labels; ValueError for a file that exists, another suffix, or unknown kinds."""
    from softpoint.audit.fixes import KINDS
    from softpoint.labels.formats import recognize
    from softpoint.labels.label_sets import as_paths
    from softpoint.suggest import check_choice

    for kind in kinds:
        check_choice("fix_kinds", kind, KINDS)
    if path.exists():
        raise ValueError(f"fix={path} exists, and no file is overwritten; name another one")
    if path.suffix.lower() == ".json":
        return "coco"
    if path.suffix.lower() != ".csv":
        raise ValueError(f"fix={path} must end in .csv, or in .json for COCO")
    kept = {source.format or recognize(labels) for labels in as_paths(source.labels) if labels.exists()}
    return "dlc_csv" if kept and all(name.startswith("dlc_") for name in kept) else "csv"


def write_fixed(
    path: Path,
    to: str,
    loaded: LoadedLabels,
    source: LabelSource,
    report: Report,
    kinds: Sequence[str],
    output: Path,
) -> LoadedLabels:
    """Write and return corrected labels, print all changes, and write them as fixes.csv in `output`."""
    import numpy as np

    from softpoint.audit.console import print_changes
    from softpoint.audit.fixes import Change, fixed_labels
    from softpoint.images.scan import Scans, memo_path, scan
    from softpoint.labels.convert import left_out, write_labels, written_lines
    from softpoint.labels.csv_io import write_rows
    from softpoint.labels.load import read_source
    from softpoint.labels.row_errors import RowErrors
    from softpoint.labels.validate import with_corrected_names
    from softpoint.paths import user_cache_dir

    with quiet():
        raw = read_source(replace(source, missing="none"), RowErrors(loaded.errors.source, silent=True))
    named = with_corrected_names(loaded.labels, loaded.image_folder) if "renamed" in kinds else loaded.labels
    labels, changes = fixed_labels(raw, named, report.findings, source.missing, kinds)
    errors = RowErrors(loaded.errors.source, "skip", silent=True)
    written = write_labels(labels, to, path, loaded.image_folder, errors)
    changes += [Change("", "", "left out", "", content) for content in left_out(written)]
    for row in (*loaded.errors.skipped, *errors.skipped):
        change = "blanked" if row.part else "left out"
        changes.append(Change(row.place, row.image, change, row.part, row.reason))
    print_changes(changes)
    write_rows(output / "fixes.csv", [Change._fields, *changes])
    print(*written_lines(written, to, path), sep="\n")
    new = [image for image in dict.fromkeys(written.images) if image not in loaded.scans]
    memo = memo_path(loaded.image_folder, user_cache_dir(source.cache_dir))
    scans = {**loaded.scans, **Scans(scan(loaded.image_folder, new, memo))}
    sizes = np.array([scans[image].size for image in written.images], dtype=np.int64).reshape(-1, 2)
    quietly = RowErrors(str(path), silent=True)
    return replace(loaded, labels=replace(written, unused={}), sizes=sizes, scans=scans, errors=quietly)


def audit(loaded: LoadedLabels, source: LabelSource, split: Split, seed: int, unlabeled: bool) -> Report:
    """Return all findings, with the reason for which training would refuse the data where no other states it.

    With `unlabeled`, images without labels beside the labeled ones are scanned too.
    """
    from softpoint.audit import Finding, audit_labels, unlabeled_images
    from softpoint.images.scan import memo_path, scan
    from softpoint.paths import user_cache_dir

    folder, labels = loaded.image_folder, loaded.labels
    of_rows = {row.image for row in loaded.errors.skipped if row.image}
    others = unlabeled_images(labels, folder, of_rows) if unlabeled else []
    extra = scan(folder, others, memo_path(folder, user_cache_dir(source.cache_dir)))
    splits, refusal = training_split(loaded, source, split, seed)
    report = audit_labels(loaded, splits, source.on_error, source.out_of_frame, extra, split)
    if refusal and not report.has_errors:
        refused = Finding("refused", "error", f"training refuses the data: {refusal}", (), "", 1)
        report = replace(report, findings=[refused, *report.findings])
    return report


def training_split(
    loaded: LoadedLabels, source: LabelSource, split: Split, seed: int
) -> tuple[dict[str, list[int]], str]:
    """Return the subjects of each split of a training, and why training refuses the data as it is; "" if not."""
    from softpoint.labels.groups import with_groups
    from softpoint.labels.label_sets import source_name
    from softpoint.labels.load import usable_labels
    from softpoint.labels.row_errors import RowErrors
    from softpoint.labels.split import images_of, split_labels

    refusal = ""
    refused = {row.place for row in loaded.errors.skipped}
    complete = loaded.labels.select(i for i, s in enumerate(loaded.labels.subjects) if s.row not in refused)
    for attempt in (source, replace(source, on_error="skip", out_of_frame="drop")):
        errors = RowErrors(source_name(source.labels), attempt.on_error)
        try:
            with quiet():
                grouped = with_groups(complete, split.group)
                labels = usable_labels(grouped, loaded.image_folder, attempt, errors, loaded.scans).labels
                images = images_of(labels, split_labels(labels, split, seed))
        except (ValueError, OSError) as error:
            refusal = refusal or str(error)
            continue
        names = loaded.labels.images
        members = {name: set(chosen) for name, chosen in images.items()}
        return {name: [i for i, image in enumerate(names) if image in members[name]] for name in members}, refusal
    return {}, refusal


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings, which the report states as findings."""
    import warnings

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)


def show_scenes(cfg: DictConfig) -> None:
    """Draw some painted scenes, whose labels are exact by construction."""
    from hydra.utils import instantiate

    from softpoint.viz import contact_sheet, draw_keypoints, write_image

    data = instantiate(cfg.datamodule, augment=None)
    data.setup("fit")
    source, scenes = data.sources["train"], data.scenes.get("train")
    drawn = []
    for i in range(min(cfg.images, len(source))):
        if scenes is None:
            record = source.load(0, i)
            drawn.append(draw_keypoints(record.image, record.keypoints, skeleton=source.skeleton, upscale=3))
            continue
        scene = scenes.load_scene(0, i)
        image = scene.image
        for points in scene.keypoints:
            image = draw_keypoints(image, points, skeleton=source.skeleton, upscale=1)
        drawn.append(image)
    path = Path(cfg.output) / "images.png"
    write_image(path, contact_sheet(drawn))
    print(f"painted scenes carry exact labels, so there is nothing to inspect; some are drawn in {path}")
