"""Explore spatial softmax, attention, a model and labels in a browser: softpoint explore ckpt=FILE"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from softpoint.cli.faults import warn_of_faults

if TYPE_CHECKING:
    from softpoint.explorer.data_tab import AuditedSet
    from softpoint.inference import Predictor


def main(cfg: DictConfig) -> None:
    """Serve the page until the process is stopped."""
    from softpoint.extras import require

    require("uvicorn", "explore", "exploring")
    from softpoint.serving.connections import Limits
    from softpoint.serving.server import address_of, exit_on_sigterm, listen, serve

    exit_on_sigterm()
    with listen(cfg.host, cfg.port) as listening, TemporaryDirectory(prefix="softpoint-explore-") as folder:
        # gradio reads these when it is imported.
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
        require("gradio", "explore", "exploring")
        from softpoint.explorer.app import create_app

        app = create_app(Path(folder), opened_model(cfg), audited_set(cfg))
        print(f"open {address_of(listening)}/ in a browser; Ctrl-C stops", flush=True)
        limits = Limits(body_s=600)  # of a video, which goes to the disk
        serve(app, listening, grace_s=1, access_log=False, limits=limits, on_end=app.state.end_streams)


def opened_model(cfg: DictConfig) -> tuple[Predictor, str] | None:
    """Return a predictor that explains its confidence where it can, and its name; None without a checkpoint."""
    if cfg.ckpt is None:
        return None
    from softpoint.inference import load_predictor, read_checkpoint

    checkpoint = read_checkpoint(cfg.ckpt, cfg.trust)
    if cfg.warn:
        warn_of_faults(checkpoint)
    predictor = load_predictor(checkpoint, cfg.device, explain=checkpoint.net.calibration.fitted)
    return predictor, "/".join(Path(cfg.ckpt).parts[-3:])  # no more of the machine's folders


def audited_set(cfg: DictConfig) -> AuditedSet | None:
    """Return the labels of the data group with their audit; None where no labels are named."""
    if "labels" not in cfg.data:  # or without a value
        return None
    from hydra.utils import instantiate

    from softpoint.cli.inspect import audit, training_split
    from softpoint.explorer.data_tab import AuditedSet
    from softpoint.labels.load import load_labels

    source, split = instantiate(cfg.datamodule.source), instantiate(cfg.datamodule.split)
    loaded = load_labels(source, audit=True)
    report = audit(loaded, source, split, cfg.data.seed, unlabeled=False)
    return AuditedSet(loaded, report, training_split(loaded, source, split, cfg.data.seed)[0])
