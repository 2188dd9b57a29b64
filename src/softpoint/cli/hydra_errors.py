"""One plain message for what Hydra, OmegaConf or this package raise about a command line."""

from __future__ import annotations

import os
import re
import sys
import traceback
from typing import Any, NoReturn

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from softpoint.cli.command_line import CONFIGS, MISTAKES, CommandLine, config_nodes, is_override, key_of
from softpoint.cli.resource_errors import resource_message
from softpoint.cli.unknown_keys import unknown_key
from softpoint.renamed_keys import REMOVED_KEYS, RENAMED_KEYS, advice
from softpoint.suggest import did_you_mean, without_data

# Launchers of Hydra and the extra that installs each.
_LAUNCHERS = {"joblib": "joblib", "ray": "ray", "submitit": "slurm"}
# What Hydra takes for no text.
_UNNAMED = re.compile(r"[-+.\d]+|true|false|null", re.IGNORECASE)
# A key or a group as Hydra reads it, with what adds or drops it.
_KEY = re.compile(r"(\+{0,2}|~)[a-z_$][\w.$/-]*(@[\w.$/:-]*)?", re.ASCII | re.IGNORECASE)


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
    """Raise ValueError for an override of what cannot be a key, and for a list of options with what cannot be one."""
    for word in filter(is_override, line.words):
        name, _, value = word.partition("=")
        if not _KEY.fullmatch(name):
            raise ValueError(_no_key(word, line))
        options = value.strip("[]").split(",") if value.startswith("[") and line.options(key_of(word)) else []
        if unnamed := [option for option in map(str.strip, options) if _UNNAMED.fullmatch(option)]:
            raise ValueError(_no_option(key_of(word), unnamed[0], line))


def check_flags(cfg: DictConfig, line: CommandLine) -> None:
    """Raise ValueError for a text such as no, which would count as true, where a config has true or false."""
    keys = [key for key in map(key_of, line.overrides) if isinstance(_value(cfg, key), str)]
    # Lightning and torch read more than true and false, such as warn and reduce-overhead.
    texts = [key for key in keys if key not in ("deterministic", "compile") and not key.startswith("trainer.")]
    defaults = line.compose(without=texts) if texts else None
    for key in texts:
        if isinstance(_value(defaults, key), bool):
            raise ValueError(f"{key}={_value(cfg, key)}: write true or false")


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
    if "group override must be a string" in message:  # a number, of which Hydra does not name the key
        for key, value in ((key_of(word), word.partition("=")[2]) for word in line.overrides):
            if (options := line.options(key)) and value not in options and not value.startswith("["):
                return _no_option(key, value, line)
    if isinstance(cause, MissingMandatoryValue):
        return _no_value(message, line)
    if isinstance(cause, InterpolationKeyError) and (match := re.search(r"key '([\w.]+)' not found", message)):
        options = line.options(match[1])
        return f"no {match[1]} is chosen; choose {match[1]}=OPTION from {', '.join(options)}" if options else message
    if match := re.search(r"Could not (?:override|delete from config\.) '([^']+)'", str(error)):
        return unknown_key(match[1].split("@")[0], line)
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
    return _no_option(group, option, line) if line.options(group) else message


def _no_option(group: str, option: str, line: CommandLine) -> str:
    options = line.options(group)
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


def _mistyped(line: CommandLine) -> list[str]:
    """The keys that the command line sets to another kind of value than the config has: text, number, list, keys."""
    suspects, config = [], line.compose()
    for key in dict.fromkeys(word.lstrip("+~").split("=")[0] for word in line.overrides):
        value = _value(config, key)
        default = None if value is None else _value(line.compose(without=[key]), key)
        if isinstance(value, str) and isinstance(default, int | float):
            suspects.append(f"{key}={value} is no number, as {default} is")
        elif isinstance(value, str | int | float) and isinstance(default, ListConfig):
            suspects.append(f"{key}={value} is one value, and {key} is a list, such as [{value}]")
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
