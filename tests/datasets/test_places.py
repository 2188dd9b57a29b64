"""Public sets are found from any folder: where they were downloaded to, in the cache, and in ./data."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.training import ROOT, composed
from softpoint.paths import find_data, user_cache_dir

LABELS = "keypoints/mirror-mouse/CollectedData.csv"


def test_a_preset_finds_its_set_in_each_place_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOFTPOINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SOFTPOINT_DATA", str(tmp_path / "mine"))
    places = [tmp_path / "data", user_cache_dir() / "data", tmp_path / "mine"]
    assert find_data(LABELS) == places[-1] / LABELS, "that of softpoint fetch, where there is none"
    for place in places:
        (place / LABELS).parent.mkdir(parents=True)
        (place / LABELS).touch()
        assert find_data(LABELS) == place / LABELS
    monkeypatch.delenv("SOFTPOINT_DATA")
    data = composed("train", ["data=mirror_mouse"], tmp_path).data
    assert Path(data.labels) == places[1] / LABELS
    assert Path(data.splits).read_bytes() == (ROOT / "data/splits/mirror_mouse.csv").read_bytes()
