"""Errors of the command before it serves."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from helpers.training import composed
from serving.conftest import LIMITS
from softpoint.cli import serve as script

for library in ("fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(library, reason="serving needs its libraries: pip install 'softpoint[serve]'")
from softpoint.serving import server  # noqa: E402
from softpoint.serving.app import Service  # noqa: E402
from softpoint.serving.settings import Settings  # noqa: E402


def started(folder: Path, *words: str) -> None:
    script.main(composed("serve", script.arguments(list(words)), folder))


def test_the_config_has_every_setting(tmp_path: Path):
    cfg = composed("serve", script.arguments(["model=a.onnx"]), tmp_path)
    assert cfg.model_file == "a.onnx" and cfg.host == "127.0.0.1"
    values = OmegaConf.to_object(cfg)
    Settings(**{name: values[name] for name in Settings.model_fields})


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        ([], ValueError, "add to the command line: model=FILE.onnx"),
        (["model=none.onnx"], FileNotFoundError, "no model at none.onnx"),
        (["model=FILE", "batch_size=0"], ValueError, "batch_size=0: Input should be greater than or equal to 1"),
        (["model=FILE", "queue_pixels=5"], ValueError, "queue_pixels=5 is less than max_pixels=25000000"),
        (["model=FILE", "port=70000"], ValueError, "port=70000 must be between"),
        (["model=FILE", "port=TAKEN"], ValueError, r"port=\d+ is in use on host=127.0.0.1; choose another"),
        (["model=FILE", "port=0", "host=256.0.0.1"], ValueError, "cannot listen on host=256.0.0.1"),
        (["model=TEXT"], ValueError, "is no model that onnxruntime can run"),
    ],
)
def test_a_mistake_is_an_error_before_the_start(
    teller_file: Path, tmp_path: Path, words: list[str], kind: type[Exception], message: str
):
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    with socket.create_server(("127.0.0.1", 0)) as other:
        names = {"FILE": str(teller_file), "TEXT": str(text), "TAKEN": str(other.getsockname()[1])}
        overrides = [f"{key}={names.get(value, value)}" for key, value in (word.split("=") for word in words)]
        with pytest.raises(kind, match=message):
            started(tmp_path, *overrides)


def test_a_missing_library_is_an_error_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ImportError, match=r'serving needs prometheus_client: pip install "softpoint\[serve\]"'):
        started(tmp_path, "model=a.onnx")


def test_a_model_that_cannot_predict_is_an_error_before_the_first_request(teller):
    teller.metadata["size"] = [13, 13]
    with pytest.raises(ValueError, match=r"teller\.onnx cannot predict: unlucky"):
        Service(teller, Settings(**LIMITS)).warm_up()


@pytest.mark.parametrize("warn", [True, False])
def test_the_faults_of_a_model_are_warned_of_unless_they_are_not_to(
    teller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, warn: bool
):
    teller.metadata["faults"] = ["it is not calibrated\x1b[1m"]
    monkeypatch.setattr("softpoint.runtime.load", lambda *_: teller)
    with pytest.raises(ValueError, match="port=70000"):
        started(tmp_path, "model=a.onnx", "port=70000", f"warn={warn}")
    assert caplog.messages == ["a.onnx: it is not calibrated[1m"] * warn


def test_responses_are_sent_without_delay():
    async def accepted() -> int:
        options: list[int] = []

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            options.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listening = server.listen("127.0.0.1", 0)
        async with await asyncio.start_server(answer, sock=listening):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            await reader.read()
            writer.close()
            await writer.wait_closed()
        return options[0]

    assert asyncio.run(accepted())
