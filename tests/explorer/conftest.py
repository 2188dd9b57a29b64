"""An explorer that runs as a command, and the ways to talk to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from helpers.training import ROOT
from softpoint.audit import audit_labels
from softpoint.labels.load import load_labels
from softpoint.labels.source import LabelSource
from softpoint.viz import write_image

if TYPE_CHECKING:
    from softpoint.explorer.data_tab import AuditedSet


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory, run: Path) -> Iterator[str]:
    """The address of an explorer of a model and its labels, which ends in order on a signal and leaves nothing."""
    pytest.importorskip("gradio", reason="exploring needs gradio: pip install 'softpoint[explore]'")
    folder, temporary = (tmp_path_factory.mktemp(name) for name in ("explorer", "temporary"))
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts/explore.py"), "port=0", "warn=false",
         f"ckpt={run / 'checkpoints' / 'best.ckpt'}",
         f"data.labels={run.parent / 'labels.csv'}", f"data.images={run.parent / 'moved'}"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(temporary)},
    )  # fmt: skip
    assert process.stdout
    try:
        match = re.match(r"open (http://127\.0\.0\.1:\d+)/ in a browser", first := process.stdout.readline())
        assert match, first + process.communicate(timeout=60)[1]
        yield match[1]
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert [line for line in out.splitlines() if not line.startswith("no answer to ")] == []
        assert [*folder.iterdir(), *temporary.glob("softpoint*"), *temporary.glob("gradio*")] == []
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def send(address: str) -> Callable[..., str]:
    """Send values to the event with this output as a program would, in a session, and return all that is answered."""
    httpx = pytest.importorskip("httpx", reason="requests are made by httpx")

    def sending(event: str, target: str, data: list[Any], session: str = "a") -> str:
        with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
            config = client.get("/config").json()
            names = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
            triggers = {
                call["id"]: {(names.get(part), kind) for part, kind in call["targets"]}
                for call in config["dependencies"]
            }
            (number,) = (call for call, parts in triggers.items() if (target, event) in parts)
            body = {"data": data, "fn_index": number, "session_hash": session}
            joined = client.post("/gradio_api/queue/join", json=body)
            if joined.status_code != 200:
                return f"{joined.status_code} {joined.text}"
            with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as answer:
                lines = [line for line in answer.iter_lines() if "process_completed" in line]
        return json.dumps(json.loads(lines[0].removeprefix("data: "))["output"])

    return sending


@pytest.fixture
def data(tmp_path: Path) -> AuditedSet:
    """Six images, of which the third has its tail beyond the image, and the fifth has no nose."""
    pytest.importorskip("gradio", reason="exploring needs gradio: pip install 'softpoint[explore]'")
    from softpoint.explorer.data_tab import AuditedSet

    lines = ["image,nose_x,nose_y,tail_x,tail_y"]
    rng = np.random.default_rng(0)
    for i in range(6):
        write_image(tmp_path / f"{i}.png", rng.integers(0, 256, (40, 60, 3), np.uint8))
        lines.append(f"{i}.png,{'' if i == 4 else 10 + i},{'' if i == 4 else 12},{200 if i == 2 else 30 + i},{20 + i}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    loaded = load_labels(LabelSource(tmp_path / "labels.csv", cache_dir=tmp_path), audit=True)
    splits = {"train": [0, 1, 2, 3], "val": [4, 5]}
    return AuditedSet(loaded, audit_labels(loaded, splits), splits)
