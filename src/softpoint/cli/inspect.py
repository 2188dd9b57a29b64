"""Finds what is wrong with labeled images: python scripts/inspect_data.py data.labels=FILE data.images=FOLDER"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from softpoint.cli.hydra_app import launch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from softpoint.audit import Finding, Report
    from softpoint.images import ImageFolder
    from softpoint.labels.schema import Labels


def main(cfg: DictConfig) -> None:
    """Prints tables, writes report.json, images.png and findings.png; code 1 where training would break."""
    if "painter" in cfg.data:
        show_scenes(cfg)
        return
    if "labels" not in cfg.data:
        raise ValueError("this data has no data.labels to inspect; inspect the labels that it was packed from")
    from softpoint.audit.console import print_report
    from softpoint.audit.pages import page_of_findings, page_of_labels
    from softpoint.images import ImageFolder
    from softpoint.viz import write_image

    labels = read(cfg.data)
    image_folder = ImageFolder(Path(cfg.data.images or labels.folder), cfg.data.exif, cfg.data.max_pixels)
    report = examine(cfg, labels, image_folder)
    output = Path(cfg.output)
    pages = {
        "images.png": page_of_labels(labels, image_folder.read, cfg.images),
        "findings.png": page_of_findings(labels, image_folder.read, report.findings, cfg.examples),
    }
    for name, page in pages.items():
        if page is not None:
            write_image(output / name, page)
    output.mkdir(parents=True, exist_ok=True)
    (output / "report.json").write_text(json.dumps(report.to_dict(), indent=1), encoding="utf-8")
    print_report(report)
    written = ["report.json", *(name for name, page in pages.items() if page is not None)]
    print(f"{output}: {', '.join(written)}")
    if report.has_errors:
        sys.exit(1)


def read(data: DictConfig) -> Labels:
    """The labels as training has them, less the rows that cannot be understood, before they are checked."""
    from softpoint.labels.formats import read_labels
    from softpoint.labels.schema import choose

    labels = read_labels(data.labels, data.format, "skip", data.images, data.fetch)
    return choose(labels, data.categories, data.keypoints, data.flip_pairs, data.edges)


def examine(cfg: DictConfig, labels: Labels, image_folder: ImageFolder) -> Report:
    """All findings, with the split that training would use and why it would refuse."""
    from softpoint.audit import audit_labels, unlabeled_images
    from softpoint.images.scan import memo_of, scan
    from softpoint.paths import user_cache_dir

    others = unlabeled_images(labels, image_folder) if cfg.unlabeled else []
    # Where training will look for them.
    memo = memo_of(image_folder, user_cache_dir(cfg.data.cache_dir))
    scans = scan(image_folder, [*labels.images, *others], memo)
    splits, refusal = training_split(cfg.data, labels)
    here, beside = scans[: len(labels)], scans[len(labels) :]
    report = audit_labels(labels, image_folder, here, splits, cfg.data.on_error, cfg.data.outside, beside)
    return replace(report, findings=[*refusal, *report.findings])


def training_split(data: DictConfig, labels: Labels) -> tuple[dict[str, list[int]], list[Finding]]:
    """Which subjects would train, choose and test, and a finding where training refuses the data as it is."""
    from hydra.utils import instantiate

    from softpoint.audit import Finding

    refusal = []
    found: Any = None
    for lenient in ({}, {"on_error": "skip", "outside": "drop"}):
        try:
            with quiet():
                found = instantiate(data, augment=None, num_workers=0, **lenient)
            break
        except Exception as error:
            cause = error.__cause__ or error  # Hydra stands around it
            if not isinstance(cause, (ValueError, OSError, ImportError)):
                raise
            if not lenient:
                refusal = [Finding("refused", "error", f"training refuses: {cause}", (), "see below", 1)]
    if found is None:
        return {}, refusal
    chosen = {split: {found.labels.images[i] for i in rows} for split, rows in found.splits.items()}
    rows = {split: [i for i, image in enumerate(labels.images) if image in names] for split, names in chosen.items()}
    return rows, refusal


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings: the report says them in its own way."""
    import warnings

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def show_scenes(cfg: DictConfig) -> None:
    """Painted scenes are right by construction: only draws some."""
    from hydra.utils import instantiate

    from softpoint.viz import contact_sheet, draw_keypoints, write_image

    source = instantiate(cfg.data, augment=None, num_workers=0).sources["train"]
    records = [source.load(0, i) for i in range(min(cfg.images, len(source)))]
    drawn = [draw_keypoints(r.image, r.keypoints, skeleton=source.skeleton, upscale=3) for r in records]
    path = Path(cfg.output) / "images.png"
    write_image(path, contact_sheet(drawn))
    print(f"painted scenes carry exact labels, so there is nothing to inspect; some are drawn in {path}")


def run(words: list[str]) -> None:
    """Run the command with the arguments `words`."""
    launch("inspect_data", main, words)
