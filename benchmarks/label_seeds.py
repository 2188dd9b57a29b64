"""Valid inputs of every reader of labels, which benchmarks/mutations.py damages."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mutation_target import Target
from softpoint.labels.formats import mpii, nwb, read_labels, sleap
from softpoint.labels.row_errors import RowErrors, first_few

NAMES = ("nose", "tail")
DLC = "scorer,anna,anna,anna,anna\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\nlabeled-data/a/img1.png,1,2,3,4\n"
CVAT = (
    '<annotations><version>1.1</version><image id="0" name="a.png" width="32" height="24">'
    '<skeleton label="animal"><points label="nose" points="3.5,4.0" occluded="0" outside="0"/><points label="left" '
    'points="1,2" occluded="1" outside="0"/></skeleton></image></annotations>'
)
DLIB = (
    "<dataset><images><image file='a.png'><box top='1' left='1' width='9' height='9'><label>animal</label>"
    "<part name='nose' x='3' y='4'/></box></image></images></dataset>"
)
VIA_CSV = (
    "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
    'a.png,12,"{}",1,0,"{""name"":""point"",""cx"":3,""cy"":4}","{""label"":""nose""}"\n'
)


def label_targets(folder: Path, image: bytes) -> list[Target]:
    """Return all readers of labels, with seeds that are made in `folder`, beside an `image`."""
    beside, texts = {"a.png": image}, _texts() | _json()
    found = [Target(name, [text.encode() for text in seeds], _read, beside=beside) for name, seeds in texts.items()]
    found += [Target(name, [text.encode()], _read_folder, beside=beside) for name, text in _json_per_image().items()]
    yaml = b"train: images\nkpt_shape: [3, 3]\nnames: {0: animal}\nflip_idx: [0, 2, 1]\n"
    rows = b"0 0.5 0.5 0.4 0.4 0.1 0.2 2 0.3 0.4 1 0 0 0\n"
    config = b"scorer: anna\nskeleton:\n- [nose, tail]\nbodyparts: [nose, tail]\n"
    return [
        *found,
        Target("data.yaml", [yaml], _read_yolo, beside={"images/a.png": image, "labels/a.txt": rows}),
        Target("labels/a.txt", [rows], _read_yolo, beside={"images/a.png": image, "data.yaml": yaml}),
        Target("config.yaml", [config], _read, beside={"labeled-data/a/CollectedData_anna.csv": DLC.encode()}),
        Target("a.pts", [b"version: 1\nn_points: 2\n{\n1 2\n3 4\n}\n"], _read_folder, beside=beside),
        Target("labels.h5", [_h5(folder / "labels.h5")], _read),
        _slow("labels.slp", _slp(folder / "labels.slp"), sleap.read_in_process, {"a.mp4": b""}),
        _slow("labels.nwb", _nwb(folder / "labels.nwb"), nwb.read_in_process, beside),
        _slow("labels.mat", _mat(), mpii.read_in_process, beside),
    ]


def _read(path: Path, _: Path) -> None:
    _to_the_end(path, lambda errors: read_labels(path, errors=errors))


def _read_folder(path: Path, out: Path) -> None:
    _read(path.parent, out)


def _read_yolo(path: Path, out: Path) -> None:
    _read(path.parents[path.name == "a.txt"] / "data.yaml", out)


def _to_the_end(path: Path, read: Callable[[RowErrors], object]) -> None:
    """Read all rows, and only then refuse those with errors, of which a valid file has none."""
    errors = RowErrors(str(path), "skip")
    read(errors)
    errors.raise_or_warn()
    if errors.skipped:
        raise ValueError(first_few(errors.skipped))


def _slow(
    name: str, seed: bytes, read: Callable[[Path, RowErrors, Path | None], object], beside: dict[str, bytes]
) -> Target:
    """Return what is read in a process of its own, which takes a second to start: here only where it takes too much."""

    def in_process(path: Path, _: Path) -> None:
        _to_the_end(path, lambda errors: read(path, errors, None))

    return Target(name, [seed], in_process, beside=beside, limited=_read)


def _texts() -> dict[str, list[str]]:
    return {
        "labels.csv": ["image,nose_x,nose_y,tail_x,tail_y\na.png,1,2,3,4\nb.png,,,7,8\n", DLC],
        "long.csv": ["image,keypoint,x,y\na.png,nose,1,2\na.png,tail,3,4\n"],
        "via.csv": [VIA_CSV],
        "cvat.xml": [CVAT],
        "dlib.xml": [DLIB],
        "labels.tps": ["LM=2\n1.5 2.5\n3 4\nIMAGE=a.png\nID=0\n"],
    }


def _json() -> dict[str, list[str]]:
    points: list[list[float]] = [[3.5, 4.0, 2], [7.25, 9.5, 1], [0, 0, 0]]
    flat, size = [value for point in points for value in point], {"original_width": 32, "original_height": 24}
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 32, "height": 24}],
        "categories": [{"id": 1, "name": "animal", "keypoints": ["nose", "left", "right"], "skeleton": [[1, 2]]}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "keypoints": flat, "bbox": [1, 1, 9, 9]}],
    }
    shape = {"type": "keypointlabels", **size, "value": {"x": 9, "y": 9, "width": 0.3, "keypointlabels": ["nose"]}}
    task = {"id": 1, "annotations": [{"id": 9, "result": [{"id": "a"} | shape]}], "data": {"image": "/data/a.png"}}
    region = {"shape_attributes": {"name": "point", "cx": 3, "cy": 4}, "region_attributes": {"label": "nose"}}
    via = {"a.png12": {"filename": "a.png", "size": 12, "regions": [region], "file_attributes": {}}}
    person = {"joints": [[3, 4], [5, 6]], "joints_vis": [1, 1], "image": "a.png", "scale": 0.1, "center": [9, 9]}
    result = {"image_id": "a.png", "category_id": 1, "keypoints": flat, "score": 2.5, "box": [1, 1, 9, 9]}
    contents = {"coco.json": coco, "studio.json": [task], "via.json": via, "hrnet.json": [person]}
    return {name: [json.dumps(content)] for name, content in (contents | {"results.json": [result]}).items()}


def _json_per_image() -> dict[str, str]:
    shapes = [{"label": name, "points": [[3, 4]], "shape_type": "point", "group_id": 1} for name in NAMES]
    labelme = {"version": "5.0", "imagePath": "a.png", "imageWidth": 32, "imageHeight": 24, "shapes": shapes}
    labelme |= {"flags": {}, "imageData": None}
    openpose = {"version": 1.3, "people": [{"pose_keypoints_2d": [1.0, 2.0, 0.9] * 25}]}
    return {"a.json": json.dumps(labelme), "a_keypoints.json": json.dumps(openpose)}


def _h5(path: Path) -> bytes:
    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        group.attrs.update({"pandas_type": "frame", "nblocks": 1})
        group["block0_values"] = np.arange(8.0).reshape(2, 4)
        columns, rows = [("s", "s"), NAMES, ("x", "y")], [("labeled-data",), ("a",), ("b.png", "c.png")]
        for axis, levels, counts in (("block0_items", columns, [4, 2, 1]), ("axis1", rows, [2, 2, 1])):
            group.attrs[f"{axis}_nlevels"] = 3
            for number, (level, count) in enumerate(zip(levels, counts, strict=True)):
                group[f"{axis}_level{number}"] = np.array([text.encode() for text in level])
                group[f"{axis}_label{number}"] = (np.arange(counts[0]) // count % len(level)).astype(np.int8)
        group["block0_values"].attrs["transposed"] = True
    return path.read_bytes()


def _slp(path: Path) -> bytes:
    import sleap_io

    skeleton = sleap_io.Skeleton([sleap_io.Node(name) for name in NAMES])
    video = sleap_io.Video("a.mp4", open_backend=False)
    video.backend_metadata["shape"] = (2, 24, 32, 3)
    instances = [sleap_io.Instance.from_numpy(np.array([[1.0, 2], [3, 4]]) + n, skeleton) for n in range(2)]
    frames = [sleap_io.LabeledFrame(video, number, [one]) for number, one in enumerate(instances)]
    sleap_io.save_slp(sleap_io.Labels(frames), str(path))
    return path.read_bytes()


def _nwb(path: Path) -> bytes:
    with h5py.File(path, "w") as file:
        skeleton = file.create_group("processing/behavior/Skeletons/mouse")
        skeleton.attrs["neurodata_type"] = "Skeleton"
        skeleton["nodes"], skeleton["edges"] = [*NAMES], np.array([[0, 1]], np.uint8)
        training = file.create_group("processing/behavior/PoseTraining")
        training.attrs["neurodata_type"] = "PoseTraining"
        files = training.create_dataset("source_videos/stills/external_file", data=["/data/a.png"])
        files.attrs["starting_frame"] = [0]
        group = training.create_group("training_frames/0")
        group.attrs["source_video_frame_index"] = 0
        group["source_video"] = h5py.SoftLink("/processing/behavior/PoseTraining/source_videos/stills")
        instance = group.create_group("skeleton_instances/0")
        instance["node_locations"], instance["node_visibility"] = np.array([[1.0, 2], [3, 4]]), [True, False]
        instance["skeleton"] = h5py.SoftLink("/processing/behavior/Skeletons/mouse")
    return path.read_bytes()


def _mat() -> bytes:
    from scipy.io import savemat

    def struct(entry: dict[str, Any]) -> np.ndarray:
        array = np.zeros((1, 1), [(key, object) for key in entry])
        for key, value in entry.items():
            array[0, 0][key] = value
        return array

    joints = struct({"id": 0.0, "x": 11.0, "y": 6.0, "is_visible": 1.0})
    person = struct({"annopoints": struct({"point": joints}), "scale": 0.1, "objpos": struct({"x": 9.0, "y": 9.0})})
    annotated = struct({"image": struct({"name": "a.png"}), "annorect": person, "vididx": 7.0})
    file = io.BytesIO()
    savemat(file, {"RELEASE": struct({"annolist": annotated})}, do_compression=True)
    return file.getvalue()
