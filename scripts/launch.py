"""Starts a script under Hydra, and turns a user's mistake into one clear message."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from softpoint.suggest import did_you_mean

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
MISTAKES = (HydraException, OmegaConfBaseException, ValueError, OSError, ImportError)


def launch(config_name: str, main: Callable[[DictConfig], Any]) -> None:
    """Runs `main` with the config that the command line asks for; SOFTPOINT_TRACEBACK=1 shows where it failed."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print
    try:
        hydra.main(config_path=str(CONFIGS), config_name=config_name, version_base="1.3")(main)()
    except MISTAKES as error:
        if os.environ.get("SOFTPOINT_TRACEBACK"):
            traceback.print_exc()
        sys.exit(f"error: {explain(error, config_name)}")


def explain(error: BaseException, config_name: str) -> str:
    """What went wrong and the way out, from an exception of Hydra's or our own."""
    if isinstance(error, InstantiationException):
        return _instantiation(error)
    if isinstance(error, MissingConfigException):
        return _missing_option(str(error))
    if isinstance(error, MissingMandatoryValue):
        key = str(error).split(":")[-1].split()[0]
        return f"{key} has no value; give it on the command line: {key}=..."
    if isinstance(error, HydraException) and (match := re.search(r"Could not override '([^']+)'", str(error))):
        return _unknown_key(match[1].split("@")[0], config_name)
    return str(error)


def _instantiation(error: BaseException) -> str:
    where = re.search(r"full_key: (\S+)", str(error))
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, MissingMandatoryValue) or not isinstance(cause, HydraException):
        said = explain(cause, "") if isinstance(cause, MissingMandatoryValue) else str(cause)
        ours = isinstance(cause, (ValueError, OSError, ImportError, MissingMandatoryValue))
        return said if ours or where is None else f"{where[1]}: {said}"
    return str(error)


def _missing_option(message: str) -> str:
    asked = re.search(r"Could not find '([^']+)'", message)
    options = re.findall(r"^\t(\S+)$", message, re.MULTILINE)
    if asked is None or not options:
        return message
    group, _, option = asked[1].rpartition("/")
    return f"{group} has no option {option!r}; {did_you_mean(option, options)}\noptions: {', '.join(options)}"


def _unknown_key(key: str, config_name: str) -> str:
    """The nearest key of the config as the rest of the command line composes it."""
    rest = [word for word in sys.argv[1:] if not word.lstrip("+~").startswith((f"{key}=", "-"))]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose(config_name, overrides=rest)
    except MISTAKES:
        return f"unknown key {key!r}, and not the only mistake: correct it first"
    known = list(_keys(config)) + [path.name for path in CONFIGS.iterdir() if path.is_dir()]
    parent = key.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == parent]
    leaf = key.rpartition(".")[2]
    elsewhere = [name for name in known if name.rpartition(".")[2] == leaf]
    if elsewhere:
        return f"unknown key {key!r}; {did_you_mean(elsewhere[0], elsewhere)}"
    return f"unknown key {key!r}; {did_you_mean(key, siblings or known)}"


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    if not OmegaConf.is_dict(node):
        return
    for key in node:
        yield f"{prefix}{key}"
        value = node._get_node(key)
        if not value._is_interpolation() and not value._is_missing():
            yield from _keys(value, f"{prefix}{key}.")
