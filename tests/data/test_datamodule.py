"""What every data module does, shown by the synthetic one."""

from __future__ import annotations

from typing import Any

import pytest

from softpoint.data import Loader, SyntheticData
from softpoint.data.synthetic import Figure, Shapes
from softpoint.labels.split_file import SPLITS


@pytest.mark.parametrize("painter", [Shapes, Figure])
def test_synthetic_splits_never_share_a_scene(painter: Any) -> None:
    data = SyntheticData(painter(difficulty=0.2), 64, train=4, val=4, test=4, loader=Loader(2, 0), seed=0)
    data.setup("fit")
    images = {data.sources[split].load(0, i).image.tobytes() for split in SPLITS for i in range(4)}
    assert len(images) == 12
    assert data.mean_position().shape == (len(data.skeleton), 2)
    assert ((data.mean_position() > 12) & (data.mean_position() < 51)).all()


def test_workers_leave_a_core_to_training(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, workers in ((1, 1), (2, 1), (4, 3), (64, 8)):
        monkeypatch.setattr("os.sched_getaffinity", lambda process, cores=cores: set(range(cores)))
        assert Loader(1).workers == workers
