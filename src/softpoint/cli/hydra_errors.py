"""One plain message for what Hydra, OmegaConf or this package raise about a command line."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from softpoint.cli.resource_errors import resource_message
from softpoint.paths import find_data
from softpoint.renamed_keys import REMOVED_KEYS, RENAMED_KEYS, advice
from softpoint.suggest import did_you_mean, without_data

# In the package where a wheel was installed, at the top of the repository in a checkout.
CONFIGS = next(folder for parent in (1, 3) if (folder := Path(__file__).resolve().parents[parent] / "configs").is_dir())
# Registered where every command finds the configs. Public sets, and the splits that come with this package.
OmegaConf.register_new_resolver("data_file", lambda path: str(find_data(path)), replace=True)
OmegaConf.register_new_resolver(
    "split_file", lambda name: str(CONFIGS.parent / f"data/splits/{name}.csv"), replace=True
)
# Launchers of Hydra and the extra that installs each.
_LAUNCHERS = {"joblib": "joblib", "ray": "ray", "submitit": "slurm"}
# A key or a group as Hydra reads it, with what adds or drops it.
_KEY = re.compile(r"(\+{0,2}|~)[a-z_$][\w.$/-]*(@[\w.$/:-]*)?", re.ASCII | re.IGNORECASE)
MISTAKES = (HydraException, OmegaConfBaseException, ValueError, OSError, ImportError)


@dataclass(frozen=True)
class CommandLine:
    """A command's config and the arguments that change it."""

    config_name: str
    words: Sequence[str]

    @property
    def overrides(self) -> list[str]:
        """The overrides of the config, without flags and without Hydra's own keys."""
        return [word for word in self.words if is_override(word) and not hydras(word)]

    @property
    def folders(self) -> list[Path]:
        """The folders that config groups are read from: the package's, then those of --config-dir."""
        own = [value for flag, value in pairwise(self.words) if flag in ("--config-dir", "-cd")]
        own += [word.partition("=")[2] for word in self.words if word.startswith("--config-dir=")]
        return [CONFIGS, *(Path(folder).absolute() for folder in own)]

    def options(self, group: str) -> list[str]:
        """The names that a config group offers; none where there is no such group."""
        return sorted({path.stem for folder in self.folders for path in (folder / group).glob("*.yaml") if group})

    def compose(self, without: str = "") -> DictConfig | None:
        """The config, less the overrides of one key; None where the rest does not compose."""
        try:
            return self.composed(without)
        except MISTAKES:
            return None

    def composed(self, without: str = "", hydra: bool = False) -> DictConfig:
        """The config, less the overrides of one key, and with Hydra's own keys on request."""
        words = [word for word in self.overrides if key_of(word) != without]
        search = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in self.folders[1:])}]"]
        running = GlobalHydra.instance().hydra  # of a study, which goes on after a training that failed
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(CONFIGS), version_base="1.3"):
                words += search if self.folders[1:] else []
                return compose(self.config_name, overrides=words, return_hydra_config=hydra)
        finally:
            GlobalHydra.instance().hydra = running


def leave(error: Exception, line: CommandLine) -> NoReturn:
    """End the process with the message of a user's mistake; raise any other error again."""
    if isinstance(error, BrokenPipeError):  # the reader of the output, such as `head`, has enough: as SIGPIPE ends
        sys.exit(141)
    wrong_type = isinstance(error, TypeError | AttributeError) and _mistyped(line)
    # Lightning's class for what a Trainer cannot do is not worth importing it.
    known = isinstance(error, MISTAKES) or wrong_type or resource_message(error)
    if not (known or type(error).__name__ == "MisconfigurationException"):
        raise error
    if os.environ.get("SOFTPOINT_TRACEBACK"):
        traceback.print_exc()
    sys.exit(f"error: {_without_group(explain(error, line), line)}")


def check_renamed(cfg: DictConfig) -> None:
    """Raise ValueError where a config, such as a user's own file, has a key of an earlier version of the package."""
    for old in (*RENAMED_KEYS, *REMOVED_KEYS):
        parent, _, leaf = old.rpartition(".")
        node = OmegaConf.select(cfg, parent) if parent else cfg
        if OmegaConf.is_dict(node) and leaf in node:
            raise ValueError(advice(old))


def check_keys(line: CommandLine) -> None:
    """Raise ValueError for an override of what cannot be a key."""
    for word in filter(is_override, line.words):
        if not _KEY.fullmatch(word.partition("=")[0]):
            raise ValueError(_no_key(word, line))


def check_config_folders(line: CommandLine) -> None:
    """Raise ValueError for --config-dir with the folder of a run, from which Hydra would read nothing."""
    for folder in line.folders[1:]:
        if (folder / ".hydra").is_dir() or (folder / "checkpoints").is_dir():
            raise ValueError(
                f"--config-dir={folder} is the folder of a run and holds no config groups; softpoint train --from"
                f" {folder} repeats the run, softpoint resume {folder} goes on with it"
            )


def explain(error: BaseException, line: CommandLine) -> str:
    """Return what is wrong and the way out, from an exception of Hydra's or our own."""
    if ran_out := resource_message(error):
        return ran_out
    cause: BaseException = error
    while cause.__cause__ is not None and isinstance(cause, HydraException):
        cause = cause.__cause__
    message = str(cause)
    if isinstance(cause, MissingConfigException):
        return _missing_option(message, line)
    if isinstance(cause, MissingMandatoryValue):
        return _no_value(message, line)
    if isinstance(cause, InterpolationKeyError) and (match := re.search(r"key '([\w.]+)' not found", message)):
        options = line.options(match[1])
        return f"no {match[1]} is chosen; choose {match[1]}=OPTION from {', '.join(options)}" if options else message
    if match := re.search(r"Could not (?:override|delete from config\.) '([^']+)'", str(error)):
        return _unknown_key(match[1].split("@")[0], line)
    if isinstance(error, OverrideParseException):
        reason = next(line for line in error.message.splitlines() if not line.startswith("Error parsing"))
        key, equals, value = error.override.partition("=")
        if not _KEY.fullmatch(key):
            return _no_key(error.override, line)
        if not equals:
            return f"{error.override!r} is not KEY=VALUE; quote an argument that contains spaces: 'KEY=VALUE'"
        return f"{error.override!r} cannot be read as KEY=VALUE ({reason}); quote it twice: '{key}=\"{value}\"'"
    converted = message.startswith(("invalid literal", "could not convert", "ConfigTypeError"))
    if (converted or isinstance(cause, TypeError | AttributeError)) and (suspects := _mistyped(line)):
        return " and ".join(suspects)
    # A loader's process packs its traceback into the message.
    packed = re.search(rf"^Caught .*\n(?:\w+\.)*{type(cause).__name__}: (.*)\Z", message, re.DOTALL)
    message = packed[1].strip() if packed else message
    where = re.search(r"full_key: (\S+)", str(error))
    plain = isinstance(cause, (ValueError, OSError, ImportError))
    return message if plain or where is None else f"{where[1]}: {message}"


def is_override(word: str) -> bool:
    """Return whether an argument is KEY=VALUE or ~KEY, and not a flag.

    >>> is_override("+a=1"), is_override("~a"), is_override("--config-dir=a"), is_override("a")
    (True, True, False, False)
    """
    return not word.startswith("-") and ("=" in word or word.startswith("~"))


def key_of(word: str) -> str:
    """Return the key or the group that an override changes.

    >>> key_of("+data.limit=3"), key_of("~callbacks.ema"), key_of("scene@scenes.a=shapes")
    ('data.limit', 'callbacks.ema', 'scene')
    """
    return word.lstrip("+~").split("=")[0].split("@")[0]


def hydras(word: str) -> bool:
    """Return whether an override is of Hydra's own config.

    >>> hydras("hydra/launcher=joblib"), hydras("+hydra.sweep.dir=x"), hydras("hydrant=1")
    (True, True, False)
    """
    return re.match(r"[+~]*hydra\b", word) is not None


def _without_group(message: str, line: CommandLine) -> str:
    """The message, with settings of data named as a command without that group names them."""
    keys: Any = OmegaConf.load(CONFIGS / f"{line.config_name}.yaml")
    if any("data" in entry for entry in keys.get("defaults", []) if OmegaConf.is_dict(entry)):
        return message
    return without_data(message, keys)


def _missing_option(message: str, line: CommandLine) -> str:
    named = re.search(r"Could not (?:find|load) '([^']+)'", message)
    group, _, option = named[1].rpartition("/") if named else ("", "", "")
    if group == "hydra/launcher":
        extra = next((extra for extra in _LAUNCHERS if option.startswith(extra)), None)
        if extra:
            return f'{group}={option} needs pip install "softpoint[{_LAUNCHERS[extra]}]"'
        return f"{group} has no option {option!r}; {did_you_mean(option, ['basic', 'joblib', 'ray', 'submitit_slurm'])}"
    if not (options := line.options(group)):
        return message
    near = did_you_mean(option, options)
    rest = f" (options: {', '.join(options)})" if near.startswith("did") else ""
    return f"{group} has no option {option!r}; {near}{rest}"


def _no_value(message: str, line: CommandLine) -> str:
    """Name every key without a value, because an interpolation has them under several names."""
    nodes = config_nodes(line.compose())
    missing = [key for key, node in nodes if node._is_missing()] or [message.split(":")[-1].split()[0]]
    verb, examples = "has" if len(missing) == 1 else "have", " ".join(f"{key}=..." for key in missing)
    return f"{' and '.join(missing)} {verb} no value; add to the command line: {examples}"


def _no_key(word: str, line: CommandLine) -> str:
    key = word.partition("=")[0].lstrip("+~")
    return (
        f"{word!r}: {key!r} cannot be a key; write KEY=VALUE with a key such as seed or data.labels"
        f" (softpoint {line.config_name} --help lists them)"
    )


def _unknown_key(key: str, line: CommandLine) -> str:
    """Name the nearest key of the config as the rest of the command line composes it, or the option that has it."""
    if message := advice(key):
        return message
    group, _, below = key.partition(".")
    owners = _owners(group, line)
    if key in owners:
        return f"unknown key {key!r}; {group}={owners[key]} has it"
    config = line.compose(without=key)
    if config is None:
        return f"unknown key {key!r}, and not the only mistake: correct it first"
    keys = [name for name, _ in config_nodes(config)] + [path.name for path in CONFIGS.iterdir() if path.is_dir()]
    tops, (parent, _, leaf) = [name for name in dict.fromkeys(keys) if "." not in name], key.rpartition(".")
    if elsewhere := [name for name in keys if name.rpartition(".")[2] == leaf]:
        return f"unknown key {key!r}; {did_you_mean(elsewhere[0], elsewhere)}"
    if below and group not in tops:
        near = re.fullmatch(r"did you mean '(.+)'\?", did_you_mean(group, tops))
        return f"unknown key {key!r}; " + (f"did you mean '{near[1]}.{below}'?" if near else did_you_mean(group, tops))
    # The keys beside it, with this option or another one of the group.
    beside = [name for name in [*keys, *owners] if name.rpartition(".")[0] == parent]
    leaves = [name.rpartition(".")[2] for name in beside if not name.endswith("_")]
    near = re.fullmatch(r"did you mean '(.+)'\?", did_you_mean(leaf, leaves or tops))
    if near is None:
        return f"unknown key {key!r}; {did_you_mean(leaf, dict.fromkeys(leaves) or tops)}"
    suggestion = f"{parent}.{near[1]}".lstrip(".")
    note = "" if suggestion in keys else f" It comes with {group}={owners[suggestion]}."
    return f"unknown key {key!r}; did you mean {suggestion!r}?{note}"


def _owners(group: str, line: CommandLine) -> dict[str, str]:
    """The options of a group that have a key below it, by key; of a key without a value, the one that asks for it."""
    owners: dict[str, str] = {}
    asking: dict[str, str] = {}
    for folder in line.folders:
        for path in sorted((folder / group).glob("*.yaml")):
            prefix = "" if path.read_text(encoding="utf-8").startswith("# @package _global_") else f"{group}."
            for key, node in config_nodes(OmegaConf.load(path), prefix):
                if key.startswith(f"{group}.") and key != f"{group}.defaults":
                    owners[key] = f"{owners[key]} or {path.stem}" if key in owners else path.stem
                    asking |= {key: path.stem} if node._is_missing() else {}
    return owners | asking


def _mistyped(line: CommandLine) -> list[str]:
    """The keys that the command line sets to a text where the config has a number, or to a value where it has keys."""
    suspects, config = [], line.compose()
    for key in dict.fromkeys(word.lstrip("+~").split("=")[0] for word in line.overrides):
        value = _value(config, key)
        default = None if value is None else _value(line.compose(without=key), key)
        if isinstance(value, str) and isinstance(default, int | float):
            suspects.append(f"{key}={value} is no number, as {default} is")
        elif isinstance(value, str | int | float) and isinstance(default, DictConfig):
            ways = [f"{key}.{name}" for name in map(str, default) if not name.startswith("_")][:3]
            ways += [f"drop it by '~{key}'"] if "_target_" in default else []
            suspects.append(f"{key}={str(value).lower()} is one value, and {key} has keys; set {' or '.join(ways)}")
    return suspects


def _value(config: DictConfig | None, key: str) -> Any:
    """The value at a key; None where there is none, or a reference to what only a running job has."""
    try:
        return None if config is None or "@" in key else OmegaConf.select(config, key)
    except OmegaConfBaseException:
        return None


def config_nodes(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key below a config with its node; references are not followed."""
    if not OmegaConf.is_dict(node):
        return
    for key in node:
        value = node._get_node(key)
        yield f"{prefix}{key}", value
        if not value._is_interpolation() and not value._is_missing():
            yield from config_nodes(value, f"{prefix}{key}.")
