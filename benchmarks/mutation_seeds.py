"""Valid and hostile inputs of every reader, which benchmarks/mutations.py damages."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import h5py
import numpy as np
from PIL import Image

from hostile_images import hostile_images
from hostile_labels import hostile_labels
from hostile_models import hostile_models
from softpoint.data.shards.reader import check_index
from softpoint.datasets.unpack import unpack
from softpoint.demo.arrays import load_maps
from softpoint.images.containers import page_names
from softpoint.images.decode import image_size, read_image
from softpoint.images.video import Video
from softpoint.inference.checkpoint import read_checkpoint
from softpoint.inference.export import ExportOptions, export
from softpoint.inference.predictor import load_predictor
from softpoint.inference.pretrained import save_pretrained
from softpoint.labels.formats import read_labels, sleap
from softpoint.labels.row_errors import RowErrors
from softpoint.runtime import load

ROOT = Path(__file__).parents[1]
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


SECRET = "secret"  # a file that no input may open; hostile ones name it


class Target(NamedTuple):
    """A reader: it is called with the path of a file, a seed after damage, and a folder to write to."""

    name: str  # of the file that it reads
    seeds: Sequence[bytes]
    read: Callable[[Path, Path], Any]
    hostile: Sequence[bytes] = ()  # seeds that may be refused without damage
    beside: Mapping[str, bytes] = {}  # files that it needs


def targets(folder: Path) -> list[Target]:
    """Return all readers, with seeds that are made in `folder`."""
    secret = folder / SECRET
    secret.write_bytes(b"secret")
    found = [*_images(folder), *_labels(folder), *_models(folder), _archives(), _index()]
    valid = {target.name: target.seeds[0] for target in found}
    hostile = hostile_images(secret) | hostile_labels(folder, secret, valid) | hostile_models(secret, valid)
    assert hostile.keys() <= valid.keys()
    return [target._replace(hostile=hostile.get(target.name, ())) for target in found]


def _images(folder: Path) -> list[Target]:
    def read(path: Path, _: Path) -> None:
        image_size(path)
        page_names(path)
        read_image(path)

    def play(path: Path, _: Path) -> None:
        for _frame in Video(path, 10_000).play():
            pass

    found = []
    kinds = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP", "tif": "TIFF", "gif": "GIF", "ppm": "PPM"}
    for suffix, kind in (kinds | {"jp2": "JPEG2000"}).items():
        modes = ("L", "CMYK") if kind == "JPEG" else ("L", "RGB")
        seeds = [_encoded(kind, Image.fromarray(PIXELS).convert(mode)) for mode in modes]
        if kind in ("JPEG", "TIFF", "GIF", "WEBP"):
            frames = [Image.fromarray(PIXELS + number) for number in range(3)]
            more = {"progressive": True} if kind == "JPEG" else {"save_all": True, "append_images": frames}
            seeds.append(_encoded(kind, frames[0], **more))
        if kind in ("PNG", "TIFF"):
            seeds.append(_encoded(kind, Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 200)))
        found.append(Target(f"image.{suffix}", seeds, read))
    return [*found, Target("video.mp4", [_video(folder / "video.mp4")], play)]


def _encoded(kind: str, image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _video(path: Path) -> bytes:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for number in range(8):
            frame = av.VideoFrame.from_ndarray(np.roll(PIXELS, number, 0), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def _labels(folder: Path) -> list[Target]:
    image = _encoded("PNG", Image.fromarray(PIXELS))
    yaml = b"train: images\nkpt_shape: [3, 3]\nnames: {0: animal}\nflip_idx: [0, 2, 1]\n"
    rows = b"0 0.5 0.5 0.4 0.4 0.1 0.2 2 0.3 0.4 1 0 0 0\n"

    def read(path: Path, _: Path) -> None:
        read_labels(path, on_error="skip")

    def read_folder(path: Path, _: Path) -> None:
        read_labels(path.parent, on_error="skip")

    def read_slp(path: Path, _: Path) -> None:
        """Read in this process what is otherwise read in one of its own, which takes a second to start."""
        sleap.read_in_process(path, RowErrors(str(path), "skip"), None)

    def read_yolo(path: Path, _: Path) -> None:
        read_labels(path.parents[path.name == "a.txt"] / "data.yaml", on_error="skip")

    points: list[list[float]] = [[3.5, 4.0, 2], [7.25, 9.5, 1], [0, 0, 0]]
    flat = [value for point in points for value in point]
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 32, "height": 24}],
        "categories": [{"id": 1, "name": "animal", "keypoints": ["nose", "left", "right"], "skeleton": [[1, 2]]}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "keypoints": flat, "bbox": [1, 1, 9, 9]}],
    }
    shapes = [{"label": name, "points": [[3, 4]], "shape_type": "point", "group_id": 1} for name in ("nose", "tail")]
    labelme = {"version": "5.0", "imagePath": "a.png", "imageWidth": 32, "imageHeight": 24, "shapes": shapes}
    labelme |= {"flags": {}, "imageData": None}
    openpose = {"version": 1.3, "people": [{"pose_keypoints_2d": [1.0, 2.0, 0.9] * 25}]}
    cvat = (
        '<annotations><version>1.1</version><image id="0" name="a.png" width="32" height="24">'
        '<skeleton label="animal"><points label="nose" points="3.5,4.0" occluded="0" outside="0"/><points label="left" '
        'points="1,2" occluded="1" outside="0"/></skeleton></image></annotations>'
    )
    dlc = "scorer,anna,anna,anna,anna\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\nlabeled-data/a/img1.png,1,2,3,4\n"
    texts = {
        "labels.csv": ["image,nose_x,nose_y,tail_x,tail_y\na.png,1,2,3,4\nb.png,5,,7,8\n", dlc],
        "long.csv": ["image,keypoint,x,y\na.png,nose,1,2\na.png,tail,3,4\n"],
        "coco.json": [json.dumps(coco)],
        "cvat.xml": [cvat],
        "labels.tps": ["LM=2\n1.5 2.5\n3 4\nIMAGE=a.png\nID=0\n"],
    }
    beside = {"a.png": image}
    found = [Target(name, [text.encode() for text in seeds], read, beside=beside) for name, seeds in texts.items()]
    for name, content in {"a.json": labelme, "a_keypoints.json": openpose}.items():
        found.append(Target(name, [json.dumps(content).encode()], read_folder, beside=beside))
    found.append(Target("data.yaml", [yaml], read_yolo, beside={"images/a.png": image, "labels/a.txt": rows}))
    found.append(Target("labels/a.txt", [rows], read_yolo, beside={"images/a.png": image, "data.yaml": yaml}))
    config = b"scorer: anna\nskeleton:\n- [nose, tail]\nbodyparts: [nose, tail]\n"
    found.append(Target("config.yaml", [config], read, beside={"labeled-data/a/CollectedData_anna.csv": dlc.encode()}))
    found.append(Target("labels.slp", [_slp(folder / "labels.slp")], read_slp))
    return [*found, Target("labels.h5", [_h5(folder / "labels.h5")], read)]


def _h5(path: Path) -> bytes:
    with h5py.File(path, "w") as file:
        group = file.create_group("df")
        group.attrs.update({"pandas_type": "frame", "nblocks": 1})
        group["block0_values"] = np.arange(8.0).reshape(2, 4)
        columns, rows = [("s", "s"), ("nose", "tail"), ("x", "y")], [("labeled-data",), ("a",), ("b.png", "c.png")]
        for axis, levels, counts in (("block0_items", columns, [4, 2, 1]), ("axis1", rows, [2, 2, 1])):
            group.attrs[f"{axis}_nlevels"] = 3
            for number, (level, count) in enumerate(zip(levels, counts, strict=True)):
                group[f"{axis}_level{number}"] = np.array([text.encode() for text in level])
                group[f"{axis}_label{number}"] = (np.arange(counts[0]) // count % len(level)).astype(np.int8)
        group["block0_values"].attrs["transposed"] = True
    return path.read_bytes()


def _slp(path: Path) -> bytes:
    import sleap_io

    skeleton = sleap_io.Skeleton([sleap_io.Node(name) for name in ("nose", "tail")])
    video = sleap_io.Video("a.mp4", open_backend=False)
    video.backend_metadata["shape"] = (2, 24, 32, 3)
    instances = [sleap_io.Instance.from_numpy(np.array([[1.0, 2], [3, 4]]) + n, skeleton) for n in range(2)]
    frames = [sleap_io.LabeledFrame(video, number, [one]) for number, one in enumerate(instances)]
    sleap_io.save_slp(sleap_io.Labels(frames), str(path))
    return path.read_bytes()


def _models(folder: Path) -> list[Target]:
    source = folder / "source.ckpt"
    source.write_bytes(gzip.decompress((ROOT / "tests/assets/version_0_1.ckpt.gz").read_bytes()))
    checkpoint = read_checkpoint(source)
    shared = save_pretrained(checkpoint, folder / "shared")
    export(checkpoint, load_predictor(checkpoint), folder / "model.onnx", ExportOptions())
    parts = {name: (shared / name).read_bytes() for name in ("config.json", "model.safetensors")}

    def read_shared(path: Path, _: Path) -> None:
        read_checkpoint(path.parent)

    def run(path: Path, _: Path) -> None:
        load(path, threads=1)(PIXELS)

    maps = io.BytesIO()
    np.save(maps, np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    return [
        Target("maps.npy", [maps.getvalue()], lambda path, _: load_maps(path)),
        Target("last.ckpt", [source.read_bytes()], lambda path, _: read_checkpoint(path)),
        Target("config.json", [parts["config.json"]], read_shared, beside=parts),
        Target("model.safetensors", [parts["model.safetensors"]], read_shared, beside=parts),
        Target("model.onnx", [(folder / "model.onnx").read_bytes()], run),
    ]


def _archives() -> Target:
    files: list[dict[str, bytes]] = [{"set/a.csv": b"image,nose_x,nose_y\n"}, {"set/b/c.txt": bytes(5000)}]
    seeds = [_zip(names) for names in files] + [_tar(names, mode) for names in files for mode in ("w", "w:gz", "w:xz")]
    return Target("set.archive", seeds, lambda path, out: unpack(path, out, lambda name: name))


def _zip(content: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file.getvalue()


def _tar(content: dict[str, bytes], mode: Any) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def _index() -> Target:
    chunk = {"chunk_bytes": 100, "chunk_size": 2, "dim": None, "filename": "chunk-0-0.bin"}
    config: dict[str, Any] = {
        "compression": None,
        "chunk_size": None,
        "chunk_bytes": 1000,
        "data_format": ["bytes", "bytes"],
    }
    leaf: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
    spec = {"type": "builtins.dict", "context": '["image", "label"]', "children_spec": [leaf, leaf]}
    config |= {"data_spec": json.dumps([1, spec])}
    seed = json.dumps({"chunks": [chunk], "config": config, "updated_at": "1"}).encode()
    return Target("index.json", [seed], lambda path, _: check_index(path.read_bytes(), str(path)))
