"""Memory does not grow with the number of images that a command reads."""

from __future__ import annotations

import csv
import gc
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.training import NAMES, built, composed, labeled
from softpoint.viz import write_image

FEW, MANY = 4, 28
IMAGE = 1080 * 1920 * 3
PROCESS = Path("/proc/self")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A folder of images, labels and splits for each number of test images."""
    image = np.random.default_rng(0).integers(0, 256, (9, 16, 3), dtype=np.uint8).repeat(120, 0).repeat(120, 1)
    folders = {}
    for count in (FEW, MANY):
        folder = folders[count] = tmp_path_factory.mktemp(f"images{count}")
        write_image(folder / "0.jpg", image)
        names = ["0.jpg", *(f"{i}.jpg" for i in range(1, count + 6))]
        for name in names[1:]:
            (folder / name).write_bytes((folder / "0.jpg").read_bytes())
        header = [["scorer", *["us"] * 8], ["bodyparts", *np.repeat(NAMES, 2)], ["coords", *"xy" * 4]]
        rows = [[name, *range(40, 520, 60)] for name in names]
        with (folder / "labels.csv").open("w") as file:
            csv.writer(file).writerows([*header, *rows])
        for few, many in (("val", "test"), ("test", "val")):
            splits = [*["train"] * 4, few, few, *[many] * count]
            with (folder / f"{many}.csv").open("w") as file:
                csv.writer(file).writerows([["image", "split"], *zip(names, splits, strict=True)])
    return folders


@pytest.fixture(params=["final test", "calibration", "evaluate", "predict", "inspect"])
def work(request: pytest.FixtureRequest, run: Path, start: Callable, tmp_path: Path) -> Callable[[Path], object]:
    """A function that reads the images of a folder."""
    ckpt, output = f"ckpt={run / 'checkpoints' / 'best.ckpt'}", f"output={tmp_path / 'out'}"

    def go(folder: Path) -> None:
        data = [f"data.labels={folder / 'labels.csv'}", f"data.images={folder}"]
        if request.param in ("final test", "calibration"):
            splits = folder / ("test.csv" if request.param == "final test" else "val.csv")
            words = labeled(["data=custom", *data, f"data.splits={splits}"], "data.verify=false")
            module, source, trainer = built(composed("train", words, tmp_path / folder.name))
            if request.param == "final test":
                trainer.test(module, source, verbose=False)
            else:
                trainer.fit(module, source)
        else:
            command = {
                "evaluate": [ckpt, output, "data=custom", *data, "split=all", "draws=0", "report=false"],
                "predict": [ckpt, output, f"source={folder}", "images=false", "batch_size=2"],
                "inspect": [*data, output],
            }[request.param]
            ending = start(request.param, *command)
            assert ending.code == 0, ending.err

    return go


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")
@pytest.mark.skipif(not (PROCESS / "clear_refs").exists(), reason="only Linux can reset the peak of a process's memory")
def test_more_images_take_no_more_memory(work: Callable[[Path], object], sets: dict[int, Path]) -> None:
    peaks = []
    for count in (FEW, MANY):  # the first also imports everything
        gc.collect()
        (PROCESS / "clear_refs").write_text("5")
        work(sets[count])
        peak = re.search(r"VmHWM:\s+(\d+) kB", (PROCESS / "status").read_text())
        peaks.append(1024 * int(peak[1]) / IMAGE)  # type: ignore[index]
    # Of images that stay, all count; of those that are read ahead, and of freed memory, a few may.
    assert peaks[1] - peaks[0] < (MANY - FEW) / 2, (
        f"{MANY - FEW} images more took the memory of {peaks[1] - peaks[0]:.1f}"
    )
