"""Cached pixels equal decoded ones, in every process."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from softpoint.data.augment import Augment
from softpoint.data.dataset import KeypointDataset
from softpoint.data.loaders import collate
from softpoint.data.sources import LabeledImages
from softpoint.images import ImageFolder, Reader, cache, memory
from softpoint.images.cache import PixelCache
from softpoint.images.read_options import ReadOptions
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.paths import normalize_path, user_cache_dir

SIZES = {"a.png": (30, 40), "b/c.jpg": (25, 61), "b/d.tif": (1, 1), "e.png": (47, 33)}
KINDS = ("ram", "disk")


@dataclass(frozen=True)
class Counting(ImageFolder):
    """Remembers what it decoded."""

    requests: list[str] = field(default_factory=list)

    def read(self, image: str) -> np.ndarray:
        self.requests.append(image)
        return super().read(image)


def paint(path: Path, size: tuple[int, int], seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def images(tmp_path: Path) -> Counting:
    for seed, (name, size) in enumerate(SIZES.items()):
        paint(tmp_path / "images" / name, size, seed)
    return Counting(tmp_path / "images")


@pytest.fixture
def keep(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def opened(canvases: ImageFolder, kind: str, keep: Path, images: tuple[str, ...] = tuple(SIZES)) -> PixelCache:
    sizes = np.array([SIZES[normalize_path(name)] for name in images])
    return PixelCache.open(canvases, images, sizes, kind, keep)


def prove(cached: Reader, images: ImageFolder) -> None:
    for name in SIZES:
        assert np.array_equal(cached.read(name), ImageFolder.read(images, name))


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_decoding(images: Counting, keep: Path, kind: str) -> None:
    cached = opened(images, kind, keep)
    prove(cached, images)
    assert sorted(images.requests) == sorted(SIZES)
    first, again = cached.read("a.png"), cached.read("a.png")
    assert np.shares_memory(first, again) and first.dtype == np.uint8 and first.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0


@pytest.mark.parametrize("kind", KINDS)
def test_two_spellings_of_a_path_are_one_image(images: Counting, keep: Path, kind: str) -> None:
    cached = opened(images, kind, keep, ("b/c.jpg", "./b//c.jpg", "a.png", "b/c.jpg"))
    assert len(images.requests) == 2
    assert np.shares_memory(cached.read("b/c.jpg"), cached.read("./b//c.jpg"))


def test_pixels_on_disk_are_reused_in_any_order(images: Counting, keep: Path) -> None:
    opened(images, "disk", keep)
    images.requests.clear()
    prove(opened(images, "disk", keep, tuple(reversed(SIZES))), images)
    assert not images.requests and len(list(keep.glob("*.pixels"))) == 1


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size - 1),
    "empty": lambda path: os.truncate(path, 0),
    "too long": lambda path: os.truncate(path, path.stat().st_size + 1),
    "of another format": lambda path: flip(path, 0),
    "of other images": lambda path: flip(path, 30),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_rebuilt(images: Counting, keep: Path, damage: str) -> None:
    opened(images, "disk", keep)
    (path,) = keep.glob("*.pixels")
    DAMAGE[damage](path)
    images.requests.clear()
    prove(opened(images, "disk", keep), images)
    assert len(images.requests) == len(SIZES)


def test_a_changed_image_is_noticed(images: Counting, keep: Path) -> None:
    opened(images, "disk", keep)
    paint(images.folder / "a.png", SIZES["a.png"], 99)
    prove(opened(images, "disk", keep), images)
    stat = (images.folder / "e.png").stat()
    os.utime(images.folder / "e.png", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    images.requests.clear()
    opened(images, "disk", keep)
    assert len(images.requests) == len(SIZES)
    os.utime(images.folder / "e.png", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # as cp -p and tar leave it
    opened(images, "disk", keep)
    assert len(images.requests) == 2 * len(SIZES)
    assert len(list(keep.glob("*.pixels"))) == 1  # what is out of date was replaced


def test_other_settings_have_their_own_pixels(images: Counting, keep: Path) -> None:
    tag = Image.Exif()
    tag[274] = 3
    Image.open(images.folder / "a.png").save(images.folder / "a.png", exif=tag)
    raw = opened(ImageFolder(images.folder, ReadOptions(exif="ignore")), "disk", keep, ("a.png",))
    upright = opened(ImageFolder(images.folder, ReadOptions(exif="apply")), "disk", keep, ("a.png",))
    assert np.array_equal(raw.read("a.png"), upright.read("a.png")[::-1, ::-1])


def test_an_open_cache_survives_its_replacement(images: Counting, keep: Path) -> None:
    before = {name: ImageFolder.read(images, name) for name in SIZES}
    cached = opened(images, "disk", keep)
    paint(images.folder / "a.png", SIZES["a.png"], 99)
    opened(images, "disk", keep)
    assert all(np.array_equal(cached.read(name), before[name]) for name in SIZES)


def test_builders_at_the_same_time_agree(images: Counting, keep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caches: list[PixelCache] = []

    def race() -> None:
        threads = [Thread(target=lambda: caches.append(opened(images, "disk", keep))) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]

    race()
    assert len(images.requests) == len(SIZES)  # one decoded, the others waited
    monkeypatch.setattr("fcntl.flock", unsupported)
    [path.unlink() for path in keep.glob("*.pixels")]
    race()
    assert len(caches) == 8
    for cached in caches:
        prove(cached, images)
    assert not list(keep.glob(".*"))


def unsupported(*_: Any) -> None:
    raise OSError(95, "Operation not supported")


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_cannot_be_read_leaves_nothing_behind(images: Counting, keep: Path, kind: str) -> None:
    (images.folder / "e.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"e.png is not an image"):
        opened(images, kind, keep)
    (images.folder / "e.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"e.png does not exist"):
        opened(images, kind, keep)
    paint(images.folder / "e.png", (5, 5), 0)
    with pytest.raises(ValueError, match=r"e.png was 33 wide and 47 high, and is no longer"):
        opened(images, kind, keep)
    assert not [path for path in keep.glob("*") if path.suffix != ".lock"]


def test_images_that_do_not_fit_are_refused_with_the_way_out(
    images: Counting, keep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "free_memory", lambda: 15_000)
    with pytest.raises(ValueError, match=r"data.cache=ram needs .* for 4 images, .* free; set data.cache=disk"):
        opened(images, "ram", keep)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 15_000}))
    with pytest.raises(ValueError, match=r"data.cache=disk needs .* name another folder by data.cache_dir"):
        opened(images, "disk", keep)
    (keep / "file").touch()
    with pytest.raises(ValueError, match=r"cannot use .*file.*; name another folder by data.cache_dir"):
        opened(images, "disk", keep / "file")
    with pytest.raises(ValueError, match=r"data.cache='dsk': did you mean 'disk'"):
        opened(images, "dsk", keep)
    assert not images.requests


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_or_memory_is_a_value_error(
    images: Counting, keep: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(ValueError, match=rf"data.cache={kind} .*No space left"):
        opened(images, kind, keep)


def test_short_writes_are_continued(images: Counting, keep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda number, data, offset: whole(number, data[:1000], offset))
    prove(opened(images, "ram", keep), images)


def test_the_folder_of_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/there")
    monkeypatch.delenv("SOFTPOINT_CACHE", raising=False)
    assert user_cache_dir() == Path("/there/softpoint")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_cache_dir() == Path.home() / ".cache" / "softpoint"
    monkeypatch.setenv("SOFTPOINT_CACHE", "/mine")
    assert user_cache_dir() == Path("/mine")
    assert user_cache_dir("/given") == Path("/given")


def test_free_memory_is_the_least_of_all_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    3000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.free_memory() == 3000 * 1024
    (tmp_path / "memory.max").write_text("2000000\n")
    (tmp_path / "memory.current").write_text("1500000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 250000\n")
    assert memory.free_memory() == 750_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory() == 3000 * 1024
    (tmp_path / "meminfo").unlink()
    assert memory.free_memory() is None


def test_overwritten_pixels_are_decoded_again(images: Counting, keep: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened(images, "disk", keep)
    images.requests.clear()
    (path,) = keep.glob("*.pixels")
    with path.open("r+b") as file:
        file.seek(4096 + 100)
        file.write(bytes(50))
    cached = opened(images, "disk", keep)
    prove(cached, images)
    prove(opened(images, "disk", keep), images)  # mended for good
    damaged = "a.png"
    assert images.requests == [damaged] and caplog.text.count("the pixels of a.png are damaged") == 1
    path.write_bytes(path.read_bytes()[:-2] + b"xx")
    prove(opened(images, "disk", keep), images)
    assert sorted(images.requests) == sorted([damaged, *SIZES]) and "is damaged, and is made again" in caplog.text


def test_an_image_that_changed_after_its_cache_was_opened_is_refused(images: Counting, keep: Path) -> None:
    cached = opened(images, "disk", keep)
    (path,) = keep.glob("*.pixels")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(50))
    paint(images.folder / "a.png", SIZES["a.png"], 99)
    with pytest.raises(ValueError, match=r"a\.png has changed since .*\.pixels was made of it; start again"):
        cached.read("a.png")


def samples(reader: Reader, workers: int, method: str | None = None) -> list[torch.Tensor]:
    rng = np.random.default_rng(0)
    subjects = tuple(
        Subject(name, "row", rng.uniform(0, 20, (2, 2)), np.array([2, 2])) for name in SIZES if SIZES[name] != (1, 1)
    )
    labels = Labels("labels.csv", "", Skeleton(("left", "right")), subjects)
    source = LabeledImages(labels, np.array([SIZES[name] for name in labels.images]), reader)
    dataset = KeypointDataset(source, (32, 32), (0, 0), Augment(rotate=20, noise=0.1, brightness=0.3))
    loader = DataLoader(dataset, 3, num_workers=workers, multiprocessing_context=method, collate_fn=collate)
    return [batch["image"].clone() for batch in loader]


@pytest.mark.parametrize(
    ("kind", "workers", "method"),
    [("ram", 0, None), ("disk", 0, None), ("ram", 1, "fork"), ("disk", 1, "fork"), ("ram", 1, "spawn")],
)
def test_samples_are_the_same_bytes_with_any_cache_and_workers(
    images: Counting, keep: Path, kind: str, workers: int, method: str | None
) -> None:
    expected = samples(ImageFolder(images.folder), 0)
    cached = opened(images, kind, keep)
    for name in SIZES:
        (images.folder / name).unlink()
    assert torch.equal(samples(cached, workers, method)[0], expected[0])


def test_frames_of_a_video_depend_on_the_video_file(data_root: Path, keep: Path) -> None:
    folder = data_root / "keypoints" / "mirror-mouse" / "videos"
    images, name = Counting(folder), "test_vid.mp4/000003"
    size = np.array([images.size(name)])
    cached = PixelCache.open(images, [name], size, "disk", keep)
    assert np.array_equal(cached.read(name), ImageFolder.read(images, name))
    PixelCache.open(images, [name], size, "disk", keep)
    assert images.requests == [name]
