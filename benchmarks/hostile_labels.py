"""Label files that a stranger might send, by the name of the reader in benchmarks/mutation_seeds.py."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

DEPTH, DIGITS = 100_000, 1_000_000
JSON = ("studio.json", "via.json", "hrnet.json", "results.json")
TRAP = b"\x80\x02cposix\nsystem\nX\x0c\x00\x00\x00touch canary\x85R."  # a pickle that would write a file
NESTED = b"[" * DEPTH + b"]" * DEPTH


def hostile_labels(folder: Path, secret: Path, valid: dict[str, bytes]) -> dict[str, list[bytes]]:
    """Return hostile labels of each kind, by changes of `valid` ones; `secret` is a file that none may open."""
    return {
        "labels.csv": [
            b"image,nose_x,nose_y\na.png," + b"1" * 100_000_000,
            b"image,nose_x,nose_y\n" + b'"a,' * 1_000_000,
            b"image," + b",".join(b"k%d_x,k%d_y" % (n, n) for n in range(200_000)) + b"\na.png" + b",1" * 400_000,
            b"image,nose_x,nose_y\n" + bytes(5_000_000),
            b"image,nose_x,nose_y\n%s,1,2\n../../../../../secret,1,2\n=cmd|'/C sh'!A0,1,2\n" % bytes(secret),
            b"image,nose_x,nose_y\na.png,1e999,-1e999\na.png,0x10,1_0\n",
        ],
        "long.csv": [b"image,keypoint,x,y\n" + b"".join(b"a.png,k%d,1,2\n" % n for n in range(200_000))],
        "coco.json": [*_json(valid["coco.json"]), *_coco(valid["coco.json"], secret)],
        **{name: _json(valid[name]) for name in ("a.json", "a_keypoints.json", *JSON)},
        "cvat.xml": _xml(valid["cvat.xml"], secret),
        "dlib.xml": _xml(valid["dlib.xml"], secret),
        "a.pts": [b"n_points: 99999999999\n{\n1 2\n}\n", b"n_points: 1000000\n{\n" + b"1 2\n" * 1_000_000 + b"}\n"],
        "labels.tps": [
            b"LM=99999999999\n1 2\nIMAGE=a.png\n",
            b"LM=1\n" + b"1 " * 5_000_000 + b"\nIMAGE=a.png\n",
            b"LM=1\n1 2\nIMAGE=%s\n" % bytes(secret),
        ],
        "data.yaml": [*_yaml(valid["data.yaml"]), valid["data.yaml"].replace(b"images", bytes(secret))],
        "config.yaml": _yaml(valid["config.yaml"]),
        "labels/a.txt": [b"0" + b" 0.5" * 2_000_000, b"9" * DIGITS, b"0 " * 30 + b"\n" * 2_000_000],
        "labels.h5": _hdf5(folder / "hostile.h5", secret, valid["labels.h5"], "df"),
        "labels.slp": _hdf5(folder / "hostile.slp", secret, valid["labels.slp"], "frames"),
        "labels.nwb": [
            hostile
            for part in ("Skeletons/mouse/nodes", "PoseTraining/training_frames/0/skeleton_instances/0/node_locations")
            for hostile in _hdf5(folder / "hostile.nwb", secret, valid["labels.nwb"], f"processing/behavior/{part}")
        ],
        "labels.mat": _mat(valid["labels.mat"]),
    }


def _json(valid: bytes) -> list[bytes]:
    """Return a file of the same keys with values of great depth and length."""
    outer = json.loads(valid)
    content = outer[0] if isinstance(outer, list) else outer
    key = next(key for key in content if isinstance(content[key], list | dict))
    found = [NESTED, b'{"a":' * DEPTH + b"1" + b"}" * DEPTH, valid.replace(b"1", b"9" * DIGITS, 1), b"9" * DIGITS]
    for value in (NESTED, b"[" * 900 + b"]" * 900, b"1e999999", b'"\\ud800\\u0000"', b"[" + b"{}," * 300_000 + b"{}]"):
        changed = json.dumps(content | {key: "HERE"}).encode().replace(b'"HERE"', value)
        found.append(b"[" + changed + b"]" if isinstance(outer, list) else changed)
    found.append(b"{" + b",".join(b'"k%d":0' % number for number in range(200_000)) + b',"k0":1}')
    return found


def _coco(valid: bytes, secret: Path) -> list[bytes]:
    def changed(part: str, **values: Any) -> bytes:
        content = json.loads(valid)
        content[part][0] |= values
        return json.dumps(content).encode()

    return [
        changed("images", file_name=str(secret)),
        changed("images", file_name="../" * 5 + "secret"),
        changed("images", width=10**300, height=1e308),
        changed("categories", keypoints=[f"k{n}" for n in range(100_000)]),
        changed("categories", skeleton=[[1, 2]] * 500_000),
        changed("annotations", keypoints=[1] * 3_000_000),
        changed("annotations", bbox=[-1e308, -1e308, 1e308, 1e308]),
        changed("annotations", segmentation={"size": [10**9, 10**9], "counts": "~" * 10}, id=10**300),
    ]


def _xml(valid: bytes, secret: Path) -> list[bytes]:
    """Return entities that stand for endless text or for a file, and elements of great depth and length."""
    bomb = b"".join(b'<!ENTITY e%d "%s">' % (n + 1, b"&e%d;" % n * 10) for n in range(9))
    named = valid.replace(b"nose", b"&e9;")
    entities = [
        b'<!DOCTYPE a [<!ENTITY e0 "lol">%s]>' % bomb + named,
        b'<!DOCTYPE a [<!ENTITY e9 "%s">]>' % (b"a" * 100_000) + valid.replace(b"nose", b"&e9;" * 10_000),
        b'<!DOCTYPE a [<!ENTITY e9 SYSTEM "file://%s">]>' % bytes(secret) + named,
        b'<!DOCTYPE a [<!ENTITY %% e SYSTEM "file://%s"> %%e;]>' % bytes(secret) + valid,
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">' + valid,
    ]
    hidden = [f'<?xml version="1.0" encoding="utf-16"?>{text.decode()}'.encode("utf-16") for text in entities]
    deep = b"<skeleton>" * DEPTH + b"</skeleton>" * DEPTH
    return [
        *entities, *hidden, valid.replace(b"<skeleton", deep + b"<skeleton", 1), b"<annotations>" * DEPTH,
        valid.replace(b"<image", b"<image " + b" ".join(b'a%d=""' % n for n in range(100_000)), 1),
        valid.replace(b"3.5,4.0", b";".join([b"1,2"] * 500_000)), valid.replace(b"32", b"9" * DIGITS),
        valid.replace(b"a.png", bytes(secret)), b'<?xml version="1.0" encoding="rot13"?>' + valid,
        b"<!-- -->" * 5000 + b"<other>", b"<!--" * 10_000, b"<?a?>" * 10_000, b" " * 60_000,
    ]  # fmt: skip


def _yaml(valid: bytes) -> list[bytes]:
    """Return aliases that stand for endless lists, objects of Python, and values of great depth and length."""
    laughs = b"".join(b"e%d: &e%d [%s]\n" % (n + 1, n + 1, b", ".join([b"*e%d" % n] * 10)) for n in range(9))
    merged = b"".join(b"m%d: &m%d\n  <<: [%s]\n" % (n + 1, n + 1, b", ".join([b"*m%d" % n] * 9)) for n in range(9))
    key = valid.rsplit(b"\n", 2)[1].split(b":")[0]
    return [
        b"!!python/object/apply:os.system ['touch canary']\n",
        valid + b"x: !!python/object/new:subprocess.Popen [['touch', 'canary']]\n",
        b"e0: &e0 lol\n" + laughs + valid.replace(key + b":", key + b": *e9 #", 1),
        b"m0: &m0 {a: 1}\n" + merged + valid,
        valid + b"self: &s [*s, *s]\n",
        valid + b"x: " + NESTED + b"\n",
        valid + b"- " * 20_000 + b"\n",
        valid + b"x: " + b"9" * 100_000 + b"\ny: " + b"1:" * 50_000 + b"1\n",
        valid + b"? " * 5000 + b"\n",
        valid + b"".join(b"k%d: &k%d 1\n" % (n, n) for n in range(200_000)),
    ]


def _hdf5(path: Path, secret: Path, valid: bytes, name: str) -> list[bytes]:
    """Return the valid file with a part that leads elsewhere, to itself, or to more than fits."""

    def changed(change: Callable[[h5py.File], object]) -> bytes:
        path.write_bytes(valid)
        with h5py.File(path, "r+") as file:
            change(file)
        return path.read_bytes()

    def replaced(file: h5py.File, link: Any) -> None:
        del file[name]
        file[name] = link

    def tables(file: h5py.File, **options: Any) -> None:
        for place in [name] if isinstance(file[name], h5py.Dataset) else [f"{name}/{part}" for part in file[name]]:
            kind = file[place].dtype
            shape = options.get("shape", file[place].shape)
            del file[place]
            file.create_dataset(place, dtype=kind, **{"shape": shape} | options)

    layout = h5py.VirtualLayout(shape=(8,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(secret), "a", shape=(8,))
    return [
        changed(lambda file: replaced(file, h5py.ExternalLink(str(secret), "/a"))),
        changed(lambda file: replaced(file, h5py.SoftLink(f"/{name}"))),
        changed(lambda file: file.update({"a": h5py.SoftLink("/b"), "b": h5py.SoftLink("/a")})),
        changed(lambda file: file.create_group("loop").update({"again": file["/"]})),
        changed(lambda file: tables(file, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])),
        changed(lambda file: file.create_virtual_dataset("virtual", layout)),
        changed(lambda file: tables(file, shape=(1 << 40,), chunks=(1 << 16,))),
        changed(lambda file: tables(file, shape=(20_000_000,), chunks=(1 << 18,), compression="gzip")),
        changed(lambda file: [file.attrs.update({f"a{n}": "x" * 60_000}) for n in range(20)]),
        changed(lambda file: file.update({"pickled": np.frombuffer(TRAP, np.uint8)})),
        changed(lambda file: [file.create_group(f"g{n}") for n in range(2000)]),
    ]


def _mat(valid: bytes) -> list[bytes]:
    """Return MATLAB files that unpack to gigabytes, claim more than they hold, or nest without end."""
    packed, part = zlib.compress(bytes(1 << 28), 9), struct.Struct("<II")
    nested = b"".join(part.pack(14, 1 << 20) + part.pack(6, 8) + part.pack(1, 0) for _ in range(5000))
    return [
        valid[:128] + part.pack(15, len(packed)) + packed,
        valid + (part.pack(15, len(packed)) + packed) * 8,
        valid[:128] + part.pack(14, 0xFFFFFFFF) + bytes(100),
        valid[:128] + nested,
        valid[:128] + part.pack(15, len(zlib.compress(nested))) + zlib.compress(nested),
    ]
