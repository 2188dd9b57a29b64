"""The settings of a study, checked before the first training: numbers, overrides of trainings, and splits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from softpoint.cli.command_line import CONFIGS, hydras, is_override, key_of
from softpoint.suggest import quoted, text_value

# Keys that every study sets itself, and the way out.
DECIDED = dict.fromkeys(("seed", "data.seed", "data.fold", "data.folds", "resume"), "set seeds and folds")


def split_arguments(arguments: Sequence[str], study: str) -> list[str]:
    """Return the command line of a study, on which every override of a training has become part of `train`.

    A misspelled key of the study stays where it is, so that the message names the study's key.

    >>> split_arguments(["folds=3", "data=openfield", "--help"], "crossval")
    ["train=['data=openfield']", 'folds=3', '--help']
    """
    own = {*OmegaConf.load(CONFIGS / f"{study}.yaml"), "study"}
    keys_of_training = {*OmegaConf.load(CONFIGS / "train.yaml"), *(p.name for p in CONFIGS.iterdir() if p.is_dir())}

    def is_of_training(word: str) -> bool:
        if hydras(word) or not is_override(word):
            return False
        key = key_of(word).split(".")[0]
        return key not in own and (key in keys_of_training or not get_close_matches(key, own, n=1, cutoff=0.8))

    of_training = [word for word in arguments if is_of_training(word)]
    if not of_training:
        return list(arguments)
    return [f"train=[{','.join(map(quoted, of_training))}]", *(word for word in arguments if word not in of_training)]


def override_value(value: Any) -> str:
    """Return a plain value as an override has it; ValueError for any other object, and a key that none can have.

    >>> override_value([1, None, "a b", {"x": True}])
    "[1,null,'a b',{x:true}]"
    """
    if isinstance(value, list | tuple):
        return f"[{','.join(map(override_value, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_name(key)}:{override_value(part)}" for key, part in value.items()) + "}"
    if isinstance(value, str | Path):
        return text_value(value)
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Real):
        return str(int(value)) if isinstance(value, Integral) else repr(float(value))
    raise ValueError(f"{value!r} is no plain value: give a number, a text, a path, None, or a list or dict of these")


def _name(key: Any) -> str:
    """Return a key of a dict as an override has it; ValueError for one that Hydra would read as another."""
    text = re.sub(r"([\\()\[\]{}:=,\s])", r"\\\1", key) if isinstance(key, str) else override_value(key)
    try:
        read: Any = OverridesParser.create().parse_override(f"key={{{text}:0}}").value()
    except HydraException:
        read = {}
    if [(type(name), name) for name in read] != [(type(key), key)]:
        raise ValueError(
            f"{key!r} cannot be a key in a setting; write the dict into a YAML file of --config-dir=FOLDER"
        )
    return text


def whole_numbers(cfg: DictConfig, key: str, least: int = 0) -> list[int]:
    """Return the list of different whole numbers from `least` on at `key`, where one alone needs no brackets.

    >>> whole_numbers(OmegaConf.create({"seeds": 3}), "seeds")
    [3]
    """
    numbers = list(cfg[key]) if OmegaConf.is_list(cfg[key]) else [cfg[key]]
    if not numbers or not all(type(number) is int and number >= least for number in numbers):
        example = f"{key}=[{least},{least + 1}]"
        raise ValueError(f"{key}={cfg[key]}: give a whole number from {least} on, or a list of them as {example}")
    if repeated := [number for number in numbers if numbers.count(number) > 1]:
        raise ValueError(f"{key}={numbers} has {repeated[0]} more than once; give different numbers")
    return numbers


def whole_number(cfg: DictConfig, key: str, least: int = 0) -> int:
    """Return the whole number from `least` on at `key`.

    >>> whole_number(OmegaConf.create({"timing": {"rounds": 7}}), "timing.rounds")
    7
    """
    number = OmegaConf.select(cfg, key)
    if type(number) is not int or number < least:
        raise ValueError(f"{key}={number}: give a whole number from {least} on")
    return number


def train_overrides(words: Sequence[str], decided: Mapping[str, str] = DECIDED) -> list[str]:
    """Return overrides of a training; ValueError for a key that the study sets itself, with the advice of `decided`."""
    for word in words:
        key = key_of(word)
        if hydras(word):
            raise ValueError(f"{word}: give {key} to the study, not to a training")
        if advice := decided.get(key):
            raise ValueError(f"{word}: the study itself decides {key}; {advice} instead")
    return list(words)


def override_lists(lists: Any, key: str, decided: Mapping[str, str] = DECIDED) -> dict[str, list[str]]:
    """Return lists of overrides by name; ValueError for anything else, and for names of the same folder."""
    named: Any = OmegaConf.to_container(lists) if OmegaConf.is_config(lists) else lists
    if not isinstance(named, dict) or not named:
        raise ValueError(f"{key}={named} has no names with overrides; write '{key}={{NAME:[\"KEY=VALUE\"]}}'")
    for name, overrides in named.items():
        if not isinstance(overrides, list) or not all(isinstance(word, str) for word in overrides):
            example = f'\'+{key}.{name}=["KEY=VALUE","KEY=VALUE"]\''
            raise ValueError(f"{key}.{name}={overrides} is no list of overrides; quote it and each of them: {example}")
        train_overrides(overrides, decided)
    check_folder_names(named, key)
    return {str(name): overrides for name, overrides in named.items()}


def check_folder_names(names: Iterable[object], key: str) -> None:
    """Raise ValueError where two names become the same folder."""
    from softpoint.studies.runs import slug

    folders: dict[str, object] = {}
    for name in names:
        if (folder := slug(str(name))) in folders:
            raise ValueError(f"{key}: {folders[folder]!r} and {name!r} would both write to {folder}; rename one")
        folders[folder] = name


def fold_overrides(cfg: DictConfig, overrides: Sequence[str], folds: Any) -> list[list[str]]:
    """Return for each fold the overrides that test a training of `cfg` on it, with any seed.

    Raises ValueError for fewer than 2 folds and for data without any.
    """
    if type(folds) is not int or folds < 2:
        raise ValueError(f"folds={folds}: give a whole number, at least 2")
    if "fold" not in cfg.data:
        raise ValueError(f"data={cfg.name} has no folds: it is no set of labeled images; compare seeds instead")
    same = [*(["data.splits=null"] if cfg.data.splits else []), *split_overrides(cfg, overrides, 0)]
    return [[f"data.fold={fold}", f"data.folds={folds}", *same] for fold in range(folds)]


def split_overrides(cfg: DictConfig, overrides: Sequence[str], seed: int) -> list[str]:
    """Return the override by which trainings of any seed draw one split; none where the user or nothing draws it."""
    drawn = "split_seed" in cfg.data and OmegaConf.is_interpolation(cfg.data, "split_seed")
    chosen = any(key_of(word) == "data.split_seed" for word in overrides)
    return [f"data.split_seed={seed}"] if drawn and not chosen else []
