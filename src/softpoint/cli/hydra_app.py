"""Starts a script under Hydra, and turns a user's mistake into one clear message."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from softpoint.suggest import did_you_mean

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
MISTAKES = (HydraException, OmegaConfBaseException, ValueError, OSError, ImportError)


def launch(config_name: str, main: Callable[[DictConfig], Any]) -> None:
    """Runs `main` with the config of the command line; SOFTPOINT_TRACEBACK=1 shows where it failed."""
    # Threads that wait for each other sleep: spinning, they fight a loader or a neighbor for the same cores,
    # and a step takes five times as long on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print
    OmegaConf.register_new_resolver("run_dir", run_dir, replace=True)

    @wraps(main)
    def task(cfg: DictConfig) -> Any:
        try:
            return main(cfg)
        except Exception as error:
            # Hydra would print every override before the message. In a sweep it goes on with the next job.
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            _leave(error, config_name)

    try:
        hydra.main(config_path=str(CONFIGS), config_name=config_name, version_base="1.3")(task)()
    except Exception as error:
        _leave(error, config_name)


def run_dir(ckpt_path: str | None, new: str) -> str:
    """The folder of the run that a checkpoint belongs to, so that resuming goes on there; else a new one.

    >>> run_dir("outputs/a/checkpoints/last.ckpt", "outputs/b"), run_dir(None, "outputs/b")
    ('outputs/a', 'outputs/b')
    """
    folder = Path(ckpt_path or "").parent
    return str(folder.parent) if folder.name == "checkpoints" else new


def _leave(error: Exception, config_name: str) -> None:
    if isinstance(error, BrokenPipeError):  # whoever read the output, such as `head`, has enough
        sys.exit(0)
    wrong_type = isinstance(error, TypeError) and _not_numbers(config_name)
    # Lightning's class for what a Trainer cannot do is not worth importing it.
    if not (isinstance(error, MISTAKES) or wrong_type or type(error).__name__ == "MisconfigurationException"):
        raise error
    if os.environ.get("SOFTPOINT_TRACEBACK"):
        traceback.print_exc()
    sys.exit(f"error: {_as_spelled_here(explain(error, config_name), config_name)}")


def explain(error: BaseException, config_name: str) -> str:
    """What went wrong and the way out, from an exception of Hydra's or our own."""
    cause = _cause(error)
    said = str(cause)
    if isinstance(cause, MissingConfigException):
        return _missing_option(said)
    if isinstance(cause, MissingMandatoryValue):
        return _no_value(said, config_name)
    if isinstance(cause, InterpolationKeyError) and (match := re.search(r"key '([\w.]+)' not found", said)):
        return _not_chosen(match[1]) or said
    if match := re.search(r"Could not (?:override|delete from config\.) '([^']+)'", str(error)):
        return _unknown_key(match[1].split("@")[0], config_name)
    if isinstance(error, OverrideParseException):
        reason = next(line for line in error.message.splitlines() if not line.startswith("Error parsing"))
        key, _, value = error.override.partition("=")
        return f"{error.override!r} cannot be read as KEY=VALUE ({reason}); quote it twice: '{key}=\"{value}\"'"
    if _raw(cause) and (suspects := _not_numbers(config_name)):
        return f"{' and '.join(suspects)}: {said}"
    said = _from_worker(cause)
    where = re.search(r"full_key: (\S+)", str(error))
    ours = isinstance(cause, (ValueError, OSError, ImportError))
    return said if ours or where is None else f"{where[1]}: {said}"


def _as_spelled_here(message: str, config_name: str) -> str:
    """The message, with settings of data called as a script without that group calls them."""
    keys: Any = OmegaConf.load(CONFIGS / f"{config_name}.yaml")
    if any("data" in entry for entry in keys.get("defaults", []) if OmegaConf.is_dict(entry)):
        return message
    return re.sub(r"\bdata\.(\w+)", lambda match: match[1] if match[1] in keys else match[0], message)


def _cause(error: BaseException) -> BaseException:
    """What Hydra's instantiate, or nothing, stands around."""
    while error.__cause__ is not None and isinstance(error, HydraException):
        error = error.__cause__
    return error


def _from_worker(error: BaseException) -> str:
    """The message without the traceback that a loader's process packs into it."""
    match = re.search(rf"^Caught .*\n(?:\w+\.)*{type(error).__name__}: (.*)\Z", str(error), re.DOTALL)
    return match[1].strip() if match else str(error)


def _raw(error: BaseException) -> bool:
    return isinstance(error, TypeError) or str(error).startswith(("invalid literal", "could not convert"))


def _missing_option(message: str) -> str:
    asked = re.search(r"Could not (?:find|load) '([^']+)'", message)
    group, _, option = asked[1].rpartition("/") if asked else ("", "", "")
    if not (options := _options(group)):
        return message
    near = did_you_mean(option, options)
    rest = f" (options: {', '.join(options)})" if near.startswith("did") else ""
    return f"{group} has no option {option!r}; {near}{rest}"


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml")) if group else []


def _not_chosen(group: str) -> str | None:
    options = _options(group)
    return f"no {group} is chosen; choose {group}=OPTION from {', '.join(options)}" if options else None


def _no_value(message: str, config_name: str) -> str:
    """All keys without a value, because an interpolation has them under several names."""
    config = _composed(config_name)
    missing = [key for key, node in _nodes(config) if node._is_missing()] if config is not None else []
    if not missing:
        missing = [message.split(":")[-1].split()[0]]
    has, given = "has" if len(missing) == 1 else "have", " ".join(f"{key}=..." for key in missing)
    return f"{' and '.join(missing)} {has} no value; add to the command line: {given}"


def _unknown_key(key: str, config_name: str) -> str:
    """The nearest key of the config as the rest of the command line composes it, or who else has this one."""
    config = _composed(config_name, without=key)
    if config is None:
        return f"unknown key {key!r}, and not the only mistake: correct it first"
    known = [name for name, _ in _nodes(config)] + [path.name for path in CONFIGS.iterdir() if path.is_dir()]
    group, owners = key.split(".")[0], _owners(key.split(".")[0])
    if key in owners:
        return f"unknown key {key!r}; {group}={owners[key]} has it"
    parent, _, leaf = key.rpartition(".")
    if elsewhere := [name for name in known if name.rpartition(".")[2] == leaf]:
        return f"unknown key {key!r}; {did_you_mean(elsewhere[0], elsewhere)}"
    # What stands beside it, here or with another option of the group.
    beside = [name for name in [*known, *owners] if name.rpartition(".")[0] == parent]
    leaves = [name.rpartition(".")[2] for name in beside if not name.endswith("_")]
    near = re.fullmatch(r"did you mean '(.+)'\?", did_you_mean(leaf, leaves or known))
    if near is None:
        return f"unknown key {key!r}; {did_you_mean(leaf, dict.fromkeys(leaves) or known)}"
    found = f"{parent}.{near[1]}".lstrip(".")
    note = "" if found in known else f" It comes with {group}={owners[found]}."
    return f"unknown key {key!r}; did you mean {found!r}?{note}"


def _owners(group: str) -> dict[str, str]:
    """Which options of a group have a key below it."""
    owners: dict[str, str] = {}
    for option in _options(group):
        path = CONFIGS / group / f"{option}.yaml"
        prefix = "" if path.read_text(encoding="utf-8").startswith("# @package _global_") else f"{group}."
        for key, _ in _nodes(OmegaConf.load(path), prefix):
            if key.startswith(f"{group}.") and key != f"{group}.defaults":
                owners[key] = f"{owners[key]} or {option}" if key in owners else option
    return owners


def _not_numbers(config_name: str) -> list[str]:
    """What the command line sets to a text where the config has a number."""
    suspects, config = [], _composed(config_name)
    for key in dict.fromkeys(word.lstrip("+~").split("=")[0] for word in _words()):
        found = _value(config, key)
        usual = _composed(config_name, without=key) if isinstance(found, str) else None
        if isinstance(default := _value(usual, key), (int, float)):
            suspects.append(f"{key}={found} is no number, as {default} is")
    return suspects


def _value(config: Any, key: str) -> Any:
    """What stands at a key; None where nothing does, or a reference to what only a running job has."""
    try:
        return None if config is None or "@" in key else OmegaConf.select(config, key)
    except OmegaConfBaseException:
        return None


def _words() -> list[str]:
    """The overrides on the command line, without flags and what is Hydra's own."""
    return [word for word in sys.argv[1:] if not word.startswith(("-", "hydra"))]


def _composed(config_name: str, without: str = "") -> Any:
    """The config of the command line, less the overrides of one key; None where the rest does not compose."""
    words = [word for word in _words() if word.lstrip("+~").split("=")[0].split("@")[0] != without]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return compose(config_name, overrides=words)
    except MISTAKES:
        return None


def _nodes(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key below a config, with what it holds; references are not followed."""
    if not OmegaConf.is_dict(node):
        return
    for key in node:
        value = node._get_node(key)
        yield f"{prefix}{key}", value
        if not value._is_interpolation() and not value._is_missing():
            yield from _nodes(value, f"{prefix}{key}.")
