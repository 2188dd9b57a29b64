"""What a study is asked for: numbers, overrides of train.py, and which images its trainings are tested on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

# What a study decides itself, and what to set instead.
_DECIDED = dict.fromkeys(
    ("seed", "data.seed", "data.fold", "data.folds", "ckpt_path", "hydra"), "leave it out, and set seeds and folds"
)


def whole_numbers(cfg: DictConfig, key: str, least: int = 0) -> list[int]:
    """The different whole numbers from `least` on that stand at `key`, where one alone needs no brackets.

    >>> whole_numbers(OmegaConf.create({"seeds": 3}), "seeds")
    [3]
    """
    found = list(cfg[key]) if OmegaConf.is_list(cfg[key]) else [cfg[key]]
    if not found or any(isinstance(one, bool) or not isinstance(one, int) or one < least for one in found):
        example = f"{key}=[{least},{least + 1}]"
        raise ValueError(f"{key}={cfg[key]}: give a whole number from {least} on, or a list of them as {example}")
    if twice := [one for one in found if found.count(one) > 1]:
        raise ValueError(f"{key}={found} has {twice[0]} more than once; give different numbers")
    return found


def whole_number(cfg: DictConfig, key: str, least: int = 0) -> int:
    """The whole number from `least` on that stands at `key`.

    >>> whole_number(OmegaConf.create({"timing": {"rounds": 7}}), "timing.rounds")
    7
    """
    found = OmegaConf.select(cfg, key)
    if isinstance(found, bool) or not isinstance(found, int) or found < least:
        raise ValueError(f"{key}={found}: give a whole number from {least} on")
    return found


def train_words(cfg: DictConfig, decided: Mapping[str, str] | None = None) -> list[str]:
    """The overrides handed on to train.py; ValueError for one that the study itself, or `decided`, decides."""
    words = [str(word) for word in OmegaConf.to_container(cfg.train)]  # type: ignore[union-attr]
    _check_words(words, decided)
    return words


def word_lists(lists: Any, key: str, decided: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    """Lists of overrides by name; ValueError for what is none, and for names that would write to one folder."""
    found: Any = OmegaConf.to_container(lists) if OmegaConf.is_config(lists) else lists
    if not isinstance(found, dict) or not found:
        raise ValueError(f"{key}={found} has no names with overrides; write '{key}={{NAME:[\"KEY=VALUE\"]}}'")
    for name, words in found.items():
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            example = f'\'+{key}.{name}=["KEY=VALUE","KEY=VALUE"]\''
            raise ValueError(f"{key}.{name}={words} is no list of overrides; quote it and each of them: {example}")
        _check_words(words, decided)
    check_apart(found, key)
    return {str(name): words for name, words in found.items()}


def check_apart(names: Iterable[object], key: str) -> None:
    """ValueError where two names are the same as a folder."""
    from softpoint.studies.runs import slug

    seen: dict[str, object] = {}
    for name in names:
        if (folder := slug(str(name))) in seen:
            raise ValueError(f"{key}: {seen[folder]!r} and {name!r} would both write to {folder}; rename one")
        seen[folder] = name


def fold_words(cfg: DictConfig, words: Sequence[str], folds: Any) -> list[list[str]]:
    """For each fold the overrides that test a training of `cfg` on it, whatever its seed.

    Raises ValueError for fewer than 2 folds and for data without any.
    """
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise ValueError(f"folds={folds}: give a whole number, at least 2")
    if "fold" not in cfg.data:
        raise ValueError(f"data={cfg.name} has no folds: it is no set of labeled images; compare seeds instead")
    same = [*(["data.splits=null"] if cfg.data.splits else []), *_drawn_by(cfg, words, 0)]
    return [[f"data.fold={fold}", f"data.folds={folds}", *same] for fold in range(folds)]


def split_words(cfg: DictConfig, words: Sequence[str], seed: int) -> list[str]:
    """The override by which trainings of any seed are tested on the same images, where no file says on which."""
    return [] if cfg.data.get("splits") else _drawn_by(cfg, words, seed)


def key_of(word: str) -> str:
    """What an override changes.

    >>> key_of("+data.limit=3"), key_of("~callbacks.ema")
    ('data.limit', 'callbacks.ema')
    """
    return word.lstrip("+~").split("=")[0]


def _drawn_by(cfg: DictConfig, words: Sequence[str], seed: int) -> list[str]:
    """The seed of the split; nothing for data without one, or where the user gives it."""
    given = any(key_of(word) == "data.split_seed" for word in words)
    if given or "split_seed" not in cfg.data or not OmegaConf.is_interpolation(cfg.data, "split_seed"):
        return []
    return [f"data.split_seed={seed}"]


def _check_words(words: Sequence[str], decided: Mapping[str, str] | None) -> None:
    rules = {**_DECIDED, **(decided or {})}
    for word in words:
        key = key_of(word)
        if advice := rules.get("hydra" if key.startswith("hydra") else key):
            raise ValueError(f"{word}: the study itself decides {key}; {advice} instead")
