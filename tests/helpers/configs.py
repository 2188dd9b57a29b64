"""Config files that Hydra reads and merges once in the process of the tests, not at each of a thousand compositions."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.defaults_list import Overrides
from hydra.core.object_type import ObjectType

SHIPPED = Path(__file__).parents[2] / "configs"


def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Hydra keep what it reads, by place, time of change, and size, and what shipped files compose to, by groups.

    Each composition gets a copy of its own, to which Hydra then applies the values on the command line. Copies are
    pickled, which takes a quarter of the time of Hydra's.
    """
    read: Any = ConfigRepository.load_config
    list_defaults: Any = config_loader_impl.create_defaults_list
    merge: Any = ConfigLoaderImpl._compose_config_from_defaults_list
    kept: dict[tuple[object, ...], Any] = {}
    lists: dict[tuple[object, ...], Any] = {}
    merged: dict[int, Any] = {}  # by the identity of a list of `lists`

    def load_config(self: ConfigRepository, config_path: str) -> Any:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.scheme() not in ("file", "pkg"):
            return read(self, config_path)
        place: tuple[object, ...] = (source.scheme(), source.path, source.provider, config_path)
        if source.scheme() == "file":
            file = (Path(source.path) / source._normalize_file_name(config_path)).stat()
            place += (file.st_mtime_ns, file.st_size)
        if place not in kept:
            result = read(self, config_path)
            kept[place] = result, pickle.dumps(result.config)
        result, config = kept[place]
        return replace(result, config=pickle.loads(config))

    def create_defaults_list(repo: Any, config_name: str, overrides_list: list[Any], **options: bool) -> Any:
        places = [source.path for source in repo.get_sources() if source.scheme() == "file"]
        if any(Path(place) != SHIPPED for place in places):
            return list_defaults(repo, config_name, overrides_list, **options)
        values = Overrides(repo, overrides_list).config_overrides
        groups = [override.input_line for override in overrides_list if not any(override is value for value in values)]
        choice = (len(places), config_name, *groups, *options.items())
        if choice not in lists:
            lists[choice] = list_defaults(repo, config_name, overrides_list, **options)
            merged[id(lists[choice].defaults)] = None
        return replace(lists[choice], config_overrides=values)

    def compose_config(self: ConfigLoaderImpl, defaults: list[Any], repo: Any) -> Any:
        if id(defaults) not in merged:
            return merge(self, defaults, repo)
        merged[id(defaults)] = merged[id(defaults)] or pickle.dumps(merge(self, defaults, repo))
        return pickle.loads(merged[id(defaults)])

    def keep_repository(self: CachingConfigRepository, delegate: Any) -> None:
        self.delegate, self.cache = copy.copy(delegate), {}  # its sources are replaced, and never changed

    monkeypatch.setattr(ConfigRepository, "load_config", load_config)
    monkeypatch.setattr(CachingConfigRepository, "__init__", keep_repository)
    monkeypatch.setattr(config_loader_impl, "create_defaults_list", create_defaults_list)
    monkeypatch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", compose_config)
