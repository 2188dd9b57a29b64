"""A command line as it was typed, and the config that it composes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from softpoint.paths import find_data

# In the package where a wheel was installed, at the top of the repository in a checkout.
CONFIGS = next(folder for parent in (1, 3) if (folder := Path(__file__).resolve().parents[parent] / "configs").is_dir())
# Registered where every command finds the configs. Public sets, and the splits that come with this package.
OmegaConf.register_new_resolver("data_file", lambda path: str(find_data(path)), replace=True)
OmegaConf.register_new_resolver(
    "split_file", lambda name: str(CONFIGS.parent / f"data/splits/{name}.csv"), replace=True
)
# What a mistake of a user raises.
MISTAKES = (HydraException, OmegaConfBaseException, ValueError, OSError, ImportError)
# What a choice of data also sets or chooses, which trainings alone read.
_OF_TRAINING = ("name", "epochs", "augment", "backbone")


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

    @property
    def bare(self) -> CommandLine:
        """The command line without overrides."""
        return CommandLine(self.config_name, [word for word in self.words if not is_override(word)])

    def options(self, group: str) -> list[str]:
        """The names that a config group offers; none where there is no such group."""
        return sorted({path.stem for folder in self.folders for path in (folder / group).glob("*.yaml") if group})

    def choosing(self, group: str, option: str) -> CommandLine:
        """The command line with another option of a group."""
        rest = [word for word in self.words if not (is_override(word) and key_of(word) == group)]
        return CommandLine(self.config_name, [*rest, f"{group}={option}"])

    def compose(self, without: Collection[str] = (), hydra: bool = False) -> DictConfig | None:
        """The config as `composed` returns it; None where it does not compose."""
        try:
            return self.composed(without, hydra)
        except MISTAKES:
            return None

    def composed(self, without: Collection[str] = (), hydra: bool = False) -> DictConfig:
        """The config, less the overrides of some keys, and with Hydra's own keys on request."""
        words = [word for word in self.overrides if key_of(word) not in without]
        search = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in self.folders[1:])}]"]
        running = GlobalHydra.instance().hydra  # of a study, which goes on after a training that failed
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(CONFIGS), version_base="1.3"):
                words += search if self.folders[1:] else []
                return compose(self.config_name, overrides=words, return_hydra_config=hydra)
        finally:
            GlobalHydra.instance().hydra = running

    def visible(self, without: Collection[str] = ()) -> DictConfig:
        """The config with Hydra's own keys, and without what a user of the command has no need of."""
        cfg = self.composed(without, hydra=True)
        hidden = ("datamodule", *(() if "module" in cfg else _OF_TRAINING))  # datamodule repeats data
        for key, node in product(hidden, (cfg, cfg.hydra.runtime.choices)):
            with read_write(node), open_dict(node):
                node.pop(key, None)
        return cfg


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


def groups_of(config: DictConfig) -> list[str]:
    """The groups that a command chooses from, of its config with Hydra's own keys."""
    chosen = [str(group).partition("@")[0] for group in config.hydra.runtime.choices]
    several = [str(key) for key in config if (CONFIGS / str(key)).is_dir()]
    return [group for group in dict.fromkeys([*chosen, *several]) if not group.startswith("hydra")]


def public_keys(config: DictConfig) -> list[str]:
    """Every key of a command, without those of Hydra and what instantiates objects."""
    return [key for key, _ in config_nodes(config) if not hydras(key) and is_public(key)]


def is_public(key: str) -> bool:
    """Return whether a key is a setting, and no part of what instantiates an object.

    >>> is_public("data.labels"), is_public("loss.visibility._target_")
    (True, False)
    """
    return not any(part.startswith("_") for part in key.split("."))


def config_nodes(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key below a config with its node; references are not followed."""
    if not OmegaConf.is_dict(node):
        return
    for key in node:
        value = node._get_node(key)
        yield f"{prefix}{key}", value
        if not value._is_interpolation() and not value._is_missing():
            yield from config_nodes(value, f"{prefix}{key}.")
