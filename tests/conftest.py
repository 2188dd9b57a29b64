"""Fixtures that every test may use.

What is slow to import is imported where it is used: the process that hands the tests to the others uses none of it.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.browser import CHROMIUM, DRIVER, Browser

if TYPE_CHECKING:
    import numpy as np

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the network for weights
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # more would start a process that imports torch
os.environ["TORCHINDUCTOR_VEC_ISA_OK"] = "1"  # or it compiles a program for each kind of vectors first
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or the library for the newest version of albumentations


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same random tensors, whatever ran before it."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> None:
    """Nothing that a test caches outlives it, or comes from before, but loops, whose names tell their source."""
    cache, loops = tmp_path_factory.mktemp("cache"), pytestconfig.rootpath / ".pytest_cache" / "kernels"
    loops.mkdir(parents=True, exist_ok=True)
    (cache / "kernels").symlink_to(loops)
    os.environ["SOFTPOINT_CACHE"] = str(cache)


@pytest.fixture(scope="session", autouse=True)
def quick_configs() -> Iterator[None]:
    """Hydra reads each file of configs/ once."""
    from helpers.configs import read_once

    with pytest.MonkeyPatch.context() as monkeypatch:
        read_once(monkeypatch)
        yield


def pytest_collection() -> None:
    """What the tests import stays: the garbage collector need not visit its million objects again and again."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switches annotation checks off, which no compiler can trace through."""
    import jaxtyping

    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


# The folder with `keypoints/` and `weights/`: $SOFTPOINT_DATA, or `shared` beside the repository.
DATA = Path(os.environ.get("SOFTPOINT_DATA", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with real sets and weights; a test of it is skipped where there is none."""
    if not DATA.is_dir():
        pytest.skip(f"no data at {DATA}; set SOFTPOINT_DATA to the folder that has keypoints/ and weights/")
    return DATA


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one tiny trained run; what it was trained on has been moved away, see `trained`."""
    from helpers.training import trained

    return trained(tmp_path_factory.mktemp("trained"), "trainer.max_epochs=2")


@pytest.fixture(scope="session")
def photographs() -> list[np.ndarray]:
    """A generated image with edges and the spectrum of a photograph, and real images where there are any."""
    import cv2
    import numpy as np

    from softpoint.images.decode import read_image

    rng, (height, width) = np.random.default_rng(0), (333, 500)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)) + 1 / width
    spectra = np.fft.fft2(rng.standard_normal((3, height, width))) / frequency
    texture = np.ascontiguousarray(np.fft.ifft2(spectra).real.transpose(1, 2, 0))
    image = (128 + 30 * texture / texture.std()).clip(0, 255).astype(np.uint8)
    for color in rng.integers(0, 256, (40, 3)):
        x, y, a, b = rng.integers(0, [width, height, 90, 90]).tolist()
        cv2.ellipse(image, (x, y), (a, b), 30.0, 0, 360, color.tolist(), -1, cv2.LINE_AA)
    sets = ("mirror-mouse", "dlc-openfield", "fly-wing", "glue-tubes", "ultrasound-tongue", "coco-sample")
    suffixes = {".png", ".jpg", ".jpeg"}
    real = [next(p for p in sorted((DATA / "keypoints" / name).rglob("*")) if p.suffix in suffixes) for name in sets
            if (DATA / "keypoints" / name).is_dir()]  # fmt: skip
    return [image, *(read_image(path) for path in real)]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; a test of it is skipped where there is none."""
    pytest.importorskip("selenium", reason="no selenium; install softpoint[dev]")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium with its driver; on Debian: apt-get install chromium chromium-driver")
    started = Browser()
    yield started
    started.driver.quit()
