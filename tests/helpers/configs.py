"""Config files that Hydra reads once in the process of the tests, not at each of some thousand compositions."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType


def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Hydra keep what it reads, by place, time of change, and size; each composition gets a copy of its own."""
    read: Any = ConfigRepository.load_config
    kept: dict[tuple[object, ...], Any] = {}

    def load_config(self: ConfigRepository, config_path: str) -> Any:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.scheme() not in ("file", "pkg"):
            return read(self, config_path)
        place: tuple[object, ...] = (source.scheme(), source.path, source.provider, config_path)
        if source.scheme() == "file":
            file = (Path(source.path) / source._normalize_file_name(config_path)).stat()
            place += (file.st_mtime_ns, file.st_size)
        if place not in kept:
            kept[place] = read(self, config_path)
        return replace(kept[place], config=copy.deepcopy(kept[place].config))

    monkeypatch.setattr(ConfigRepository, "load_config", load_config)
