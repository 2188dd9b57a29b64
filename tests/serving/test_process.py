"""The command as a process: it works without torch and stops in order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from helpers.browser import Browser
from serving.conftest import encoded

httpx = pytest.importorskip("httpx", reason="requests are made by httpx")
for library in ("fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(library, reason="serving needs its libraries: pip install 'softpoint[serve]'")

ROOT = Path(__file__).parents[2]

# Runs a script in a process where torch cannot be imported.
WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def server(teller_file: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """A server that waits six seconds for a batch to fill, and its address."""
    words = [f"model={teller_file}", "port=0", "threads=1", "batch_size=64", "wait_ms=6000", "timeout_s=100"]
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_TORCH, str(ROOT / "scripts/serve.py"), *words],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert process.stdout
    try:
        first = process.stdout.readline()
        match = re.search(r"answers POST (http://127\.0\.0\.1:\d+)/predict", first)
        assert match, first + process.communicate(timeout=60)[1]
        yield process, match[1]
    finally:
        process.kill()
        process.communicate()


def test_a_server_without_torch_finishes_waiting_requests_when_it_is_stopped(server, tmp_path: Path):
    process, address = server
    with httpx.Client(base_url=address, timeout=100, trust_env=False) as client, ThreadPoolExecutor(3) as clients:
        assert client.get("/health").json() == {"status": "ready", "model": "teller.onnx"}
        assert client.get("/health", headers={"host": "evil.example"}).status_code == 421
        assert client.get("/model").json()["keypoints"] == ["corner", "color"]
        # uvicorn's own limit; it may close the connection before the client has read the response
        with suppress(httpx.TransportError):
            assert client.post("/predict", headers={"x-long": "a" * 200_000}).status_code == 400
        body = encoded(30, 40)
        # A client that sends everything before it reads sees the error all the same.
        assert client.post("/predict", content=bytes(25_000_000)).status_code == 413
        futures = [
            clients.submit(httpx.post, f"{address}/predict", content=body, timeout=100, trust_env=False) for _ in "abc"
        ]
        while "softpoint_requests_in_progress 3.0\n" not in client.get("/metrics").text:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        responses = [future.result() for future in futures]
    assert [answer.status_code for answer in responses] == [200] * 3
    corner, color = responses[0].json()["keypoints"]
    assert (corner["x"], corner["y"], corner["confidence"]) == (39, 29, 0.5)
    assert (round(color["x"]), round(color["y"])) == (255, 102) and color["covariance"] == [[4, 1], [1, 2]]
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out == "" and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health", trust_env=False)


def test_the_page_shows_an_image_large_and_fits_a_phone(server, browser: Browser, tmp_path: Path):
    _, address = server
    (image := tmp_path / "small.png").write_bytes(encoded(30, 40))
    browser.open(address, width=390)
    browser.driver.find_element("id", "file").send_keys(str(image))
    deadline = time.monotonic() + 60
    while not browser.run("return document.querySelector('table').checkVisibility()"):
        assert time.monotonic() < deadline, browser.run("return document.body.innerText")
        time.sleep(0.05)
    assert browser.run("return document.documentElement.scrollWidth") == 390
    assert browser.run("const {width, height} = canvas; return [width, height]") == [1000, 750]
    assert browser.run("return document.querySelector('tbody').innerText").split()[1:4] == ["corner", "39.0", "29.0"]
