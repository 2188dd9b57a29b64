"""What a table of runs shows of one: its options, the settings that matter first, and those that were changed."""

from __future__ import annotations

from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from softpoint.cli.command_line import CommandLine, key_of
from softpoint.cli.stored_run import config_folders, plain_values

# Each run has these, so that no cell is empty where another run has another option or value.
_GROUPS = ("data", "model", "backbone", "attention", "decoder", "head", "norm", "optimizer", "scheduler", "augment",
           "semi", "experiment")  # fmt: skip
_FIRST = {key: key for key in ("seed", "minutes", "data.size", "data.batch_size", "optimizer.lr")}
_FIRST["epochs"] = "trainer.max_epochs"
# What a run is called, shows and writes, and where it goes on.
_LEFT_OUT = ("name", "report", "resume", "must_work", "logger.", "datamodule.", "callbacks.dashboard",
             "callbacks.progress", "trainer.enable_progress_bar", "trainer.log_every_n_steps",
             "trainer.max_epochs")  # fmt: skip
# Groups that stand for settings of a command, as Hydra's own do.
_OF_A_COMMAND = ("experiment", "sweep", "hydra/")


def show_settings(trainer: Any, stated: DictConfig) -> None:
    """Let the dashboard show what was chosen and changed in TensorBoard's table of runs."""
    from softpoint.training.dashboard import Dashboard

    for dashboard in (callback for callback in trainer.callbacks if isinstance(callback, Dashboard)):
        dashboard.settings = shown_settings(stated)


def shown_settings(cfg: DictConfig) -> dict[str, str | float]:
    """Return the settings of the running training by dotted keys: what its command, experiment or sweep changed.

    A value is changed where the options of the groups alone would compose another one. Values are numbers or texts.
    """
    running: Any = HydraConfig.get()
    chosen = {str(group): option for group, option in running.runtime.choices.items() if option is not None}
    options = {group: chosen.get(group, "none") for group in _GROUPS}
    options["loss"] = [name for name, term in cfg.loss.items() if OmegaConf.is_dict(term) and "_target_" in term]
    first = {name: OmegaConf.select(cfg, key) for name, key in _FIRST.items()}
    shown = {**options, **first, **_changed(cfg, running, chosen)}
    return {key: value if type(value) in (int, float) else _text(value) for key, value in shown.items()}


def _changed(cfg: DictConfig, running: Any, chosen: dict[str, Any]) -> dict[str, Any]:
    words = [f"{group}={option}" for group, option in chosen.items() if not group.startswith(_OF_A_COMMAND)]
    words += [word for word in running.overrides.task if key_of(word) == "loss"]  # whose options Hydra does not keep
    usual = CommandLine("train", [*config_folders(running), *words]).compose()
    before = dict(plain_values(usual)) if usual else {}
    dropped = dict.fromkeys((key_of(word) for word in running.overrides.task if word.startswith("~")), "none")
    values = {
        key: OmegaConf.select(cfg, key) if "${" in str(value) else value
        for key, value in plain_values(cfg)
        if key not in before or before[key] != value
    }
    return {key: value for key, value in {**values, **dropped}.items() if not key.startswith(_LEFT_OUT)}


def _text(value: Any) -> str:
    if isinstance(value, list) or OmegaConf.is_list(value):
        return f"[{', '.join(map(_text, value))}]"
    return "null" if value is None else str(value)
