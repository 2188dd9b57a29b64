"""Valid and hostile inputs of every reader, which benchmarks/mutations.py damages."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from hostile_images import hostile_images
from hostile_labels import hostile_labels
from hostile_models import hostile_models
from label_seeds import label_targets
from mutation_target import SECRET, Target
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
from softpoint.runtime import load

ROOT = Path(__file__).parents[1]
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def targets(folder: Path) -> list[Target]:
    """Return all readers, with seeds that are made in `folder`."""
    secret = folder / SECRET
    secret.write_bytes(b"secret")
    found = [
        *_images(folder),
        *label_targets(folder, _encoded("PNG", Image.fromarray(PIXELS))),
        *_models(folder),
        _archives(),
        _index(),
    ]
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
        for _frame in Video(path, 1_000_000).play():
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
