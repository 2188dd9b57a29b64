"""Labels, and the set that is packed from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.data import labeled_data
from helpers.training import write_labels
from softpoint.data import LabeledData


@pytest.fixture(scope="session")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> LabeledData:
    """Forty small images of three sizes, some points of which are unlabeled."""
    folder = tmp_path_factory.mktemp("labels")
    write_labels(folder, count=40, missing=[(0, 1), (0, 2), (5, 3), *((7, k) for k in range(4))])
    return labeled_data(folder / "labels.csv", seed=3, val=0.2, test=0.2)


@pytest.fixture(scope="session")
def packed(labeled: LabeledData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """They, packed in several chunks a split; not to be changed."""
    pytest.importorskip("litdata")
    from softpoint.data.shards.writer import pack

    folder = tmp_path_factory.mktemp("packed") / "set"
    pack(labeled.sources, folder, 0.05, 3, labeled.has_hidden_points)
    return folder


@pytest.fixture
def far(packed: Path, tmp_path: Path) -> dict[str, Any]:
    """Arguments that open the set as one that lies far away."""
    return {"folder": f"local:{packed}", "cache_dir": tmp_path / "cache"}
