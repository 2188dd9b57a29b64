"""Checkpoints made to harm whoever opens them end in one clear ValueError, before torch or a network sees them."""

from __future__ import annotations

import copy
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.training import composed, tiny
from softpoint.inference import read_checkpoint, safe_load

Change = Callable[[dict[str, Any]], object]


class Trap:
    """Leaves a file behind wherever it is unpickled."""

    def __init__(self, fuse: Path) -> None:
        self.fuse = fuse

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.fuse}",)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if torch is given a file."""
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch was given the file"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of torch.save with one tensor of 4 numbers."""
    path = tmp_path_factory.mktemp("small") / "small.ckpt"
    torch.save({"a": torch.arange(4.0)}, path)
    return path


def refused(path: Path) -> str:
    """Return the error of reading a hostile file, which is short and names the file."""
    with pytest.raises(ValueError) as error:
        read_checkpoint(path)
    assert path.name in str(error.value) and len(str(error.value)) < 1500 and "\n" not in str(error.value)
    return str(error.value)


def archive(path: Path, described: bytes, record: bytes = bytes(16), **entries: bytes) -> Path:
    """A file as torch.save lays it out, with this description and 16 bytes for tensors under the key 0."""
    content = {"data.pkl": described, "byteorder": b"little", "data/0": record, "version": b"3\n"} | entries
    with zipfile.ZipFile(path, "w") as file:
        for name, data in content.items():
            file.writestr(f"x/{name}", data)
    return path


def tensor(size: bytes = b"K\x04\x85", stride: bytes = b"K\x01\x85", offset: bytes = b"K\x00", count: bytes = b"K\x04"):
    """The description of a dictionary with one float tensor `a`."""
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + count + b"tQ"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + size + stride
    return b"\x80\x02}X\x01\x00\x00\x00a" + made + b"\x89ccollections\nOrderedDict\n)RtRs."


def number(value: int) -> bytes:
    """A whole number of 64 bits in pickle's language."""
    return b"\x8a\x08" + struct.pack("<q", value)


def test_the_valid_form_of_these_files_is_read(tmp_path: Path, small: Path) -> None:
    path = archive(tmp_path / "x.ckpt", tensor())
    assert torch.equal(safe_load.read_torch_file(path)["a"], torch.zeros(4))
    assert torch.equal(safe_load.read_torch_file(small)["a"], torch.arange(4.0))


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool"])
def test_tensors_of_all_shapes_and_types_are_read(tmp_path: Path, kind: str) -> None:
    base = torch.randint(0, 2, (2, 3, 4, 5)).to(getattr(torch, kind))
    shapes = {"whole": base, "part": base[1, :, 1:3], "turned": base.permute(0, 2, 3, 1), "scalar": base[0, 0, 0, 0]}
    shapes |= {"empty": base[:0], "last": base.contiguous(memory_format=torch.channels_last)}
    torch.save({"state": shapes, "n": -(2**40), "f": 0.5, "t": (1, "é", None, True)}, tmp_path / "x.ckpt")
    actual = safe_load.read_torch_file(tmp_path / "x.ckpt")
    assert all(torch.equal(actual["state"][name], shapes[name]) for name in shapes)
    assert (actual["n"], actual["f"], actual["t"]) == (-(2**40), 0.5, (1, "é", None, True))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_are_not_run(tmp_path: Path, protocol: int, unread: None) -> None:
    fuse, path = tmp_path / "sprung", tmp_path / "trap.ckpt"
    for thing in (Trap(fuse), {"state_dict": [{"x": Trap(fuse)}]}, {Trap: 1}):
        path.write_bytes(pickle.dumps(thing, protocol))
        assert "nothing in it was run" in refused(path)
        assert "nothing in it was run" in refused(archive(path, pickle.dumps(thing, protocol)))
    assert not fuse.exists()


def test_older_formats_of_torch_are_refused(tmp_path: Path, stored: dict[str, Any], unread: None) -> None:
    torch.save(stored, tmp_path / "legacy.ckpt", _use_new_zipfile_serialization=False)
    assert "no archive of torch.save" in refused(tmp_path / "legacy.ckpt")
    (tmp_path / "tar.ckpt").write_bytes(b"storages".ljust(257, b"\0") + b"ustar" + bytes(762))
    assert "no archive of torch.save" in refused(tmp_path / "tar.ckpt")


# What torch's own reader with weights_only=True would build, or spend hours on.
HUNGRY = [
    (b"\x80\x02cbuiltins\nbytearray\n" + number(1 << 40) + b"\x85R.", "names 'builtins bytearray'"),
    (b"\x80\x02ctorch\nFloatTensor\n" + number(1 << 40) + b"\x85R.", "names 'torch FloatTensor'"),
    (b"\x80\x02ctorch._utils\n_rebuild_sparse_tensor\n)R.", "names 'torch._utils _rebuild_sparse_tensor'"),
    (b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"K\x01s.", "nests more than"),
    (b"\x80\x02}" + b")" + b"q\x00h\x00\x86" * 40 + b"K\x01s.", "nests more than"),
    (b"\x80\x02}(" + b"K\x01" * 10_000 + b"tK\x01s.", "nests more than"),
]


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        *HUNGRY,
        (b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", "names 'builtins eval'"),
        (b"\x80\x02ctorch.hub\nload\n)R.", "names 'torch.hub load'"),
        (b"\x80\x02c" + b"a" * 100_000 + b"\nb\n.", "names 'aaa"),
        (b"\x80\x02(ios\nsystem\n.", "uses INST"),
        (b"\x80\x02\x8c\x02os\x8c\x06system\x93.", "uses SHORT_BINUNICODE"),
        (b"\x80\x02]\x81.", "uses NEWOBJ"),
        (b"\x80\x02\x82\x01.", "uses EXT1"),
        (b"\x80\x02K\x01" + b"2" * 1000 + b".", "uses DUP"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "load as tensors"),
        (b"\x80\x04}.", "uses PROTO"),
        (b"\x80\x02h\x05.", "damaged"),
        (b"\x80\x02a.", "damaged"),
        (b"\x80\x02(K\x01]\x85e.", "damaged"),
        (b"\x80\x02}", "load as tensors"),
        (b"", "load as tensors"),
    ],
)
def test_a_pickle_beyond_tensors_and_plain_values_is_not_given_to_torch(
    tmp_path: Path, pickled: bytes, reason: str, unread: None
) -> None:
    assert reason in refused(archive(tmp_path / "x.ckpt", pickled))


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".",
        b"\x80\x02}]K\x01s.",
        b"\x80\x02K\x01K\x02a.",
        b"\x80\x02]K\x01K\x02s.",
        b"\x80\x02}X\x04\x00\x00\x00dict\x85b.",
        b"\x80\x02ccollections\nOrderedDict\n](K\x01K\x02ee\x85R.",
        b"\x80\x02ccollections\nOrderedDict\n]\x85R.",
        b"\x80\x02}(X\x07\x00\x00\x00storageK\x01K\x02K\x03K\x04tQ.",
        tensor(count=b"K\x05"),
        tensor(count=number(1 << 40)),
        tensor(size=number(1 << 40) + b"\x85"),
        tensor(size=number(1 << 40) + b"\x85", stride=b"K\x00\x85"),
        tensor(size=(number(1 << 40) + number(1 << 40)) + b"\x86", stride=b"K\x00K\x00\x86"),
        tensor(size=b"K\x05\x85"),
        tensor(offset=b"K\x01"),
        tensor(offset=number(-1)),
        tensor(size=number(-4) + b"\x85"),
        tensor(stride=number(-1) + b"\x85"),
        tensor(stride=b")"),
        tensor(size=b"K\x04"),
    ],
)
def test_a_tensor_or_value_that_does_not_fit_the_file_is_refused(tmp_path: Path, pickled: bytes) -> None:
    refused(archive(tmp_path / "x.ckpt", pickled))


def test_a_pickle_is_of_bounded_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unread: None) -> None:
    monkeypatch.setattr(safe_load, "MAX_OPCODES", 100)
    assert "longer than 100 operations" in refused(archive(tmp_path / "x.ckpt", b"\x80\x02" + b"N" * 200 + b"."))
    monkeypatch.setattr(safe_load, "MAX_BYTES", 1000)
    assert "take 2003 bytes, where up to 1000 are read" in refused(
        archive(tmp_path / "x.ckpt", b"\x80\x02" + b"N" * 2000 + b".")
    )


def test_a_compressed_archive_is_refused_before_it_grows(tmp_path: Path, small: Path, unread: None) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x/data.pkl", tensor(count=number(1 << 22)))
        file.writestr("x/data/0", bytes(1 << 24))
    assert (tmp_path / "bomb.ckpt").stat().st_size < 1 << 16
    assert "is compressed, which torch.save never does" in refused(tmp_path / "bomb.ckpt")


@pytest.mark.parametrize(
    ("name", "message"), [("x/data/0", "share a name"), ("y/data/0", "share a name"), ("x/data/{}", "overlap")]
)
def test_entries_may_not_share_their_bytes(tmp_path: Path, name: str, message: str, unread: None) -> None:
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w") as file:
        file.writestr("x/data.pkl", tensor())
        file.writestr("x/data/0", bytes(10_000))
        for i in range(100):
            again = copy.copy(file.filelist[1])
            again.filename = name.format(i + 1)
            file.filelist.append(again)
    assert message in refused(tmp_path / "x.ckpt")


@pytest.mark.parametrize("first", [False, True])
def test_names_that_differ_only_in_case_are_refused(tmp_path: Path, first: bool, unread: None) -> None:
    """torch finds an entry in any case of its letters."""
    pickles = {"x/data.pkl": b"\x80\x02}.", "x/DATA.PKL": HUNGRY[0][0]}
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w") as file:
        for name in sorted(pickles, reverse=first):
            file.writestr(name, pickles[name])
    assert "share a name" in refused(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["x/DATA.PKL"], "has no data.pkl"),
        (["x/data.pkl", "y/other"], "several folders"),
        (["x/data.pkl\0y", "x/other"], "two names"),
    ],
)
def test_names_that_two_readers_may_read_differently_are_refused(
    tmp_path: Path, names: list[str], message: str, unread: None
) -> None:
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w") as file:
        for name in names:
            file.writestr("z" * len(name), b"\x80\x02}.")
    content = (tmp_path / "x.ckpt").read_bytes()
    for name in names:
        content = content.replace(b"z" * len(name), name.encode())
    (tmp_path / "x.ckpt").write_bytes(content)
    assert message in refused(tmp_path / "x.ckpt")


def test_a_value_that_is_not_plain_is_refused() -> None:
    with pytest.raises(ValueError, match="it holds a bytearray"):
        safe_load.check_values({"a": [bytearray(3)]})


def test_weights_that_share_their_memory_are_refused(changed: Callable[[Change], Path]) -> None:
    def share(stored: dict[str, Any]) -> None:
        numbers = torch.zeros(max(value.numel() for value in stored["state_dict"].values()))
        shared = {
            name: numbers[: value.numel()].view(value.shape) if value.is_floating_point() else value
            for name, value in stored["state_dict"].items()
        }
        core = {key: stored[key] for key in ("hyper_parameters", "skeleton", "size")}
        stored.clear()
        stored.update(core, state_dict=shared)

    assert "share their numbers" in refused(changed(share))


def test_an_archive_with_an_ambiguous_directory_is_refused(tmp_path: Path, small: Path, unread: None) -> None:
    content, path = small.read_bytes(), tmp_path / "x.ckpt"
    for changed in (b"junk" + content, content + b"\0", content + content[-22:], content[:-2] + b"\1\0x"):
        path.write_bytes(changed)
        assert "archive" in refused(path)
    for start, stop in ((-12, -10), (-98, -94), (-90, -42), (-34, -26)):
        altered = bytearray(content)
        altered[start:stop] = bytes(255 - byte for byte in altered[start:stop])
        path.write_bytes(altered)
        if start != -12:  # where both say how many entries there are, that of 64 bits counts
            assert "archive" in refused(path)


def test_an_archive_has_a_bounded_number_of_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unread: None
) -> None:
    path = archive(tmp_path / "x.ckpt", tensor(), **{f"data/{i}": b"" for i in range(1, 50)})
    monkeypatch.setattr(safe_load, "MAX_ENTRIES", 20)
    assert "impossible length" in refused(path)


@pytest.mark.parametrize("entries", [{"byteorder": b"big"}, {"byteorder": b""}])
def test_numbers_of_another_byte_order_are_refused(tmp_path: Path, entries: dict[str, bytes], unread: None) -> None:
    assert "another byte order" in refused(archive(tmp_path / "x.ckpt", tensor(), **entries))


def test_an_archive_without_a_pickle_is_refused(tmp_path: Path, unread: None) -> None:
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w") as file:
        file.writestr("x/other.pkl", tensor())
    assert "has no data.pkl" in refused(tmp_path / "x.ckpt")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_damage_to_a_pickle_is_a_value_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    pickled = bytearray(tensor())
    for _ in range(data.draw(st.integers(1, 4))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    path = archive(tmp_path_factory.mktemp("damaged") / "x.ckpt", bytes(pickled))
    try:
        safe_load.read_torch_file(path)
    except ValueError as error:
        assert len(str(error)) < 1500


def laughs(levels: int = 40) -> list[Any]:
    """Ten times the same list in the same list in the same ...: few bytes, more values than atoms."""
    node: list[Any] = [0]
    for _ in range(levels):
        node = [node] * 10
    return node


def circle() -> dict[str, Any]:
    node: dict[str, Any] = {}
    node["again"] = node
    return node


def deep() -> list[Any]:
    return json.loads("[" * 200 + "]" * 200)


@pytest.mark.parametrize("make", [laughs, circle, deep])
@pytest.mark.parametrize(
    "place",
    [
        lambda c, x: c.update(more=x),
        lambda c, x: c.update(size=x),
        lambda c, x: c.update(hyper_parameters=x),
        lambda c, x: c["hyper_parameters"].update(model=x),
        lambda c, x: c["hyper_parameters"]["model"]["backbone"].update(stages=x),
        lambda c, x: c["skeleton"].update(names=x),
        lambda c, x: c["LabeledData"].update(splits={"train": x}),
        lambda c, x: c.update(record={"metrics": x}),
        lambda c, x: c["state_dict"].update({"net.x": x}),
    ],
)
def test_recursive_and_huge_values_are_refused(
    changed: Callable[[Change], Path],
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], Any],
    place: Callable[[dict, Any], object],
) -> None:
    # Fewer, because all these are counted anywhere.
    monkeypatch.setattr(safe_load, "check_values", partial(safe_load.check_values, max_values=100_000))
    refused(changed(lambda stored: place(stored, make())))


def test_the_values_that_a_file_may_hold_are_counted_in_seconds(changed: Callable[[Change], Path]) -> None:
    assert f"more than {safe_load.MAX_VALUES:,} values" in refused(changed(lambda stored: stored.update(more=laughs())))


def model(**values: Any) -> Change:
    """A change of the network's config: backbone__width=3 and such."""

    def change(stored: dict[str, Any]) -> None:
        for path, value in values.items():
            *parts, name = path.split("__")
            node = stored["hyper_parameters"]["model"]
            for part in parts:
                node = node[part]
            node[name] = value

    return change


DSA = {"_target_": "softpoint.layers.DynamicSpatialAttention", "_partial_": True}


@pytest.mark.parametrize(
    "change",
    [
        model(backbone__depth=10**9),
        model(backbone__depth=257),
        model(backbone__width=10**12),
        model(backbone__width=1e308),
        model(backbone__stages=[2] * 1000),
        model(decoder__channels=10**9),
        model(decoder__stride=2**40),
        model(head__window=10**9 + 1),
        model(head__window=2**62),
        model(head__temperature=float("nan")),
        model(head__temperature=float("inf")),
        model(attention={**DSA, "dilated_d": 10**6}),
        model(attention={**DSA, "kernels": [3, 10**6]}),
        model(attention={**DSA, "kernels": [3] * 1000}),
        model(attention={**DSA, "router_hidden": 10**9}),
        model(attention=[{**DSA, "command": {"_target_": "os.system", "_partial_": True}}]),
        model(head={"_target_": "softpoint.models.SoftArgmaxHead", "_partial_": {"_target_": "os.system"}, "x": 1}),
        model(attention={**DSA, "_args_": ["touch /nowhere"], "gate": {"_target_": "posix.system"}}),
        model(_target_="x" * 10**6),
        model(_target_="softpoint.models." + "x" * 10**6),
        model(**{"y" * 10**6: 1}),
        model(backbone={"_target_": "softpoint.models.Timm", "name": "hf-hub:someone/model"}),
        model(backbone={"_target_": "softpoint.models.Timm", "name": "local-dir:/etc"}),
        model(backbone={"_target_": "softpoint.models.Torchvision", "name": "get_model"}),
        lambda c: c.update(size=[10**6, 10**6]),
        lambda c: c.update(size=[10**30, 1]),
        lambda c: c.update(size=[-64, -64]),
        lambda c: c.update(size=[float("nan"), 64]),
        lambda c: c["skeleton"].update(names=[f"k{i}" for i in range(5000)], flip_pairs=[]),
        lambda c: c["skeleton"].update(names=["n" * 10**6], flip_pairs=[]),
        lambda c: c["skeleton"].update(names=[["nose"]], flip_pairs=[]),
        lambda c: c["skeleton"].update(edges=[["nose", "tail"]] * 5000),
        lambda c: c["skeleton"].update(edges=["nose"]),
        lambda c: c["state_dict"].update({5: torch.zeros(1)}),
        lambda c: c["state_dict"].update({"net." + "k" * 10**6: torch.zeros(1)}),
        lambda c: c["state_dict"].update({"net.head.logits.bias": torch.zeros(4, dtype=torch.int64)}),
        lambda c: c["state_dict"].update({"net.head.logits.bias": torch.zeros(4, dtype=torch.bool)}),
        lambda c: c["state_dict"].update({"net.head.logits.bias": torch.tensor([1.0, float("inf"), 0, 0])}),
        lambda c: c.update(crops={"padding": 1e300, "boxes": None}),
        lambda c: c.update(crops={"padding": 1.0, "boxes": "b" * 10**6}),
        lambda c: c.update(record=["a"]),
        lambda c: c.update(record=5),
    ],
)
def test_a_config_that_asks_for_too_much_is_refused(
    changed: Callable[[Change], Path], change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("a command was run"))
    refused(changed(change))


def test_weights_of_half_precision_fit(changed: Callable[[Change], Path], stored: dict[str, Any]) -> None:
    def halve(content: dict[str, Any]) -> None:
        state = content["state_dict"]
        state.update({k: v.bfloat16() for k, v in state.items() if v.is_floating_point() and "calibration" not in k})

    net = read_checkpoint(changed(halve)).net
    weight = stored["state_dict"]["net.head.logits.weight"]
    assert torch.equal(net.head.logits.weight, weight.bfloat16().float())


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: os.mkfifo(p), lambda p: p.symlink_to("/dev/zero")])
def test_only_regular_files_are_opened(tmp_path: Path, make: Callable[[Path], object], unread: None) -> None:
    make(tmp_path / "x.ckpt")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*x\.ckpt"):
        read_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(FileNotFoundError, match="no checkpoint at /dev/zero"):
        read_checkpoint("/dev/zero")


def test_training_does_not_resume_from_such_a_file(tmp_path: Path, unread: None) -> None:
    from softpoint.cli.train import main

    fuse, path = tmp_path / "sprung", tmp_path / "last.ckpt"
    path.write_bytes(pickle.dumps({"state_dict": Trap(fuse)}))
    with pytest.raises(ValueError, match="nothing in it was run"):
        main(composed("train", tiny(f"resume={path}"), tmp_path / "run"))
    assert not fuse.exists() and not list((tmp_path / "run").iterdir())
