"""Valid and hostile inputs of every reader, which benchmarks/mutations.py damages."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import av
import h5py
import numpy as np
from PIL import Image

from softpoint.data.shards.reader import check_index
from softpoint.datasets.unpack import unpack
from softpoint.images.containers import page_names
from softpoint.images.decode import image_size, read_image
from softpoint.images.video import Video
from softpoint.inference.checkpoint import read_checkpoint
from softpoint.inference.export import ExportOptions, export
from softpoint.inference.predictor import load_predictor
from softpoint.inference.pretrained import save_pretrained
from softpoint.labels.formats import read_labels
from softpoint.runtime import load

ROOT = Path(__file__).parents[1]
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


class Target(NamedTuple):
    """A reader: it is called with the path of a file, one of `seeds` after damage, and a folder to write to."""

    name: str  # of the file that it reads
    seeds: list[bytes]
    read: Callable[[Path, Path], Any]


def targets(folder: Path) -> list[Target]:
    """Return all readers, with seeds that are made in `folder`."""
    return [*_images(folder), *_labels(folder), *_models(folder), *_archives(), _index()]


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
    yolo: dict[str, bytes] = {
        "data.yaml": b"train: images\nkpt_shape: [3, 3]\nnames: {0: animal}\nflip_idx: [0, 2, 1]\n"
    }
    yolo["labels/a.txt"] = b"0 0.5 0.5 0.4 0.4 0.1 0.2 2 0.3 0.4 1 0 0 0\n"

    def read(path: Path, _: Path) -> None:
        """Read a file beside its image, or its folder where that is the format."""
        (path.parent / "a.png").write_bytes(image)
        if path.name in ("a.json", "a_keypoints.json"):
            path = path.parent
        if path.name in ("data.yaml", "a.txt"):
            for name, content in {"images/a.png": image, **yolo}.items():
                place = path.parent / name
                place.parent.mkdir(exist_ok=True)
                if place.name != path.name:
                    place.write_bytes(content)
                elif place != path:
                    place.write_bytes(path.read_bytes())
            path = path.parent / "data.yaml"
        read_labels(path, on_error="skip")

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
    entity = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd"><!ENTITY c "&b;&b;&b;">]>' + cvat.replace(
        "nose", "&c;"
    )
    dlc = "scorer,anna,anna,anna,anna\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\nlabeled-data/a/img1.png,1,2,3,4\n"
    texts = {
        "labels.csv": ["image,nose_x,nose_y,tail_x,tail_y\na.png,1,2,3,4\nb.png,5,,7,8\n", dlc],
        "long.csv": ["image,keypoint,x,y\na.png,nose,1,2\na.png,tail,3,4\n"],
        "coco.json": [json.dumps(coco)],
        "a.json": [json.dumps(labelme)],
        "a_keypoints.json": [json.dumps(openpose)],
        "cvat.xml": [cvat, entity],
        "labels.tps": ["LM=2\n1.5 2.5\n3 4\nIMAGE=a.png\nID=0\n"],
        "data.yaml": [
            yolo["data.yaml"].decode(),
            "!!python/object/apply:os.system ['touch canary']\n",
        ],
    }
    texts["a.txt"] = [yolo["labels/a.txt"].decode()]
    found = [Target(name, [text.encode() for text in seeds], read) for name, seeds in texts.items()]
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
        group["pickled"] = np.frombuffer(_trap(), np.uint8)
    return path.read_bytes()


def _trap() -> bytes:
    """Return a pickle that would write a file."""
    return b"\x80\x02cposix\nsystem\nX\x0c\x00\x00\x00touch canary\x85R."


def _models(folder: Path) -> list[Target]:
    source = folder / "source.ckpt"
    source.write_bytes(gzip.decompress((ROOT / "tests/assets/version_0_1.ckpt.gz").read_bytes()))
    checkpoint = read_checkpoint(source)
    shared = save_pretrained(checkpoint, folder / "shared")
    export(checkpoint, load_predictor(checkpoint), folder / "model.onnx", ExportOptions())
    trap = io.BytesIO()
    with zipfile.ZipFile(trap, "w") as archive:
        archive.writestr("x/data.pkl", _trap())

    def read_shared(path: Path, _: Path) -> None:
        for name in ("config.json", "model.safetensors"):
            if name != path.name:
                (path.parent / name).write_bytes((shared / name).read_bytes())
        read_checkpoint(path.parent)

    def run(path: Path, _: Path) -> None:
        load(path, threads=1)(PIXELS)

    return [
        Target("last.ckpt", [source.read_bytes(), trap.getvalue(), _trap()], lambda path, _: read_checkpoint(path)),
        Target("config.json", [(shared / "config.json").read_bytes()], read_shared),
        Target("model.safetensors", [(shared / "model.safetensors").read_bytes()], read_shared),
        Target("model.onnx", [(folder / "model.onnx").read_bytes()], run),
    ]


def _archives() -> list[Target]:
    content = {
        "set/a.csv": b"image,nose_x,nose_y\n",
        "../../outside": b"x",
        "/outside": b"x",
        "set/b/c.txt": bytes(5000),
    }
    files = [dict(list(content.items())[:1]), content, {"set/b/c.txt": bytes(5000)}]
    seeds = [_zip(names) for names in files] + [_tar(names, mode) for names in files for mode in ("w", "w:gz", "w:xz")]
    return [Target("set.archive", seeds, lambda path, out: unpack(path, out, lambda name: name))]


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
        link = tarfile.TarInfo("set/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        if len(content) > 1:
            archive.addfile(link)
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
