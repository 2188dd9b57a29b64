"""A DeepLabCut project is one set: several videos, one order of keypoints, paths from its folder."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from helpers.labels import FUZZ, assert_refused, assert_valid_or_refused, damaged, written
from softpoint.labels.formats import dlc_project, read_labels, recognize

CONFIG = """\
Task: reach
scorer: anna
date: Oct30
multianimalproject:
video_sets:
  C:\\videos\\m1.avi:
    crop: 0, 640, 0, 480
bodyparts:
- nose
- on
- left_ear
- right_ear
skeleton:
- - nose
  - left_ear
- - objectA
  - bodypart3
dotsize: 12
"""
# A few lines that stand for 2**99 items.
BOMB = "l0: &l0 [a, a]\n" + "".join(f"l{i + 1}: &l{i + 1} [*l{i}, *l{i}]\n" for i in range(99))
FIRST = (
    "scorer,anna,anna,anna,anna,anna,anna\nbodyparts,right_ear,right_ear,left_ear,left_ear,nose,nose\n"
    "coords,x,y,x,y,x,y\nlabeled-data/m1/a.png,1,2,3,4,5,6\n"
)
SECOND = "scorer,,,anna,anna\nbodyparts,,,on,on\ncoords,,,x,y\nlabeled-data,m2,a.png,7,8\nlabeled-data,m2,b.png,,\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "reach-anna-2024"
    written(root, CONFIG, "config.yaml")
    written(root, FIRST, "labeled-data/m1/CollectedData_anna.csv")
    written(root, SECOND, "labeled-data/m2/CollectedData_anna.csv")
    (root / "labeled-data" / "m3").mkdir()
    return root


def test_videos_are_joined(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "softpoint"):
        labels = read_labels(project)
    assert recognize(project) == "dlc_project" and labels.folder == str(project)
    assert labels.skeleton.names == ("nose", "on", "left_ear", "right_ear")
    assert labels.skeleton.edges == (("nose", "left_ear"),)
    assert labels.skeleton.flip_pairs == (("left_ear", "right_ear"),)
    assert labels.images == ("labeled-data/m1/a.png", "labeled-data/m2/a.png", "labeled-data/m2/b.png")
    assert labels.groups == ("labeled-data/m1", "labeled-data/m2", "labeled-data/m2")
    assert labels.places[1] == "labeled-data/m2/CollectedData_anna.csv line 4"
    assert labels.visibility.tolist() == [[2, 0, 2, 2], [0, 2, 0, 0], [0, 0, 0, 0]]
    assert labels.keypoints[0, [0, 2, 3]].tolist() == [[5, 6], [3, 4], [1, 2]]
    assert "m3 has no CollectedData file and is skipped" in caplog.text
    assert "has no column for nose, left_ear, right_ear; they are unlabeled there" in caplog.text


def test_a_part_of_a_project_can_be_read(project: Path) -> None:
    whole = read_labels(project)
    for part in (project / "labeled-data", project / "config.yaml"):
        labels = read_labels(part)
        assert labels.images == whole.images and labels.folder == str(project)
    one = read_labels(project / "labeled-data" / "m2")
    assert one.images == whole.images[1:] and one.folder == str(project) and one.skeleton == whole.skeleton


def test_without_config_yaml_keypoints_keep_the_order_of_the_files(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "config.yaml").unlink()
    names = ("right_ear", "left_ear", "nose", "on")
    assert read_labels(project).skeleton.names == names and read_labels(project).skeleton.edges == ()
    monkeypatch.chdir(project / "labeled-data" / "m2")
    assert read_labels(".").skeleton.names == ("on",) and read_labels(".").folder == str(project)


def test_lightning_pose_has_one_file_beside_labeled_data(tmp_path: Path) -> None:
    written(tmp_path, FIRST, "CollectedData.csv")
    (tmp_path / "labeled-data" / "m1").mkdir(parents=True)
    labels = read_labels(tmp_path)
    assert labels.images == ("labeled-data/m1/a.png",) and labels.folder == str(tmp_path)
    assert labels.places == ("CollectedData.csv line 4",)
    assert read_labels(tmp_path / "labeled-data" / "..").images == labels.images


def test_a_project_of_several_animals(project: Path) -> None:
    text = (
        "scorer,anna,anna,anna,anna,anna,anna\nindividuals,m1,m1,m2,m2,single,single\n"
        "bodyparts,nose,nose,nose,nose,food,food\ncoords,x,y,x,y,x,y\nlabeled-data/m1/a.png,1,2,5,6,3,4\n"
    )
    for video in ("m1", "m2"):
        written(project, text.replace("/m1/", f"/{video}/"), f"labeled-data/{video}/CollectedData_anna.csv")
    several = CONFIG.replace("multianimalproject:", "multianimalproject: true").replace("bodyparts:\n", "x:\n")
    several += "multianimalbodyparts:\n- nose\nuniquebodyparts:\n- food\nbodyparts: MULTI!\n"
    written(project, several, "config.yaml")
    labels = read_labels(project)
    assert labels.skeleton.names == ("nose", "food")
    images, names = ("labeled-data/m1/a.png", "labeled-data/m2/a.png"), ("m1", "m2", "single")
    assert [(s.image, s.name) for s in labels.subjects] == [(image, name) for image in images for name in names]
    assert len(set(labels.places)) == 6


def test_the_scorer_of_the_config_is_chosen(project: Path) -> None:
    written(project, FIRST.replace("5,6", "55,66"), "labeled-data/m1/CollectedData_bob.csv")
    assert read_labels(project).keypoints[0, 0].tolist() == [5, 6]
    written(project, CONFIG.replace("anna", "bob"), "config.yaml")
    assert read_labels(project).keypoints[0, 0].tolist() == [55, 66]
    written(project, CONFIG.replace("anna", "eve"), "config.yaml")
    with pytest.raises(ValueError, match=r"labels in CollectedData_anna, CollectedData_bob, but .* names scorer 'eve'"):
        read_labels(project)


def test_a_csv_and_an_h5_must_agree(project: Path) -> None:
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("tables")
    file = project / "labeled-data/m1/CollectedData_anna.csv"
    frame = pandas.read_csv(file, header=[0, 1, 2], index_col=0)
    frame.to_hdf(file.with_suffix(".h5"), key="df_with_missing", mode="w")
    whole = read_labels(project)
    written(project, FIRST.replace("5,6", "5,7"), "labeled-data/m1/CollectedData_anna.csv")
    message = r"CollectedData_anna.csv and CollectedData_anna.h5 differ in 1 points, first nose of a.png. DeepLabCut"
    assert_refused(project, message)
    written(project, FIRST.replace("5,6", ","), "labeled-data/m1/CollectedData_anna.csv")
    assert_refused(project, message)
    file.unlink()
    np.testing.assert_array_equal(read_labels(project).keypoints, whole.keypoints)
    file.with_suffix(".h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert_refused(project, r"m1/CollectedData_anna.h5 cannot be read as DeepLabCut's table")


def test_frames_are_beside_their_labels(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = FIRST.replace("labeled-data/m1/a.png", "C:\\old\\labeled-data\\m1\\a.png")
    written(project, text, "labeled-data/renamed/CollectedData_anna.csv")
    with caplog.at_level(logging.INFO, "softpoint"):
        assert read_labels(project).images[-1] == "labeled-data/renamed/a.png"
    assert "1 paths lead to another folder" in caplog.text


def test_labels_never_go_to_the_images_of_another_folder(project: Path) -> None:
    written(project, FIRST.replace("m1/a.png", "m2/a.png"), "labeled-data/m1/CollectedData_anna.csv")
    for folder in ("m1", "m2"):
        written(project, "", f"labeled-data/{folder}/a.png")
    with pytest.raises(ValueError, match=r"names labeled-data/m2/a.png, but the folder of .* holds .*/m1/a.png"):
        read_labels(project)
    (project / "labeled-data/m1/a.png").unlink()
    assert read_labels(project).images[0] == "labeled-data/m2/a.png"
    written(project, b"", "labeled-data/m2/a.png")
    written(project, FIRST.replace("/m1/", "/m2/"), "labeled-data/m1/CollectedData_anna.csv")
    assert read_labels(project).images[0] == "labeled-data/m2/a.png"
    two = FIRST + "labeled-data/gone/a.png,1,2,3,4,5,6\n"
    written(project, two, "labeled-data/m1/CollectedData_anna.csv")
    assert_refused(project, r"line 5: labeled-data/m1/a.png is labeled in .* line 4 too; remove one")


def test_bodyparts_that_the_config_lacks_are_left_out(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(project, CONFIG.replace("- on\n", ""), "config.yaml")
    assert read_labels(project).skeleton.names == ("nose", "left_ear", "right_ear")
    assert "on are not bodyparts of config.yaml and are left out" in caplog.text


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("bodyparts: [a, [b]]", r"config.yaml: bodyparts is .*must be a list of names"),
        ("bodyparts: nose", r"bodyparts is 'nose'; it must be a list"),
        ("bodyparts: [nose, nose]", r"config.yaml: keypoint names must differ, but these repeat: nose"),
        ("- bodyparts", r"holds no settings"),
        ("bodyparts: &a [*a]", r"config.yaml is not YAML .found unconstructable recursive node"),
        (BOMB + "bodyparts: *l99", r"bodyparts is \[\[.*must be a list of names"),
        (BOMB + "multianimalproject: *l99\nscorer: *l99\nskeleton: *l99\nbodyparts: nose", r"is 'nose'; it must"),
        ("bodyparts: [", r"config.yaml is not YAML"),
        ("[" * 500, r"config.yaml is not YAML"),
        ("bodyparts: [nose]\n" + "#" * 2**20, r"config.yaml has 1048594 bytes, more than 1048576"),
        (b"\xff\xfe", r"config.yaml is not YAML"),
    ],
)
def test_errors_in_config_yaml_are_named(project: Path, config: str | bytes, message: str) -> None:
    written(project, config, "config.yaml")
    assert_refused(project, message, "dlc_project")


def test_a_yaml_tag_is_text(project: Path) -> None:
    written(project, f"bodyparts: !!python/object/apply:os.mkdir [{project / 'made'}]\n", "config.yaml")
    assert read_labels(project).skeleton.names == (str(project / "made"),)
    assert not (project / "made").exists()


def test_errors_in_a_row_name_its_file(project: Path) -> None:
    written(project, SECOND.replace("7,8", "7,"), "labeled-data/m2/CollectedData_anna.csv")
    assert_refused(project, r"2024 labeled-data/m2/CollectedData_anna.csv line 4: on has x=7 and no y")
    assert len(read_labels(project, on_error="skip")) == 2


def test_a_project_without_labels_is_an_error(tmp_path: Path) -> None:
    written(tmp_path, CONFIG, "config.yaml")
    (tmp_path / "labeled-data" / "m1").mkdir(parents=True)
    assert not dlc_project.recognize(tmp_path, b"")
    with pytest.raises(ValueError, match=r"no folder in its labeled-data has a CollectedData_\*.csv or .h5"):
        read_labels(tmp_path, "dlc_project")


@FUZZ
@given(damaged(CONFIG), damaged(FIRST))
def test_a_damaged_project_raises_only_value_errors(config: bytes, labels: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        written(root, config, "config.yaml")
        written(root, labels, "labeled-data/m1/CollectedData_anna.csv")
        assert_valid_or_refused(root, "dlc_project")


def test_a_real_project_agrees_with_its_csv(data_root: Path) -> None:
    root = data_root / "keypoints" / "dlc-openfield"
    labels, csv = read_labels(root), read_labels(root / "labeled-data/m4s1/CollectedData_Pranav.csv")
    assert labels.images == csv.images and labels.skeleton == csv.skeleton and labels.folder == str(root)
    np.testing.assert_array_equal(labels.keypoints, csv.keypoints)
