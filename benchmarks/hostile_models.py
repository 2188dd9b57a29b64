"""Models, arrays and archives that a stranger might send, by the name of the reader in benchmarks/mutation_seeds.py."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hostile_labels import NESTED, TRAP

Member = tuple[tarfile.TarInfo | zipfile.ZipInfo, bytes]


def hostile_models(secret: Path, valid: dict[str, bytes]) -> dict[str, list[bytes]]:
    """Return hostile files of each kind, by changes of `valid` ones; `secret` is a file that none may open."""
    return {
        "last.ckpt": [TRAP, *map(_checkpoint, _pickles()), _checkpoint(bytes(1 << 28), zipfile.ZIP_DEFLATED)],
        "config.json": _configs(valid["config.json"], secret),
        "model.safetensors": _safetensors(valid["model.safetensors"]),
        "model.onnx": _onnx(valid["model.onnx"], secret),
        "maps.npy": _arrays(),
        "set.archive": [*_zips(), *_tars(secret)],
        "index.json": _indices(valid["index.json"], secret),
    }


def _pickles() -> list[bytes]:
    """Return pickles of great depth and length, and of names beside those of tensors."""
    names = [
        b"builtins\neval",
        b"torch\nload",
        b"torch.storage\n_load_from_bytes",
        b"numpy\nload",
        b"builtins\ngetattr",
    ]
    deep = b"".join(b"\x80\x02" + start * 100_000 + b"." for start in (b"(", b"]", b"}", b")\x85"))
    return [
        TRAP,
        *(b"\x80\x02c" + name + b"\nX\x01\0\0\0a\x85R." for name in names),
        deep,
        b"\x80\x02" + b")" + b"2\x86" * 200 + b".",  # a tuple of itself twice, 200 times
        b"\x80\x02" + b"\x8b" + struct.pack("<i", 1 << 30) + b"1" * 1000 + b".",
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".",
        b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        b"\x80\x02ctorch\nFloatTensor\nJ\xff\xff\xff\x7f\x85R.",
        b"\x80\x02r\xff\xff\xff\x7f.",
        pickle.dumps(list(range(500_000)), 2),
    ]


def _checkpoint(content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    return _zip([("x/data.pkl", content), ("x/version", b"3\n"), ("x/byteorder", b"little")], compression)


def _configs(valid: bytes, secret: Path) -> list[bytes]:
    """Return configs whose network is another class, of any size, or with files as arguments."""
    config = json.loads(valid)
    classes = ("os.system", "builtins.eval", "softpoint.runtime.load", "torch.hub.load", "softpoint.models.os.system")
    found = [_with(config, "_target_", value) for value in classes]
    for key in ("channels", "width", "num_keypoints", "stages", "size", "keypoints"):
        found += [_with(config, key, value) for value in (10**9, -1, 1e308, [10**6] * 50, "9" * 1000, str(secret))]
    found += [_with(config, "pretrained", True), _with(config, "folder", str(secret.parent))]
    return [*found, NESTED, valid.replace(b"{", b'{"a": ' + b"9" * 100_000 + b",", 1), b"\xff\xfe" + bytes(1000)]


def _with(node: Any, key: str, value: Any) -> bytes:
    """Return JSON in which every `key` has a value, the outermost too."""

    def changed(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: value if name == key else changed(inner) for name, inner in node.items()}
        return [changed(inner) for inner in node] if isinstance(node, list) else node

    return json.dumps({**changed(node), **({} if key == "_target_" else {key: value})}).encode()


def _safetensors(valid: bytes) -> list[bytes]:
    length = struct.unpack("<Q", valid[:8])[0]
    header, data = json.loads(valid[8 : 8 + length]), valid[8 + length :]
    name = next(name for name in header if name != "__metadata__")

    def changed(**values: Any) -> bytes:
        return _headed(json.dumps(header | {name: header[name] | values}).encode(), data)

    return [
        *(struct.pack("<Q", size) + valid[8:] for size in (0, 1 << 63, (1 << 64) - 1, 99_999_999, len(valid))),
        changed(data_offsets=[0, 1 << 62]), changed(data_offsets=[1 << 40, 0]), changed(data_offsets=[-1, 4]),
        changed(shape=[1 << 31, 1 << 31, 4]), changed(shape=[0] * 1000), changed(dtype="X" * 1000), changed(shape=[]),
        _headed(json.dumps(header | {"__metadata__": {"a": "b" * 5_000_000}}).encode(), data),
        _headed(json.dumps({f"t{n}": header[name] for n in range(100_000)}).encode(), data),
        _headed(NESTED, data), _headed(b"{" + b'"a":1,' * 10_000 + b'"b":2}', data),
    ]  # fmt: skip


def _headed(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def _onnx(valid: bytes, secret: Path) -> list[bytes]:
    """Return models whose weights are in files elsewhere, or whose metadata are deep or huge."""
    import onnx

    found = []
    for place in (str(secret), "../" * 5 + "secret", "/dev/zero"):
        model = onnx.load_from_string(valid)
        weights = model.graph.initializer[0]
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": place, "offset": "0", "length": str(1 << 40)}.items():
            weights.external_data.add(key=key, value=value)
        found.append(model.SerializeToString())
    for content in (NESTED.decode(), "9" * 100_000, '{"size": [1e9, 1e9]}', '{"a":' * 20_000):
        model = onnx.load_from_string(valid)
        for entry in model.metadata_props:
            entry.value = content
        found.append(model.SerializeToString())
    return found


def _arrays() -> list[bytes]:
    """Return .npy files of pickles, of shapes beyond any memory, and with headers of great depth."""

    def array(header: str | bytes, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
        text = header.encode() if isinstance(header, str) else header
        return b"\x93NUMPY" + version + struct.pack("<H" if version == b"\1\0" else "<I", len(text)) + text + data

    fields = "{'descr': %s, 'fortran_order': False, 'shape': %s}\n"
    nested, objects = "(" * 9000 + ")" * 9000, array(fields % ("'|O'", "(1,)"), TRAP)
    zipped = io.BytesIO()
    np.savez_compressed(zipped, a=np.zeros(1 << 24))
    return [
        objects, TRAP, zipped.getvalue(), _zip([("a.npy", objects)]),
        *(array(fields % ("'<f4'", shape), bytes(64)) for shape in (
            "(1000000000, 1000000000)", "(-1, -1)", "(4, 4, 1e9)", "(9**9**9, 4)", f"({'9' * 5000}, 4)", nested, "()",
        )),
        array(fields % ("[('a', '<f4', (1000000000,))]", "(2, 2)")), array(fields % (f"'V{1 << 31}'", "(2, 2)")),
        array(fields % ("'<f4'", "(4, 4)") + "#" * 60_000, bytes(64)), array("__import__('os').system('touch canary')"),
        array("[" * 60_000), array("-" * 60_000 + "1"), array(b"\xff" * 100, version=b"\3\0"),
        b"\x93NUMPY\2\0\xff\xff\xff\xff{",
    ]  # fmt: skip


def _zip(files: Sequence[tuple[str | zipfile.ZipInfo, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in files:
            archive.writestr(name, data, compression)
    return file.getvalue()


def _zips() -> list[bytes]:
    """Return archives of paths outside, links, devices, and content that is far larger than they are."""
    names = ("../../outside", "/outside", "C:\\outside", "a/../../outside", "a\0b", "con", "a" * 5000, "\u202ea")
    found = [_zip([("set/a.csv", b"a"), (name, b"x")]) for name in names]
    for mode in (0o120777, 0o020666, 0o010666):  # a link, a device and a pipe
        entry = zipfile.ZipInfo("set/link")
        entry.external_attr = mode << 16
        found.append(_zip([(entry, b"/etc"), ("set/link/a", b"x")]))
    inner = _zip([("a", bytes(1 << 26))], zipfile.ZIP_DEFLATED)
    many = _zip([(f"a{number}", b"") for number in range(20_000)])
    large = _zip([("a", bytes(1 << 28))], zipfile.ZIP_DEFLATED)
    lying = large.replace(struct.pack("<I", 1 << 28), struct.pack("<I", 10))
    return [*found, inner, _zip([("a.zip", inner), ("b.zip", inner)]), many, large, lying, b"PK\5\6" + b"\xff" * 18]


def _tars(secret: Path) -> list[bytes]:
    def packed(*entries: dict[str, Any], mode: Any = "w", data: bytes = b"x") -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode, format=tarfile.GNU_FORMAT) as archive:
            for entry in entries:
                member = tarfile.TarInfo(entry["name"])
                member.size = len(data)
                for name, value in entry.items():
                    setattr(member, name, value)
                archive.addfile(member, io.BytesIO(data) if member.isreg() else None)
        return file.getvalue()

    large = tarfile.TarInfo("a")
    large.size = 1 << 31
    claimed = large.tobuf()
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE)
    above = "../" * 5
    return [
        *(packed({"name": name}) for name in ("../../outside", "/outside", above + "outside", "a" * 50_000)),
        *(packed({"name": "a", "type": kind, "linkname": place}) for kind in kinds for place in (str(secret), above)),
        packed({"name": "a", "type": tarfile.SYMTYPE, "linkname": above}, {"name": "a/outside"}),
        packed({"name": "a", "type": tarfile.LNKTYPE, "linkname": str(secret)}, {"name": "a"}),
        packed({"name": "a"})[:124] + b"77777777777\0" + packed({"name": "a"})[136:],
        *(
            compress(claimed) + compress(bytes(1 << 22)) * 512
            for compress in (gzip.compress, bz2.compress, lzma.compress)
        ),
        lzma.compress(packed({"name": "a"}), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]),
        packed({"name": "a", "mode": 0o6777, "uid": 0}),
        packed({"name": "a"}, {"name": "a/b"}),
    ]


def _indices(valid: bytes, secret: Path) -> list[bytes]:
    index = json.loads(valid)
    places = (str(secret), "../" * 5 + "secret", "a\0.bin", "s3://bucket/a.bin", "a" * 100_000 + ".bin")
    found = [json.dumps(index | {"chunks": [index["chunks"][0] | {"filename": name}]}).encode() for name in places]
    sizes: list[Any] = [10**300, -1, 1e308, [], "9" * 1000, None]
    for value in sizes:
        found.append(json.dumps(index | {"chunks": [index["chunks"][0] | {"chunk_size": value}]}).encode())
    return [*found, json.dumps(index | {"chunks": index["chunks"] * 100_000}).encode(), NESTED]
