"""SLEAP's files give the points placed by a person, and the frames they belong to."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.labels import assert_refused
from softpoint.images.containers import find
from softpoint.images.decode import read_image
from softpoint.labels.formats import read_labels, recognize, sleap
from softpoint.labels.formats.parsing import sandbox
from softpoint.labels.row_errors import RowErrors

sio = pytest.importorskip("sleap_io")
h5py = pytest.importorskip("h5py")
av = pytest.importorskip("av")

NAN = float("nan")
NODES = ["nose", "ear_a", "ear_b"]
# Each example starts a Python.
REPEATED = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


def write_video(path: Path, level: int) -> str:
    """Write a video of 12 frames, 32 high and 48 wide; frame n is gray of level + 5 n."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 48, 32, "yuv420p", 4_000_000
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), level + 5 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def project(folder: Path) -> Any:
    """Two videos, a track, a hidden and a missing point, predictions and an empty frame."""
    skeleton = sio.Skeleton(list(NODES), edges=[("nose", "ear_a")], symmetries=[("ear_b", "ear_a")])
    one = sio.Video.from_filename(write_video(folder / "videos/one.mp4", 10))
    two = sio.Video.from_filename(write_video(folder / "videos/two.mp4", 100))
    track = sio.Track("Anna")

    def placed(points: list, track: Any = None) -> Any:
        return sio.Instance.from_numpy(np.array(points), skeleton=skeleton, track=track)

    hidden = placed([[9.0, 9.5], [3, 3], [4, 4]])
    hidden.points["visible"][1] = False
    guess = sio.PredictedInstance.from_numpy(np.ones((3, 2)), skeleton=skeleton)
    frames = [
        sio.LabeledFrame(video=one, frame_idx=3, instances=[placed([[1.25, 2], [3, 4], [NAN, NAN]], track), hidden]),
        sio.LabeledFrame(video=one, frame_idx=5, instances=[guess]),
        sio.LabeledFrame(video=two, frame_idx=11, instances=[guess, placed([[5.0, 6], [7, 8], [9, 10]])]),
        sio.LabeledFrame(video=two, frame_idx=0),
    ]
    return sio.Labels(frames, videos=[one, two], tracks=[track])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a project, a package of it, and its videos."""
    home = tmp_path_factory.mktemp("project")
    labels = project(home)
    labels.save(str(home / "labels.slp"), verbose=False)
    labels.save(str(home / "labels.pkg.slp"), embed="user", verbose=False)
    return home


def saved(path: Path, video: Any, *skeletons: list[str], frames: Sequence[int] = (0, 1)) -> Path:
    """Write a project with one instance of ones per frame, each of a skeleton, or all of the only one."""
    named = [sio.Skeleton(nodes) for nodes in skeletons] * (1 if len(skeletons) > 1 else len(frames))
    placed = [sio.Instance.from_numpy(np.ones((len(s.nodes), 2)), skeleton=s) for s in named]
    rows = zip(frames, placed, strict=True)
    labels = sio.Labels([sio.LabeledFrame(video=video, frame_idx=n, instances=[i]) for n, i in rows])
    labels.save(str(path), verbose=False)
    return path


def level(image: Path) -> float:
    return float(read_image(image).mean())


POINTS = [[[1.25, 2], [3, 4], [NAN, NAN]], [[9, 9.5], [NAN, NAN], [4, 4]], [[5, 6], [7, 8], [9, 10]], [[NAN, NAN]] * 3]


def test_a_project_gives_the_placed_instances(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels = read_labels(home / "labels.slp")
    np.testing.assert_array_equal(labels.keypoints, POINTS)
    np.testing.assert_array_equal(labels.visibility, [[2, 2, 0], [2, 0, 2], [2, 2, 2], [0, 0, 0]])
    assert labels.folder == str(home)
    one, two = "videos/one.mp4", "videos/two.mp4"
    assert labels.images == (f"{one}/000003", f"{one}/000003", f"{two}/000011", f"{two}/000000")
    assert labels.groups == (str(home / one),) * 2 + (str(home / two),) * 2
    assert [subject.name for subject in labels.subjects] == ["Anna", "", "", ""]
    assert labels.places[1] == f"frame 3 of {home / one}, instance 2" and len(set(labels.places)) == 4
    assert labels.skeleton.names == tuple(NODES)
    assert labels.skeleton.flip_pairs == (("ear_a", "ear_b"),) and labels.skeleton.edges == (("nose", "ear_a"),)
    assert "left out 2 predicted instances" in caplog.text
    levels = [level(home / image) for image in labels.images]
    np.testing.assert_allclose(levels, [25, 25, 155, 100], atol=3)


@pytest.mark.slow
def test_a_package_gives_its_embedded_images(home: Path, tmp_path: Path) -> None:
    path = shutil.copy(home / "labels.pkg.slp", tmp_path / "moved.pkg.slp")
    labels = read_labels(path)
    np.testing.assert_array_equal(labels.keypoints[:3], POINTS[:3])
    assert labels.images[:3] == ("moved.pkg.slp/video0/000003",) * 2 + ("moved.pkg.slp/video1/000011",)
    assert labels.groups == read_labels(home / "labels.slp").groups
    np.testing.assert_allclose([level(tmp_path / image) for image in labels.images[:3]], [25, 25, 155], atol=3)
    assert read_labels(path, images=tmp_path.parent).images[0] == f"{tmp_path.name}/moved.pkg.slp/video0/000003"
    with pytest.raises(ValueError, match=r"has its images inside; leave data\.images empty"):
        read_labels(path, images=home)


def altered(home: Path, path: Path, name: str = "labels.slp") -> Any:
    shutil.copy(home / name, path)
    return h5py.File(path, "r+")


def renamed(file: Any, names: list[dict]) -> None:
    """Replace the descriptions of the videos."""
    del file["videos_json"]
    file["videos_json"] = [json.dumps(name).encode() for name in names]


def test_videos_of_another_machine_are_searched(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"  # folders beside it are searched too, and those of other tests are none of its own
    folder.mkdir()
    path = folder / "labels.slp"
    with altered(home, path) as file:
        names = [json.loads(text) for text in file["videos_json"]]
        for name in names:
            name["filename"] = "D:\\anna\\" + Path(name["backend"]["filename"]).name
            name["backend"]["filename"] = name["filename"]
        renamed(file, names)
    missing = r"(?s)D:/anna/one.mp4 was not found below .*\nset data.images to the right folder\Z"
    with pytest.raises(ValueError, match=missing.replace("/", r"[/\\]")):
        read_labels(path)
    labels = read_labels(path, images=home / "videos")
    assert labels.folder == str(home / "videos") and labels.groups[0] == "D:/anna/one.mp4"
    assert labels.images[0] == "one.mp4/000003"
    np.testing.assert_array_equal(labels.keypoints, POINTS)
    shutil.copytree(home / "videos", folder / "films")
    assert read_labels(path).folder == str(folder / "films")


def test_a_package_of_some_videos_keeps_their_numbers(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "some.pkg.slp"
    with altered(home, path, "labels.pkg.slp") as file:
        names = [json.loads(text) for text in file["videos_json"]]
        for name, old, new in zip(names, ("video0", "video1"), ("video4", "video17"), strict=True):
            file.move(old, new)
            name["backend"]["dataset"] = f"{new}/video"
        renamed(file, names)
        frames = file["frames"][:]
        frames["video"] = np.where(frames["video"] == 0, 4, 17)
        file["frames"][:] = frames
    labels = read_labels(path)
    assert labels.images[:3] == ("some.pkg.slp/video4/000003",) * 2 + ("some.pkg.slp/video17/000011",)
    np.testing.assert_allclose([level(tmp_path / image) for image in labels.images[:3]], [25, 25, 155], atol=3)
    np.testing.assert_array_equal(labels.keypoints[:3], POINTS[:3])


def test_a_list_of_single_images_is_grouped_by_folder(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"day{number}").mkdir()
        Image.new("L", (20, 10), number).save(tmp_path / f"day{number}/a.png")
    video = sio.Video.from_filename([str(tmp_path / f"day{number}/a.png") for number in range(3)])
    labels = read_labels(saved(tmp_path / "images.slp", video, ["a"], frames=(2, 0)))
    assert labels.images == ("day2/a.png", "day0/a.png") and labels.groups == ("day2", "day0")
    assert [level(tmp_path / image) for image in labels.images] == [2, 0]


def test_coordinates_of_version_1_count_from_the_corner(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "old.slp"
    with altered(home, path, "labels.slp") as file:
        file["metadata"].attrs["format_id"] = 1.0
        rows = file["instances"][:]
        del file["instances"]
        file["instances"] = rows[list(rows.dtype.names[:-1])].astype(
            [(name, rows.dtype[name]) for name in rows.dtype.names[:-1]]
        )
    labels = read_labels(path, images=home)
    np.testing.assert_array_equal(labels.keypoints, np.array(POINTS) - 0.5)


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        ("frames", "video", 7, r"frame 3 of video 7: there is no video 7: the file has 2"),
        ("points", "x", np.inf, r"frame 3 of video 0: a coordinate is infinite"),
        ("instances", "skeleton", 5, r"cannot be read as a SLEAP file"),
        ("instances", "point_id_end", 2**60, r"instances refer to more than the file holds"),
        ("frames", "instance_id_end", 2**60, r"frames refer to more than the file holds"),
    ],
)
def test_impossible_values_in_tables_are_errors(
    home: Path, tmp_path: Path, table: str, column: str, value: float, message: str
) -> None:
    path = tmp_path / "wrong.slp"
    with altered(home, path) as file:
        rows = file[table][:]
        rows[column][0] = value
        file[table][:] = rows
    assert_refused(path, message, images=home)


@pytest.mark.slow
def test_links_and_huge_tables_are_refused(home: Path, tmp_path: Path) -> None:
    for number, change in enumerate(("link", "external", "size", "version")):
        path = tmp_path / f"{number}.slp"
        with altered(home, path) as file:
            if change == "version":
                file["metadata"].attrs["format_id"] = 3.0
                continue
            kind, count = file["points"].dtype, len(file["points"])
            del file["points"]
            if change == "link":
                file["points"] = h5py.ExternalLink(str(home / "labels.slp"), "points")
            elif change == "external":
                file.create_dataset("points", (count,), kind, external=[(str(home / "labels.slp"), 0, 10**6)])
            else:
                file.create_dataset("points", (2**24,), kind, chunks=(64,))
        with pytest.raises(ValueError, match=r"is a link|stored in another file|too large for what|is of version 3"):
            read_labels(path, images=home)


def test_a_symmetry_of_one_node_is_an_error(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "alone.slp"
    with altered(home, path) as file:
        stated = json.loads(file["metadata"].attrs["json"])
        for link in stated["skeletons"][0]["links"]:
            link["target"] = link["source"]
        file["metadata"].attrs["json"] = np.bytes_(json.dumps(stated))
    assert_refused(path, "save it again in SLEAP", images=home)


def test_more_points_than_nodes_are_an_error(tmp_path: Path) -> None:
    video = sio.Video.from_filename(write_video(tmp_path / "a.mp4", 0))
    path = saved(tmp_path / "more.slp", video, ["a"])
    with h5py.File(path, "r+") as file:
        rows = file["instances"][:]
        rows["point_id_start"], rows["point_id_end"] = [0, 2], [2, 2]
        file["instances"][:] = rows
    assert_refused(path, r"has [02] points, but its skeleton 1")


def test_several_skeletons_are_an_error(tmp_path: Path) -> None:
    video = sio.Video.from_filename(write_video(tmp_path / "a.mp4", 0))
    path = saved(tmp_path / "mixed.slp", video, ["a"], ["a", "b"])
    assert_refused(path, r"has 2 skeletons with nodes; it must have one")


def test_a_missing_library_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sleap_io", None)
    with pytest.raises(ImportError, match=r'labels\.slp needs sleap_io: pip install "softpoint\[sleap\]"'):
        read_labels(home / "labels.slp")


STAND_IN = "import os, sys; from pathlib import Path; write = Path(sys.argv[1]).write_text; {}"
RETURNED = json.dumps({
    "places": [], "errors": [],
    "labels": {
        "source": "a", "folder": "a", "skeleton": {"names": ["a"], "flip_pairs": [], "edges": []}, "unused": {},
        "subjects": [{"image": "a", "place": "a", "keypoints": [[1, 2]], "visibility": [258]}],
    },
})  # fmt: skip


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        ("os.abort()", r"its reader crashed \(SIGABRT\)"),
        ("os.kill(os.getpid(), 11)", r"its reader crashed \(SIGSEGV\)"),
        ("1 / 0", r"its reader failed \(1\) with 'ZeroDivisionError: division by zero'"),
        ("os._exit(0)", r"its reader returned an invalid result \(FileNotFoundError"),
        ("write('{')", r"its reader returned an invalid result \(JSONDecodeError"),
        ('write(\'{"places": [], "errors": [], "labels": []}\')', r"its reader returned an invalid result \(TypeError"),
        (
            f"write({RETURNED!r})",
            r"its reader returned an invalid result \(ValueError: it has a visibility that is none",
        ),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="a process ends by a signal")
def test_a_crash_of_the_reader_is_an_error(
    home: Path, monkeypatch: pytest.MonkeyPatch, reader: str, message: str
) -> None:
    monkeypatch.setattr(sandbox, "_CODE", STAND_IN.replace("{}", reader))
    with pytest.raises(ValueError, match=rf"labels\.slp is damaged or hostile: {message}"):
        read_labels(home / "labels.slp")


def test_a_reader_that_hangs_is_ended(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = tmp_path / "process"
    hang = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    monkeypatch.setattr(sandbox, "_CODE", hang)
    monkeypatch.setattr(sleap, "SECONDS", 2.0)
    with pytest.raises(ValueError, match=r"labels\.slp is damaged or hostile: it was not read within 2\.\d* s"):
        read_labels(home / "labels.slp")
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is limited on Linux")
def test_the_memory_of_a_reader_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "greedy.py").write_text("def read_in_process(*_): bytearray(1 << 31)")
    (tmp_path / "a.slp").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"its reader failed \(1\) with 'MemoryError'"):
        sandbox.read_labels("greedy", tmp_path / "a.slp", RowErrors("a.slp"), None, 60)


def test_larger_files_have_a_longer_time_limit(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_CODE", "import time; time.sleep(600)")
    monkeypatch.setattr(sleap, "SECONDS", 0.25)
    monkeypatch.setattr(sleap, "SECONDS_PER_MIB", 0.125)
    path = tmp_path / "a.slp"
    path.write_bytes(bytes(2**21))
    with pytest.raises(ValueError, match=r"it was not read within 0\.5 s"):
        read_labels(path, "sleap")


def test_project_and_package_are_recognized(home: Path, tmp_path: Path) -> None:
    assert recognize(home / "labels.slp") == recognize(home / "labels.pkg.slp") == "sleap"
    (tmp_path / "a.slp").write_text("no HDF5")
    with pytest.raises(ValueError, match="no known label format"):
        recognize(tmp_path / "a.slp")
    with pytest.raises(ValueError, match=r"a\.slp cannot be read as a SLEAP file"):
        read_labels(tmp_path / "a.slp", "sleap")


def test_a_real_package_agrees_with_sleap_io(data_root: Path) -> None:
    labels = read_labels(data_root / "keypoints/sleap-sample/minimal_instance.pkg.slp")
    assert len(labels) == 2 and set(labels.images) == {"minimal_instance.pkg.slp/video0/000000"}
    np.testing.assert_allclose(labels.keypoints[0], [[92.652208, 202.725978], [152.341881, 158.423644]], atol=1e-5)
    assert labels.skeleton.names == ("A", "B") and labels.groups[0].endswith("centered_pair_low_quality.mp4")
    video = sio.load_slp(labels.source).videos[0]
    frame = find(Path(labels.folder) / labels.images[0])
    assert frame.size(10**6) == (384, 384)
    np.testing.assert_array_equal(frame.decoded(10**6).pixels[..., :1], video[0])


@pytest.mark.slow
@REPEATED
@given(data=st.data())
def test_a_damaged_file_raises_only_value_errors(home: Path, data: st.DataObject) -> None:
    whole = bytearray((home / "labels.slp").read_bytes())
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=8)):
        whole[place] = value
    path = home / "damaged.slp"
    path.write_bytes(whole[: data.draw(st.none() | st.integers(0, len(whole)))])
    try:
        labels = read_labels(path, "sleap", "skip")
    except (ValueError, FileNotFoundError) as error:
        assert "damaged.slp" in str(error)
    else:
        assert not np.isinf(labels.keypoints).any()
