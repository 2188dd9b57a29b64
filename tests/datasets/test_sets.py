"""Public data sets arrive complete or not at all, with the content that their digests verify."""

from __future__ import annotations

import csv
import json
import tarfile
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from helpers.training import CONFIGS, ROOT, read_csv
from softpoint.datasets import PublicDataset, RemoteFile
from softpoint.datasets import labels as public_labels
from softpoint.datasets.unpack import content_digest
from softpoint.labels.formats import read_labels
from softpoint.labels.split import read_splits

SETS = {
    path.stem: instantiate(OmegaConf.load(path), _convert_="all") for path in sorted((CONFIGS / "fetch").glob("*.yaml"))
}
FILES = {"v1/README": b"no", "v1/data/mice/a.csv": b"labels", "v1/data/mice/img/1.png": b"one", "v1/data/rats/2": b"no"}
TAKEN = {"a.csv": b"labels", "img/1.png": b"one"}


def digest(files: dict[str, bytes]) -> str:
    lines = (f"{sha256(content).hexdigest()}  {path}\n" for path, content in sorted(files.items()))
    return sha256("".join(lines).encode()).hexdigest()


@pytest.fixture
def mice(tmp_path: Path) -> PublicDataset:
    """A set whose archive lies among the downloads of `tmp_path`, as a user may have put it there by hand."""
    (tmp_path / "downloads").mkdir()
    with zipfile.ZipFile(tmp_path / "downloads" / "mice.zip", "w") as archive:
        for path, content in FILES.items():
            archive.writestr(path, content)
    url = "http://127.0.0.1:1/mice.zip"
    part = RemoteFile(url, "mice.zip", 1000, content=digest(TAKEN), subfolder="data/mice", strip_root=True)
    return PublicDataset("mice", "MIT", "mice", [part])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_is_extracted_and_the_archive_removed(mice: PublicDataset, tmp_path: Path) -> None:
    assert not mice.is_complete(tmp_path)
    assert mice.fetch(tmp_path) == tmp_path / "keypoints" / "mice"
    assert contents(tmp_path) == {f"keypoints/mice/{path}": content for path, content in TAKEN.items()}
    assert mice.is_complete(tmp_path) and not (tmp_path / "downloads").exists()
    assert mice.fetch(tmp_path) == tmp_path / "keypoints" / "mice"  # without a request: nothing listens at its address


def test_patterns_choose_files_and_target_places_them(mice: PublicDataset, tmp_path: Path) -> None:
    part = replace(mice.files[0], include=["*.png"], target="images", content=digest({"images/img/1.png": b"one"}))
    replace(mice, files=[part]).fetch(tmp_path, keep=True)
    assert (tmp_path / "downloads" / "mice.zip").is_file()
    assert contents(tmp_path / "keypoints") == {"mice/images/img/1.png": b"one"}


def test_a_failure_leaves_nothing_but_downloads(mice: PublicDataset, tmp_path: Path) -> None:
    def convert(folder: Path) -> None:
        assert contents(folder) == TAKEN
        raise ValueError("no labels")

    changed = replace(mice, files=[replace(mice.files[0], content="0" * 64)])
    message = rf"mice.zip contains other files .* is {digest(TAKEN)}, not 0+; remove it and"
    for wrong, match in ((changed, message), (replace(mice, convert=convert), "no labels")):
        with pytest.raises(ValueError, match=match):
            wrong.fetch(tmp_path)
        assert list((tmp_path / "keypoints").iterdir()) == [] and (tmp_path / "downloads" / "mice.zip").is_file()


def test_the_folder_of_a_killed_call_is_replaced(mice: PublicDataset, tmp_path: Path) -> None:
    (tmp_path / "keypoints" / ".mice.unfinished").mkdir(parents=True)
    (tmp_path / "keypoints" / ".mice.unfinished" / "half").write_bytes(b"half")
    (tmp_path / "keypoints" / "mice").mkdir()
    assert contents(mice.fetch(tmp_path)) == TAKEN


def test_a_plain_file_is_copied(tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "list.txt").write_bytes(b"x")
    part = RemoteFile(
        "http://127.0.0.1:1/", "list.txt", 1, checksum=f"sha256:{sha256(b'x').hexdigest()}", target="text"
    )
    PublicDataset("", "", "lists", [part]).fetch(tmp_path)
    assert contents(tmp_path / "keypoints") == {"lists/text/list.txt": b"x"}


def test_a_file_without_a_digest_is_refused() -> None:
    with pytest.raises(ValueError, match="neither checksum nor content"):
        RemoteFile("https://host/a.zip", "a.zip", 1)


@pytest.mark.parametrize("name", SETS)
def test_every_data_set_is_described(name: str) -> None:
    dataset = SETS[name]
    assert dataset.title and dataset.license and dataset.folder
    for part in dataset.files:
        assert part.size > 0 and part.url.startswith(("https://", "http://images.cocodataset.org/"))
        assert not part.url.startswith("https://github.com") or (part.content and part.strip_root)
    assert (CONFIGS / "data" / f"{name}.yaml").is_file()


# The sets whose label files belong to them, and are not written when they are fetched.
@pytest.mark.parametrize("name", ["mirror_mouse", "openfield", "fly_wing", "glue_tubes"])
def test_the_digest_of_a_set_is_that_of_its_folder(name: str, data_root: Path) -> None:
    folder = SETS[name].path(data_root)
    if not folder.is_dir():
        pytest.skip(f"no {folder}; softpoint fetch {name} downloads it")
    assert content_digest(folder, contents(folder)) == SETS[name].files[0].content


def test_an_archive_of_github_gives_the_folder(data_root: Path, tmp_path: Path) -> None:
    fly = SETS["fly_wing"]
    if not fly.is_complete(data_root):
        pytest.skip(f"no {fly.path(data_root)}; softpoint fetch fly_wing downloads it")
    (tmp_path / "downloads").mkdir()
    with tarfile.open(tmp_path / "downloads" / fly.files[0].file, "w:gz", compresslevel=1) as archive:
        archive.add(ROOT / "LICENSE", "ml-morph-802997fc/LICENSE")
        archive.add(fly.path(data_root), "ml-morph-802997fc")
    fly.fetch(tmp_path)
    assert contents(fly.path(tmp_path)) == contents(fly.path(data_root))


# How many images each set's split gives to train, val and test.
SPLITS = {
    "mirror_mouse": (72, 9, 9),
    "openfield": (93, 0, 23),
    "fly_wing": (46, 0, 12),
    "glue_tubes": (111, 0, 23),
    "ultrasound_tongue": (548, 0, 1026),
}


@pytest.mark.parametrize("name", SPLITS)
def test_splits_name_the_images_as_the_labels_do(name: str, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTPOINT_DATA", str(data_root))
    data = OmegaConf.load(CONFIGS / "data" / f"{name}.yaml").data
    if not Path(data.labels).exists():
        pytest.skip(f"no {data.labels}; softpoint fetch {name} downloads it")
    images = sorted(set(read_labels(data.labels, images=data.get("images")).images))
    splits = read_splits(ROOT / data.splits, images)
    assert tuple(len(splits[split]) for split in ("train", "val", "test")) == SPLITS[name]
    assert {row["image"] for row in read_csv(ROOT / data.splits)} == set(images)


@pytest.mark.parametrize(
    ("name", "table"), [("mirror_mouse", "mirror-mouse"), ("openfield", "dlc-openfield"), ("fly_wing", "fly-wing")]
)
def test_the_own_labels_equal_those_of_the_comparison(
    name: str, table: str, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOFTPOINT_DATA", str(data_root))
    data, expected = OmegaConf.load(CONFIGS / "data" / f"{name}.yaml").data, data_root / f"keypoints/labels/{table}.csv"
    if not (Path(data.labels).exists() and expected.is_file()):
        pytest.skip(f"{data.labels} or {expected} is not here")
    own, other = read_labels(data.labels, images=data.get("images")), read_labels(expected)
    order = {Path(image).name: i for i, image in enumerate(other.images)}
    rows = [order[Path(image).name] for image in own.images]
    assert sorted(rows) == list(range(len(other)))
    # The tables of the comparison were written with three decimals.
    np.testing.assert_allclose(own.keypoints, other.keypoints[rows], atol=0.0005)


def test_celeba_is_converted_to_csv_with_its_partition(tmp_path: Path) -> None:
    (tmp_path / "list_landmarks_align_celeba.txt").write_text(
        "2\nlefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y\n"
        "000001.jpg  69  109  106  113   77  142   73  152  108  154\n000002.jpg 1 2 3 4 5 6 7 8 9 10\n"
    )
    (tmp_path / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 2\n")
    public_labels.celeba(tmp_path)
    labels = read_labels(tmp_path / "landmarks.csv")
    assert labels.skeleton.names == ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    assert labels.images == ("img_align_celeba/000001.jpg", "img_align_celeba/000002.jpg")
    assert labels.keypoints[0].tolist() == [[69, 109], [106, 113], [77, 142], [73, 152], [108, 154]]
    assert {part: rows.tolist() for part, rows in read_splits(tmp_path / "splits.csv", labels.images).items()} == {
        "train": [0], "val": [], "test": [1]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("landmarks", "partition", "message"),
    [
        ("h\nh\n1.jpg 1 2\n", "", "line 3 has 3 columns, not 11"),
        ("h\nh\n", "1.jpg 7\n", "has the partition '7', not 0, 1 or"),
    ],
)
def test_a_malformed_list_of_celeba_is_refused(landmarks: str, partition: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "list_landmarks_align_celeba.txt").write_text(landmarks)
    (tmp_path / "list_eval_partition.txt").write_text(partition)
    with pytest.raises(ValueError, match=message):
        public_labels.celeba(tmp_path)


def test_both_parts_of_coco_are_joined(data_root: Path, tmp_path: Path) -> None:
    sample = data_root / "keypoints" / "coco-sample" / "test_coco.json"
    if not sample.is_file():
        pytest.skip(f"no {sample}")
    content = {"info": {}, "licenses": []} | json.loads(sample.read_text())
    (tmp_path / "annotations").mkdir()
    images = sorted(content["images"], key=lambda image: image["id"])
    for entry in [*content["images"], *content["annotations"]]:  # 785 becomes a multiple of 25
        entry |= {key: 775 for key in ("id", "image_id") if entry.get(key) == 785}
    empty = {"id": 50, "file_name": "empty.jpg", "width": 9, "height": 9}
    for part, chosen in (("train2017", images[:3]), ("val2017", images[3:])):
        ids = {image["id"] for image in chosen}
        annotations = [annotation for annotation in content["annotations"] if annotation["image_id"] in ids]
        text = json.dumps(content | {"images": [*chosen, empty], "annotations": annotations})
        (tmp_path / "annotations" / f"person_keypoints_{part}.json").write_text(text)
    public_labels.coco_person(tmp_path)
    joined, single = read_labels(tmp_path / "trainval.json"), read_labels(sample)
    parts = {image["file_name"]: "train2017" if i < 3 else "val2017" for i, image in enumerate(images)}
    rows = {(f"{parts[subject.image]}/{subject.image}", subject.place): subject for subject in single.subjects}
    assert {(subject.image, subject.place) for subject in joined.subjects} == set(rows)
    for subject in joined.subjects:
        np.testing.assert_array_equal(subject.keypoints, rows[subject.image, subject.place].keypoints)
    numbers = {f"{parts[image['file_name']]}/{image['file_name']}": image["id"] for image in images}
    splits = {row["image"]: row["split"] for row in read_csv(tmp_path / "splits.csv")}
    assert splits == {
        image: "test" if image.startswith("val2017") else "val" if number % 25 == 0 else "train"
        for image, number in numbers.items()
    }
    assert {"train", "val", "test"} == set(splits.values())


def test_ultrasound_recordings_are_joined(tmp_path: Path) -> None:
    header = [["scorer", "AW", "AW"], ["bodyparts", "tip", "tip"], ["coords", "x", "y"]]
    for name, rows in {
        "b": [["labeled-data\\b\\1.png", "1.25", "2"]],
        "a": [["labeled-data\\a\\1.png", "", ""]],
    }.items():
        (tmp_path / "set" / "images" / name).mkdir(parents=True)
        with (tmp_path / "set" / "images" / name / "CollectedData_AW.csv").open("w", newline="") as file:
            csv.writer(file).writerows([*header, *rows])
    public_labels.ultrasound_tongue(tmp_path / "set")
    labels = read_labels(tmp_path / "labels" / "ultrasound-tongue.csv")
    assert labels.images == ("images/a/1.png", "images/b/1.png")
    np.testing.assert_array_equal(labels.keypoints, [[[np.nan, np.nan]], [[1.25, 2]]])
