"""Scans of images are remembered; exact and near duplicates are found."""

from __future__ import annotations

import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from softpoint.images import ImageFolder
from softpoint.images.decode import read_image
from softpoint.images.duplicates import NEAR, Leak, across_splits, describe_leaks, identical, near_duplicates
from softpoint.images.listing import list_images
from softpoint.images.read_options import ReadOptions
from softpoint.images.scan import Scan, Scans, fingerprint, scan, unused_bits


def texture(seed: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (*size, 3))
    return np.clip(3 * (cv2.GaussianBlur(noise, (0, 0), 3) - 128) + 128, 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), texture(i))
    cv2.imwrite(str(tmp_path / "copy.bmp"), texture(1))
    (tmp_path / "broken.png").write_bytes((tmp_path / "0.png").read_bytes()[:500])
    return tmp_path


def made(bits: np.ndarray, name: str = "") -> Scan:
    """A scan with these 256 bits as its fingerprint."""
    word = np.packbits(bits).tobytes().hex()
    return Scan(name or word, (1, 1), None, word, word, 1)


def apart(a: Scan, b: Scan) -> int:
    return bin(int(a.fingerprint, 16) ^ int(b.fingerprint, 16)).count("1")


def related(count: int, seed: int) -> list[Scan]:
    """Scans of which many are a few bits from an earlier one."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, 2, 256)]
    while len(rows) < count:
        row = rows[rng.integers(len(rows))].copy() if rng.random() < 0.7 else rng.integers(0, 2, 256)
        row[rng.choice(256, rng.integers(0, 30), replace=False)] ^= 1
        row[0] = 0
        rows.append(row)
    return [made(row, f"{i}.png") for i, row in enumerate(rows)]


def test_a_scan_holds_size_digest_fingerprint_or_error(folder: Path) -> None:
    names = ["0.png", "copy.bmp", "1.png", "broken.png", "gone.png", "../out.png", "0.png"]
    scans = scan(ImageFolder(folder), names)
    assert [s.image for s in scans] == names
    assert scans[0] == scans[6] and scans[0].size == (60, 80) and scans[0].error is None
    assert scans[1].digest == scans[2].digest != scans[0].digest
    for bad, words in zip(scans[3:6], ("broken.png", "does not exist", "lies outside"), strict=True):
        assert bad.error is not None and words in bad.error
        assert (bad.size, bad.digest, bad.fingerprint) == ((0, 0), "", "")
    assert identical(scans) == [(1, 2)]


def test_an_orientation_is_stated_even_where_it_is_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(texture(0)).save(tmp_path / "turned.jpg", exif=exif)
    for mode, size in (("ignore", (60, 80)), ("apply", (80, 60)), ("error", (0, 0))):
        (result,) = scan(ImageFolder(tmp_path, ReadOptions(exif=mode)), ["turned.jpg"])
        assert result.orientation == 6 and result.size == size


def test_unused_bits_and_further_pages_are_counted(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((4, 4), value, np.uint16)) for value in (900, 4000)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    pages[1].save(tmp_path / "b.png")
    Image.fromarray(texture(0)).save(tmp_path / "c.png")
    names, memo = ["a.tif", "b.png", "c.png"], tmp_path / "memo.json"
    for scans in (scan(ImageFolder(tmp_path), names, memo), scan(ImageFolder(tmp_path), names, memo)):
        assert [(s.bits, s.pages) for s in scans] == [(10, 2), (12, 1), (0, 1)]
        assert "use 12 bits (b.png has the largest value), so that white is read as 15 of 255" in unused_bits(scans)
        assert unused_bits(scans[2:]) == unused_bits([scans[0]._replace(bits=15)]) == unused_bits([]) == ""


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images that are read in the test, in order."""
    reads: list[str] = []
    decoded = ImageFolder.decoded
    monkeypatch.setattr(ImageFolder, "decoded", lambda self, image: (reads.append(image), decoded(self, image))[1])
    return reads


def test_an_image_of_the_size_and_time_of_an_earlier_one_is_read_again(tmp_path: Path) -> None:
    image, memo = tmp_path / "a.bmp", tmp_path / "m.json"
    cv2.imwrite(str(image), texture(1, (8, 8)))
    before, (first,) = image.stat(), scan(ImageFolder(tmp_path), ["a.bmp"], memo)
    cv2.imwrite(str(image), texture(2, (8, 8)))
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert image.stat().st_size == before.st_size and image.stat().st_mtime_ns == before.st_mtime_ns
    assert scan(ImageFolder(tmp_path), ["a.bmp"], memo)[0].digest != first.digest


def test_images_in_a_memo_are_not_read_again(folder: Path, reads: list[str]) -> None:
    memo, names = folder / "memo" / "m.json", ["0.png", "1.png", "broken.png"]
    first = scan(ImageFolder(folder), names, memo)
    reads.clear()
    assert scan(ImageFolder(folder), names, memo) == first and reads == ["broken.png"]
    cv2.imwrite(str(folder / "0.png"), texture(9, (30, 30)))
    again = scan(ImageFolder(folder), names, memo)
    assert sorted(reads[1:]) == ["0.png", "broken.png"]  # threads read in any order
    assert again[0].size == (30, 30) and again[1] == first[1]
    scan(ImageFolder(folder, ReadOptions(exif="ignore")), ["1.png"], memo)
    assert reads[3:] == ["1.png"]


def test_of_processes_that_scan_at_once_one_decodes(folder: Path, reads: list[str]) -> None:
    memo, names = folder / "memo" / "m.json", ["0.png", "1.png", "2.png"]
    with ThreadPoolExecutor(4) as pool:  # locks of files hold between threads that open them as between processes
        results = list(pool.map(lambda _: scan(ImageFolder(folder), names, memo), range(4)))
    assert all(result == results[0] for result in results) and sorted(reads) == names


def test_scans_of_other_images_stay_in_a_memo(folder: Path, reads: list[str]) -> None:
    memo = folder / "m.json"
    first = scan(ImageFolder(folder), ["0.png"], memo)
    scan(ImageFolder(folder), ["1.png"], memo)
    assert scan(ImageFolder(folder), ["0.png"], memo) == first and reads == ["0.png", "1.png"]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xff\xfe",
        b"[1]",
        b'{"made": 1}',
        b"[" * 100_000,
        b'{"made": [5, "error", 100000000, null], "scans": {"k": [[1e999, 1], "", "", 1, 0, 1]}}',
        b'{"made": [5, "error", 100000000, null], "scans": []}',
    ],
)
def test_a_damaged_memo_is_rebuilt(folder: Path, damage: bytes) -> None:
    memo, names = folder / "m.json", ["0.png", "1.png"]
    expected = scan(ImageFolder(folder), names)
    memo.write_bytes(damage)
    assert scan(ImageFolder(folder), names, memo) == expected
    assert len(json.loads(memo.read_text())["scans"]) == 2
    assert not list(folder.glob(".*"))


def test_entries_of_a_memo_are_checked(folder: Path) -> None:
    memo, names = folder / "m.json", ["0.png"]
    expected = scan(ImageFolder(folder), names, memo)
    stored = json.loads(memo.read_text())
    for bad in ("zz", "00", 7, None):
        stored["scans"] = {key: [row[0], row[1], bad, row[3]] for key, row in stored["scans"].items()}
        memo.write_text(json.dumps(stored))
        assert scan(ImageFolder(folder), names, memo) == expected
    for place, bad in ((3, 200), (4, -200), (5, 2**31), (6, 10**30)):
        rows = json.loads(memo.read_text())
        for row in rows["scans"].values():
            row[place] = bad
        memo.write_text(json.dumps(rows))
        assert list(Scans(scan(ImageFolder(folder), names, memo)).values()) == expected


def test_a_memo_that_cannot_be_written_gives_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "taken").mkdir()
    with caplog.at_level(logging.WARNING):
        (result,) = scan(ImageFolder(folder), ["0.png"], folder / "taken")
    assert result.error is None and "cannot be written" in caplog.text


def test_copies_are_near_and_others_are_not() -> None:
    original = texture(0, (240, 320))
    rng = np.random.default_rng(0)
    half = cv2.resize(original, (160, 120), interpolation=cv2.INTER_AREA)
    jpeg = cv2.imdecode(cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    bright = np.clip(1.05 * original + 6, 0, 255).astype(np.uint8)
    noisy = np.clip(original + rng.normal(0, 5, original.shape), 0, 255).astype(np.uint8)
    scans = [
        Scan(str(i), (1, 1), None, str(i), fingerprint(pixels), 1)
        for i, pixels in enumerate([original, half, jpeg, bright, noisy, texture(1, (240, 320)), original[:, ::-1]])
    ]
    assert near_duplicates(scans) == [(i, j) for j in range(5) for i in range(j)]


def test_flat_images_pair_with_none() -> None:
    flat = [np.full((40, 40, 3), level, np.uint8) for level in (0, 90, 91, 255)]
    flat.append(np.random.default_rng(0).integers(100, 104, (40, 40, 3)).astype(np.uint8))
    scans = [Scan(str(i), (40, 40), None, str(i), fingerprint(p), 1) for i, p in enumerate(flat)]
    assert [s.fingerprint for s in scans] == [""] * 5 and near_duplicates(scans) == []
    assert across_splits(scans, {"train": [0, 1], "test": [2, 3, 4]}) == []


@pytest.mark.parametrize("seed", range(3))
def test_near_pairs_are_all_pairs_within_the_distance(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import softpoint.images.duplicates as repeats

    monkeypatch.setattr(repeats, "_BLOCK", 8 * 60 * 7)  # several blocks, the last one not full
    scans = related(60, seed)
    expected = [(i, j) for j in range(60) for i in range(j) if 0 < apart(scans[i], scans[j]) <= 12]
    # The identical are represented by the first of them.
    firsts = {s.digest: i for i, s in reversed(list(enumerate(scans)))}
    expected = [(i, j) for i, j in expected if firsts[scans[i].digest] == i and firsts[scans[j].digest] == j]
    assert near_duplicates(scans, 12) == expected and len(expected) > 10


def test_a_still_video_gives_at_most_twenty_partners_each() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, 256)
    scans = []
    for i in range(60):
        bits = base.copy()
        bits[1 + i] ^= 1
        bits[0] = 0
        scans.append(made(bits, str(i)))
    pairs = near_duplicates(scans)
    assert len(pairs) == sum(min(20, j) for j in range(60))


@pytest.mark.parametrize("seed", range(3))
def test_leaks_are_each_held_out_image_with_its_nearest(seed: int) -> None:
    scans = related(60, seed)
    splits = {"train": np.arange(0, 40), "val": np.arange(40, 50), "test": np.arange(50, 60)}
    leaks = across_splits(scans, splits, 12)
    expected = {}
    for split, earlier in (("val", ["train"]), ("test", ["train", "val"])):
        for i in splits[split]:
            for name in earlier:
                distance = min(apart(scans[i], scans[j]) for j in splits[name])
                if distance <= 12:
                    expected[f"{i}.png", split, name] = distance
    assert {(leak.image, leak.split, leak.twin_split): leak.distance for leak in leaks} == expected
    for leak in leaks:
        twin = scans[int(leak.twin[:-4])]
        assert apart(scans[int(leak.image[:-4])], twin) == leak.distance and leak.identical == (leak.distance == 0)


def test_leaks_are_counted_and_the_worst_listed_first() -> None:
    leaks = [Leak(f"{i}.png", "test", "a.png", "train", 9 - i, False) for i in range(8)]
    text = describe_leaks([*leaks, Leak("z.png", "val", "b.png", "train", 0, True)])
    assert text.startswith("8 test images are in train too, or nearly so (0 identical), 1 val image is in train")
    assert text.splitlines()[1] == "  z.png (val) is identical to b.png (train)"
    assert text.splitlines()[2] == "  7.png (test) is nearly identical to a.png (train)"
    assert "... and 4 more" in text and "data.splits" in text
    assert describe_leaks([]) == ""


def test_duplicates_in_mirror_mouse_are_found(data_root: Path) -> None:
    root = data_root / "keypoints" / "mirror-mouse" / "labeled-data"
    names = [path.name for path in list_images(root)]
    scans = scan(ImageFolder(root), names)
    groups = [[names[i] for i in group] for group in identical(scans)]
    assert groups == [["img00.png", "img01.png"], ["img90.png", "img91.png", "img92.png"]]
    assert near_duplicates(scans) == []


@pytest.mark.parametrize("place", ["dlc-openfield/labeled-data/m4s1", "fly-wing/image-examples"])
def test_recompressed_copies_of_real_images_are_found(data_root: Path, place: str) -> None:
    paths = list_images(data_root / "keypoints" / place)[:30:3]
    for path in paths:
        pixels = read_image(path)
        half = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        jpeg = cv2.imdecode(cv2.imencode(".jpg", half, [cv2.IMWRITE_JPEG_QUALITY, 70])[1], cv2.IMREAD_COLOR)
        marks = [Scan(n, (1, 1), None, n, fingerprint(p), 1) for n, p in (("a", pixels), ("b", jpeg))]
        assert apart(*marks) <= NEAR, path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (result,) = scan(ImageFolder(tmp_path), ["pipe.png"])
    assert result.error is not None and "pipe.png" in result.error


def test_scans_are_kept_by_image() -> None:
    whole = Scan("b.png", (2**20, 7), None, "0f" * 20, "a1" * 32, 8, 16, 70_000, 1)
    broken = Scan("a.png", (0, 0), "a.png is damaged", "", "", 1)
    scans = Scans([whole, broken])
    assert [*scans] == ["b.png", "a.png"] and [*scans.values()] == [whole, broken] and "c.png" not in scans
    assert all(type(one) is type(other) for one, other in zip(scans["b.png"], whole, strict=True))
    assert not Scans([]) and Scans([whole, whole._replace(bits=0)])["b.png"].bits == 0
