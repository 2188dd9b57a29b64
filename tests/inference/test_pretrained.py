"""A shared folder holds the same model as the checkpoint, and nothing in it is trusted."""

from __future__ import annotations

import copy
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import torch

from helpers.hub import REPO, TOKEN, Hub
from softpoint.cli.hydra_app import launch
from softpoint.inference import load_predictor, pretrained, push_to_hub, read_checkpoint, save_pretrained
from softpoint.inference.hub import download
from softpoint.paths import sha256

FILES = ["README.md", "config.json", "model.safetensors"]


@pytest.fixture(scope="session")
def shared(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained model."""
    return save_pretrained(run / "checkpoints" / "best.ckpt", tmp_path_factory.mktemp("shared") / "model")


@pytest.fixture
def copied(shared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared, tmp_path / "copied"))


def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((64, 64), (91, 130), (33, 20))]


def test_a_round_trip_predicts_the_same_bits(run: Path, shared: Path) -> None:
    assert sorted(path.name for path in shared.iterdir()) == FILES
    expected, actual = load_predictor(run / "checkpoints" / "best.ckpt")(images()), load_predictor(shared)(images())
    assert expected.keys() == actual.keys() and all(np.array_equal(expected[name], actual[name]) for name in expected)


def test_a_folder_carries_all_that_a_checkpoint_does(run: Path, shared: Path) -> None:
    expected, actual = read_checkpoint(run / "checkpoints" / "best.ckpt"), read_checkpoint(shared)
    for part in ("skeleton", "size", "crops", "splits", "versions", "config"):
        assert getattr(actual, part) == getattr(expected, part), part
    assert actual.net.calibration.fitted and actual.splits and actual.versions["torch"]
    assert actual.record["metrics"]["epe"] == expected.record["metrics"]["epe"] and actual.record["command"]
    card = huggingface_hub.ModelCard.load(shared / "README.md")
    assert card.data.library_name == "softpoint" and "epe" in {result.metric_type for result in card.data.eval_results}
    assert "model.safetensors" in card.text


def test_a_shared_folder_can_be_shared_again(shared: Path, tmp_path: Path) -> None:
    again = save_pretrained(shared, tmp_path / "again")
    assert (again / "config.json").read_text() == (shared / "config.json").read_text()


def test_a_failed_write_leaves_the_earlier_model(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    other = read_checkpoint(copied)
    with torch.no_grad():
        other.net.head.logits.bias.add_(1)
    monkeypatch.setattr(pretrained, "read_checkpoint", lambda *_: read_checkpoint(copied))
    with pytest.raises(ValueError, match=r"the written weights differ from .*nothing was replaced"):
        save_pretrained(other, copied)
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before


def test_an_interrupted_replacement_is_refused(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = read_checkpoint(copied)
    with torch.no_grad():
        other.net.head.logits.bias.add_(1)
    replaced = Path.replace

    def interrupted(path: Path, target: Path) -> Path:
        if target == copied / "config.json":
            raise KeyboardInterrupt
        return replaced(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_pretrained(other, copied)
    with pytest.raises(ValueError, match=r"model\.safetensors does not belong to its config\.json"):
        read_checkpoint(copied)


def test_numbers_that_json_lacks_become_null(shared: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(shared)
    record = {**checkpoint.record, "metrics": {"epe": float("nan"), "median": 1.0}}
    folder = save_pretrained(replace(checkpoint, record=record), tmp_path / "nan")
    assert read_checkpoint(folder).record["metrics"] == {"epe": None, "median": 1.0}


def config(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """A change of config.json."""

    def write(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        change(content)
        (folder / "config.json").write_text(json.dumps(content))

    return write


def weights(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """A change of model.safetensors."""

    def write(folder: Path) -> None:
        content = safetensors.torch.load_file(folder / "model.safetensors")
        content = {name: value.clone() for name, value in content.items()}
        change(content)
        safetensors.torch.save_file(content, folder / "model.safetensors")
        config(lambda c: c.update(weights_sha256=sha256(folder / "model.safetensors")))(folder)

    return write


def spoiled_weights(content: bytes) -> Callable[[Path], object]:
    """A change of model.safetensors to these bytes, whose digest config.json names."""

    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(content)
        config(lambda c: c.update(weights_sha256=sha256(folder / "model.safetensors")))(folder)

    return write


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda f: (f / "config.json").write_text("[" * 100_000), "is no config of a softpoint model"),
        (lambda f: (f / "config.json").write_text('{"format": ' + "9" * 5000 + "}"), "is no config"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "is no config"),
        (lambda f: (f / "config.json").write_text("[]"), "has no format number"),
        (config(lambda c: c.update(format=99)), "of format 99.*update it"),
        (config(lambda c: c.update(more=json.loads("[" * 100 + "]" * 100))), "values"),
        (config(lambda c: c.pop("skeleton")), "lacks 'skeleton'"),
        (config(lambda c: c.update(size=[10**6, 10**6])), "pixels are possible"),
        (config(lambda c: c["hyper_parameters"]["model"].update(_target_="os.system")), "names 'os.system'"),
        (config(lambda c: c["hyper_parameters"]["model"]["backbone"].update(width=10**9)), "largest value"),
        (config(lambda c: c.update(record=5)), "is no checkpoint of softpoint"),
        (spoiled_weights(b"\xff" * 100), "is no safetensors file"),
        (spoiled_weights(b""), "is no safetensors file"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "does not belong to its config.json"),
        (weights(lambda w: w.popitem()), "do not fit its config"),
        (weights(lambda w: w["head.logits.bias"].fill_(float("nan"))), "hold NaN or infinity"),
    ],
)
def test_a_hostile_folder_is_refused(copied: Path, spoil: Callable[[Path], object], reason: str) -> None:
    spoil(copied)
    with pytest.raises(ValueError, match=reason) as error:
        read_checkpoint(copied)
    assert "copied" in str(error.value) and len(str(error.value)) < 1500


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_without_one_of_the_files_is_no_checkpoint(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"a folder without {name}"):
        read_checkpoint(copied)


def hub_cache(cache: Path, folder: Path, repo: str = "user/mice", revision: str = "main") -> Path:
    """The cache of huggingface_hub with a downloaded copy of a folder; returns its snapshot."""
    root, commit = cache / f"models--{repo.replace('/', '--')}", "0" * 40
    snapshot = Path(shutil.copytree(folder, root / "snapshots" / commit))
    (root / "refs").mkdir()
    (root / "refs" / revision).write_text(commit)
    return snapshot


def test_a_model_of_the_hub_is_read_from_its_cache(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = hub_cache(tmp_path, shared)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda *a, _real=huggingface_hub.snapshot_download, **k: _real(*a, cache_dir=tmp_path, **k),
    )
    predictor, expected = load_predictor("hf://user/mice"), load_predictor(shared)
    assert all(np.array_equal(value, expected(images())[name]) for name, value in predictor(images()).items())
    found = read_checkpoint("hf://user/mice@main")
    assert (found.path, found.address) == (snapshot, "hf://user/mice@main")
    with pytest.raises(FileNotFoundError, match="hf://user/cats cannot be downloaded"):
        read_checkpoint("hf://user/cats")


@pytest.mark.parametrize(
    ("name", "size", "refused"),
    [
        ("model.safetensors", 2**32, None),
        ("model.safetensors", 2**32 + 1, "model.safetensors has 4294967297 bytes, where at most 4294967296 are"),
        ("config.json", 2**40, "config.json has 1099511627776 bytes"),
        ("README.md", None, "README.md has None bytes"),
    ],
)
def test_only_the_files_of_a_model_are_downloaded_and_only_of_usual_sizes(
    shared: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: int | None, refused: str | None
) -> None:
    downloads: list[str] = []

    def snapshot_download(
        repo: str, *, revision: str, allow_patterns: list[str], dry_run: bool = False
    ) -> str | list[huggingface_hub.DryRunFileInfo]:
        assert repo == "user/mice" and sorted(allow_patterns) == FILES
        if dry_run:
            assert revision == "v1.0"
            sizes = dict.fromkeys(FILES, 9) | {name: size}
            return [huggingface_hub.DryRunFileInfo("c0ffee", sizes[file], file, "", False, True) for file in FILES]
        downloads.append(revision)
        return str(shared)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    if refused is None:
        assert download("hf://user/mice@v1.0") == shared and downloads == ["c0ffee"]
    else:
        with pytest.raises(ValueError, match=refused):
            download("hf://user/mice@v1.0")
        assert downloads == []


@pytest.mark.parametrize("failure", [OSError("the server is busy"), ValueError("no such revision")])
@pytest.mark.parametrize("cached", [True, False])
def test_what_cannot_be_measured_is_read_from_the_cache_alone(
    shared: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, cached: bool
) -> None:
    def snapshot_download(repo: str, *, dry_run: bool = False, local_files_only: bool = False, **_: object) -> str:
        if dry_run:
            raise failure
        assert local_files_only
        if not cached:
            raise FileNotFoundError("not in the cache")
        return str(shared)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    if cached:
        assert download("hf://user/mice") == shared
    else:
        with pytest.raises(FileNotFoundError, match=rf"hf://user/mice cannot be downloaded \({failure}\)"):
            download("hf://user/mice")


@pytest.mark.parametrize(
    "address", ["hf://", "hf://user", "hf://a/b/c", "hf://a/b@", "hf://a b/c", "hf://../..", "hf://a/b@../../c"]
)
def test_another_address_is_refused(address: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=r"no address of a model|cannot be downloaded"):
        read_checkpoint(address)


def test_a_model_is_uploaded_with_its_card_and_what_that_shows_is_listed(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[str, Any] = {}

    class Api:
        def __init__(self, token: str | None) -> None:
            calls["token"] = token

        def create_repo(self, repo_id: str, **options: Any) -> None:
            calls["repo"] = repo_id, options

        def upload_folder(self, repo_id: str, folder_path: Path, allow_patterns: list[str]) -> None:
            calls["files"] = sorted(path.name for path in folder_path.iterdir())

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert push_to_hub(shared, "user/mice", private=True, token="t") == "hf://user/mice"
    assert calls == {"token": "t", "repo": ("user/mice", {"private": True, "exist_ok": True}), "files": FILES}
    listed = pretrained.upload_list(shared, "user/mice", private=False)
    assert listed.startswith("hf://user/mice, for everyone:\n") and all(name in listed for name in FILES)
    splits = json.loads((shared / "config.json").read_text())["splits"] or {}
    assert f"names of {sum(map(len, splits.values()))} images" in listed

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("401 Unauthorized\nmore")

    monkeypatch.setattr(Api, "create_repo", refuse)
    with pytest.raises(ConnectionError, match=r"user/mice cannot be uploaded \(401 Unauthorized\); .*hf auth login"):
        push_to_hub(shared, "user/mice")
    with pytest.raises(ValueError, match="hub='a/b/c' is no name on the Hub; write user/name"):
        push_to_hub(shared, "a/b/c")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub of this machine in place of the real one, and an empty cache."""
    constants = huggingface_hub.constants
    with Hub() as server:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_model_goes_to_a_hub_and_comes_back_without_a_line_for_each_request(
    hub: Hub, run: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ckpt, output = run / "checkpoints" / "best.ckpt", tmp_path / "model"
    words = [f"ckpt={ckpt}", f"output={output}", "format=safetensors", f"hub={REPO}", "private=true"]
    launch("export", words)
    predictor, expected = load_predictor(f"hf://{REPO}"), load_predictor(shared)
    assert hub.private and sorted(hub.files) == FILES
    assert "HTTP Request" not in capsys.readouterr().out
    assert all(np.array_equal(value, expected(images())[name]) for name, value in predictor(images()).items())


def test_an_own_module_is_built_only_where_it_is_trusted(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "from softpoint.models import SoftArgmaxHead\n"
        "class Head(SoftArgmaxHead):\n    pass\n"
        "def run(**_):\n    raise SystemExit\n"
        "from torch.nn import Identity\nimport elsewhere\nfrom elsewhere import Foreign\n"
    )
    (tmp_path / "elsewhere.py").write_text("from mine import Head\nclass Foreign(Head):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    checkpoint = read_checkpoint(shared)
    settings = copy.deepcopy(checkpoint.config)
    settings["model"]["head"]["_target_"] = "mine.Head"
    folder = save_pretrained(replace(checkpoint, config=settings, trust=("mine",)), tmp_path / "own")
    assert type(read_checkpoint(folder, trust=["mine"]).net.head).__name__ == "Head"
    for trust in ((), ("min",), ("mine.more",)):
        with pytest.raises(ValueError, match=r"names 'mine.Head'.* trust=\[PACKAGE\]"):
            read_checkpoint(folder, trust)
    for target, message in {
        "mine.run": "no network module",
        "mine.elsewhere.Foreign": "cannot be rebuilt: No module named 'mine.elsewhere'",
        "mine.os.system": "cannot be rebuilt: No module named 'mine.os'",
        "mine.Foreign": "defined in elsewhere; .* trust=.mine,elsewhere.",
        "mine.Identity": "defined in torch.nn.modules.linear",
        "mine2.Head": "names 'mine2.Head', and only",
        "mine..Head": "cannot be rebuilt",
    }.items():
        config(lambda c, target=target: c["hyper_parameters"]["model"]["head"].update(_target_=target))(folder)
        with pytest.raises(ValueError, match=message):
            read_checkpoint(folder, ["mine"])
