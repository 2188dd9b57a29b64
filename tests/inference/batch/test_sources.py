"""The images and videos of a source, and the folders of their results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from softpoint.images import ImageFolder
from softpoint.images.listing import list_images
from softpoint.images.read_options import ReadOptions
from softpoint.inference.batch.sources import ImageSource, VideoSource, find_sources, without_suffixes
from softpoint.viz import write_image


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of every kind; finding looks at names alone."""
    for name in (
        "b.png", "a.JPG", "day1/c.png", "day1/x.mp4", "day1/y.mp4", "day1/y.avi", "notes.txt", ".hidden.png",
        ".cache/d.png", "day2/z.MOV", "out/x/labeled.mp4", "out/images/b.png.jpg",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def described(sources: list[ImageSource | VideoSource]) -> list[tuple]:
    return [s.names if isinstance(s, ImageSource) else (s.name, s.output) for s in sources]


def test_a_folder_is_one_image_source_and_a_source_per_video(tree: Path) -> None:
    assert described(find_sources(str(tree), tree / "out")) == [
        ("a.JPG", "b.png", "day1/c.png"),
        ("day1/x.mp4", "day1/x"),
        ("day1/y.avi", "day1/y.avi"),
        ("day1/y.mp4", "day1/y.mp4"),
        ("day2/z.MOV", "day2/z"),
    ]
    assert len(find_sources(str(tree))) == 6, "without knowing the output, its video is one more"
    assert described(find_sources("day1", Path("elsewhere")))[0] == ("c.png",)


@pytest.mark.parametrize(
    ("names", "outputs"),
    [
        (["clip.avi", "clip.mp4", "clip.mp4.mkv"], ["clip.avi", "clip.mp4", "clip.mp4.mkv"]),
        (["a.jpg", "a.png", "a.png.png", "a.png.png.png"], ["a.jpg", "a.png", "a.png.png", "a.png.png.png"]),
        (["clip.mp4", "clip.mp4.mkv", "day1/clip.mkv"], ["clip", "clip.mp4.mkv", "day1/clip"]),
    ],
)
def test_no_two_sources_have_one_output(names: list[str], outputs: list[str]) -> None:
    assert without_suffixes(names) == outputs and len(set(outputs)) == len(names)


def test_a_folder_of_images_is_listed_as_elsewhere(tree: Path) -> None:
    (album, *_) = find_sources(str(tree))
    assert isinstance(album, ImageSource) and [tree / name for name in album.names] == list_images(tree)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", [("b.png",)]),
        ("day*/*.mp4", [("day1/x.mp4", "day1/x"), ("day1/y.mp4", "day1/y")]),
        ("day1/[xy].mp4", [("x.mp4", "x"), ("y.mp4", "y")]),
        ("day?/c.*", [("day1/c.png",)]),
        ("day*/**", [("day1/c.png",)]),
    ],
)
def test_a_pattern_selects_files(tree: Path, pattern: str, expected: list[tuple]) -> None:
    assert described(find_sources(pattern))[: len(expected)] == expected
    assert described(find_sources(str(tree / pattern)))[: len(expected)] == expected


def test_a_single_file_is_a_source(tree: Path) -> None:
    assert find_sources("day1/c.png") == [ImageSource(Path("day1"), ("c.png",))]
    (clip,) = find_sources(str(tree / "day2/z.MOV"))
    assert clip == VideoSource(tree / "day2/z.MOV", "z.MOV") and clip.folder == tree / "day2"
    assert find_sources("day1/x.mp4/000012") == [ImageSource(Path("day1"), ("x.mp4/000012",))]
    for source in find_sources("day*/*.mp4"):
        assert isinstance(source, VideoSource) and source.folder / source.name == source.path


def test_an_existing_path_with_brackets_is_no_pattern(tree: Path) -> None:
    (tree / "odd[1].png").write_bytes(b"x")
    assert described(find_sources("odd[1].png")) == [("odd[1].png",)]


def test_labels_stand_for_their_images(tmp_path: Path) -> None:
    for name in ("v/a.png", "v/b.png", "c.png"):
        write_image(tmp_path / name, np.zeros((4, 6, 3), np.uint8))
    rows = ["image,nose_x,nose_y", "v/b.png,1,2", f"{tmp_path / 'c.png'},1,2", "./v/b.png,3,1", "../escape.png,1,1"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    (album,) = find_sources(str(tmp_path / "labels.csv"))
    assert isinstance(album, ImageSource) and album.names == ("v/b.png", "c.png", "../escape.png")
    shots = list(album.items(ImageFolder(album.folder, ReadOptions("apply", 1000)), None))
    assert [shot.image is None for shot in shots] == [False, False, True]
    assert "lies outside" in shots[2].error
    large = next(album.items(ImageFolder(album.folder, ReadOptions("apply", 9)), None))
    assert "more than max_pixels=9;" in large.error  # the setting of predict, not data.max_pixels
    later = album.items(ImageFolder(album.folder, ReadOptions("apply", 1000)), None, start=1)
    assert [shot.name for shot in later] == list(album.names[1:])


def test_boxes_select_images_and_frames(tree: Path) -> None:
    boxes = {"b.png": np.ones((2, 4)), "day1/x.mp4/000003": np.ones((1, 4)), "day1/x.mp4/7": np.ones((3, 4))}
    album, clip, other, *_ = find_sources(str(tree))
    assert isinstance(album, ImageSource) and isinstance(clip, VideoSource) and isinstance(other, VideoSource)
    assert album.with_boxes(boxes).names == ("b.png",) and clip.max_boxes(boxes) == 3
    with pytest.raises(ValueError, match=r"no frame of day1/y.avi has a box; name frames day1/y.avi/000012"):
        other.max_boxes(boxes)
    with pytest.raises(ValueError, match=r"no image of source=.* has a box"):
        album.with_boxes({"z.png": np.ones((1, 4))})


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere", FileNotFoundError, r"source=nowhere does not exist; name an image, a video, a folder, a pattern"),
        ("nowhere/*.mp4", FileNotFoundError, r"source=nowhere/\*.mp4 matches nothing; quote it"),
        ("*.txt", ValueError, r"source=\*.txt matches no image and no video; looked for .png .* .mp4"),
        ("empty", ValueError, r"empty holds no image and no video; looked for .png .* .mp4"),
        ("notes.txt", ValueError, r"notes.txt is no image \(.png .*\), no video \(.mp4 .*\), and in no known label"),
    ],
)
def test_a_missing_source_is_an_error(tree: Path, source: str, error: type[Exception], message: str) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(error, match=message):
        find_sources(source)


def test_pages_are_the_bands_of_one_image_and_videos_have_none(tmp_path: Path, tree: Path) -> None:
    pages = [Image.fromarray(np.full((4, 6), level, np.uint8)) for level in range(5)]
    pages[0].save(tree / "day2" / "p.tif", save_all=True, append_images=pages[1:])
    file, folder = str(tree / "day2" / "p.tif"), str(tree / "day2")
    (tree / "day2" / "z.MOV").unlink()
    for source in (file, folder):
        assert described(find_sources(source))[0] == tuple(f"p.tif/00000{page}" for page in range(5))
        for channels in (5, (4, 1)):
            assert described(find_sources(source, channels=channels)) == [("p.tif",)]
    assert len(find_sources("day1", channels=1)) == 4  # whose films become gray
    for channels, words in ((5, "5 bands"), ((2, 1, 0), r"bands \[2, 1, 0\]")):
        with pytest.raises(
            ValueError, match=rf"the frames of day1/x.mp4 have colors, and this model reads the {words}"
        ):
            find_sources("day1", channels=channels)


def test_results_of_earlier_jobs_are_skipped(tmp_path: Path) -> None:
    for name in ("a.png", "old/images/a.png.jpg", "new/images/a.png.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "old" / "job.json").write_text("{}")
    (album,) = find_sources(str(tmp_path), tmp_path / "new")
    assert isinstance(album, ImageSource) and album.names == ("a.png",)
    with pytest.raises(ValueError, match="is the folder that is predicted; name another"):
        find_sources(str(tmp_path), tmp_path)
    # A source inside a folder of results is predicted all the same.
    assert described(find_sources(str(tmp_path / "old" / "images"), tmp_path)) == [("a.png.jpg",)]
