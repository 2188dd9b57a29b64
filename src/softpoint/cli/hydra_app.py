"""A command under Hydra, whose user's mistakes end in one clear message."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from functools import partial, update_wrapper
from importlib import import_module
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from softpoint.cli import run_folder
from softpoint.cli.command_help import command_help, first_settings, list_options
from softpoint.cli.command_line import CONFIGS, CommandLine, is_override, key_of
from softpoint.cli.hydra_errors import check_config_folders, check_flags, check_keys, check_renamed, leave
from softpoint.cli.imports import import_quickly
from softpoint.suggest import quoted

# Keys whose value is a path or a name, of every command and of single ones.
_TEXTS = {
    *(
        "data.labels",
        "data.images",
        "data.boxes",
        "data.splits",
        "data.folder",
        "data.cache_dir",
        "data.unlabeled_images.source",
    ),
    *("backbone.weights", "backbone.folder", "init", "name", "hydra.run.dir", "hydra.sweep.dir"),
    *("data.keypoints", "data.categories"),
}
_TEXTS_OF = {
    "train": {"resume"},  # of predict it is true or false
    "evaluate": {"ckpt", "output"},
    "calibrate": {"ckpt"},
    "predict": {"ckpt", "source", "output", "boxes"},
    "tracks": {"predictions", "labels", "output"},
    "suggest": {"ckpt", "source", "labels", "images", "crossval", "output", "scorer", "boxes"},
    "export": {"ckpt", "output", "images", "hub"},
    "serve": {"model"},
    "inspect": {"output", "fix"},
    "convert": {"labels", "output", "images"},
    "fetch": {"root"},
    "weights": {"root"},
    "pack": {"output"},
    "demo": {"image", "file", "output"},
    "explore": {"ckpt"},
    "tune": {"output"},
    "ensemble": {"runs", "output"},
    **{study: {"output", "page"} for study in ("crossval", "compare", "curve")},
}

# Libraries whose notes Hydra would print with ours: the Hub's clients, of every request, and what gradio imports.
_TALKATIVE = ("httpx", "httpx2", "numexpr")
# Commands that train on synthetic images unless their words choose other data, and these words.
_TRAININGS = {"train", "tune", "crossval", "compare", "curve", "ensemble"}
_CHOOSE_DATA = {"data", "experiment", "runs", "--from", "--config-name", "-cn"}

# Of the keys of single commands, those that also take a list.
_LISTS = {"evaluate": {"ckpt"}, "ensemble": {"runs"}, "convert": {"labels", "images"}, "suggest": {"labels", "images"}}

# Registered where the functions of a command are found, for the processes of a launcher too.
OmegaConf.register_new_resolver("run_folder", run_folder.run_folder, use_cache=True, replace=True)
OmegaConf.register_new_resolver("new_folder", run_folder.new_folder, use_cache=True, replace=True)
# Where Hydra's plugin for Optuna 2 is installed, its schema of that name would be in the way of ours.
Plugins.instance()
ConfigStore.instance().repo["hydra"].get("sweeper", {}).pop("optuna.yaml", None)


def launch(command: str, words: Sequence[str]) -> Any:
    """Return what a command returns, with the config that `words` compose.

    SystemExit has the message of a user's mistake; SOFTPOINT_TRACEBACK=1 also prints where it was found.
    """
    # Threads that wait for each other sleep: spinning, they fight a loader or a neighbor for the same cores,
    # and a step takes five times as long on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print
    for library in _TALKATIVE:
        logging.getLogger(library).setLevel(logging.WARNING)
    module = import_module(f"softpoint.cli.{command}")
    words = with_own_data(command, [word for given in words for word in with_data_boxes(command, given, words)])
    words = [with_text(word, _TEXTS | _TEXTS_OF.get(command, set())) for word in words]
    words = getattr(module, "arguments", list)(words)
    config = getattr(module, "CONFIG", command)
    line, arguments = CommandLine(config, words), sys.argv
    results: list[Any] = []  # of which Hydra returns nothing
    OmegaConf.register_new_resolver("options", partial(list_options, line), replace=True)
    OmegaConf.register_new_resolver("first_settings", partial(first_settings, line), replace=True)

    def task(cfg: DictConfig) -> Any:
        sys.argv = arguments
        try:
            check_renamed(cfg)
            _check_texts(command, cfg)
            check_flags(cfg, line)
            if cfg.get("device") == "auto":
                cfg.device = _best_device()
            import_quickly(getattr(module, "LIBRARIES", ()))
            results.append(module.main(cfg))
            return results[-1]
        except Exception as error:
            # Hydra would print every override before the message. In a sweep it goes on with the next job.
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            leave(error, line)

    with run_folder.held:  # its callbacks see how the command ends
        try:
            check_config_folders(line)
            check_keys(line)
            run_folder.leave_none_empty(words)
            if _asks_for_help(words):
                topics = [word for word in words if not (word.startswith("-") or is_override(word))]
                print(command_help(line, *topics))
                return None
            # Hydra parses sys.argv, and takes no override behind a flag.
            sys.argv = [arguments[0], *sorted(words, key=lambda word: not is_override(word))]
            decorate = hydra.main(config_path=str(CONFIGS), config_name=config, version_base="1.3")
            decorate(update_wrapper(task, module.main))()
        except Exception as error:
            leave(error, line)
        finally:
            sys.argv = arguments
    return results[-1] if results else None


def _asks_for_help(words: Sequence[str]) -> bool:
    """Return whether --help is of a config of this package; Hydra alone finds that of --config-name."""
    return bool({"--help", "-h"} & {*words}) and not any(word.startswith(("--config-name", "-cn")) for word in words)


def _check_texts(command: str, cfg: DictConfig) -> None:
    """Raise ValueError for a list where a command takes one path or name."""
    for key in sorted(_TEXTS_OF.get(command, set()) - _LISTS.get(command, set())):
        if OmegaConf.is_list(value := cfg.get(key)) or OmegaConf.is_dict(value):
            raise ValueError(f"{key}={value}: give one; softpoint {command} --help {key} says what it may be")


def _best_device() -> str:
    from softpoint.inference.predictor import best_device

    print(f"device: {(device := best_device())}", flush=True)
    return device


def with_data_boxes(command: str, word: str, words: Sequence[str]) -> list[str]:
    """Return boxes=FILE as the settings of the data that it stands for in commands without a key of that name.

    >>> with_data_boxes("train", "boxes=detected.json", ["boxes=detected.json"])
    ['data.boxes=detected.json', 'data.mode=instance']
    """
    key, _, value = word.partition("=")
    if key != "boxes" or "boxes" in _TEXTS_OF.get(command, set()):
        return [word]
    decided = command == "evaluate" or any(other.startswith("data.mode=") for other in words)
    return [f"data.boxes={value}", *([] if decided or value == "null" else ["data.mode=instance"])]


def with_own_data(command: str, words: Sequence[str]) -> list[str]:
    """Return the words of a command, with data=custom in a training that names labels and chooses no data.

    >>> with_own_data("train", ["data.labels=a.csv"]), with_own_data("train", ["data=glue_tubes", "data.labels=a.csv"])
    (['data=custom', 'data.labels=a.csv'], ['data=glue_tubes', 'data.labels=a.csv'])
    """
    keys = {key_of(word) for word in words}
    own = command in _TRAININGS and "data.labels" in keys and not keys & _CHOOSE_DATA
    return [*(["data=custom"] if own else []), *words]


def with_text(word: str, keys: set[str]) -> str:
    """Return an override in which the value of one of `keys` is a text, also where it looks like a number.

    >>> with_text("output=2024_01", {"output"}), with_text("+data.labels=[7,a,null]", {"data.labels"})
    ("output='2024_01'", "+data.labels=['7',a,null]")
    """
    key, equals, value = word.partition("=")
    if key.lstrip("+") not in keys or re.search(r"['\"({$]", value):
        return word

    def text(match: re.Match[str]) -> str:
        parsed = OverridesParser.create().parse_override(f"key={match[0]}").value()
        return quoted(match[0]) if isinstance(parsed, int | float) else match[0]

    return key + equals + re.sub(r"(?<![^\[,])[\w.+-]+(?![^\],])", text, value)
