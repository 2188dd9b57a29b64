"""An explorer that runs as a command, and the ways to talk to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from helpers.training import ROOT


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running explorer, which ends in order on a signal and leaves nothing behind."""
    pytest.importorskip("gradio", reason="exploring needs gradio: pip install 'softpoint[explore]'")
    folder, temporary = (tmp_path_factory.mktemp(name) for name in ("explorer", "temporary"))
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts/explore.py"), "port=0"],
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
