"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the network for weights
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or the library for the newest version of albumentations


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same random tensors, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing that a test caches outlives it, or comes from before."""
    os.environ["SOFTPOINT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switches annotation checks off, which no compiler can trace through."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with `keypoints/` and `weights/`: $SOFTPOINT_DATA, or `shared` beside the repository."""
    root = Path(os.environ.get("SOFTPOINT_DATA", Path(__file__).parents[2] / "shared"))
    if not root.is_dir():
        pytest.skip(f"no data at {root}; set SOFTPOINT_DATA to the folder that has keypoints/ and weights/")
    return root
