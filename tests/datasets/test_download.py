"""Downloads from a local server that interrupts, refuses, redirects and sends wrong data."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
import requests

from softpoint.datasets.download import _Transfer, download

CONTENT = random.Random(0).randbytes(1_000_000)
BLOCK = 65_536  # is written at a time; what an interruption leaves of the next one is requested again
SHA256, MD5 = (f"{name}:{hashlib.new(name, CONTENT).hexdigest()}" for name in ("sha256", "md5"))


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT by the server's `plan`: one entry per request, the last one for all that follow."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server.state  # type: ignore[attr-defined]
        requested = self.headers.get("Range")
        server.ranges.append(requested)
        plan = server.plan.pop(0) if len(server.plan) > 1 else server.plan[0]
        start = int(requested[6:-1]) if requested and plan.get("ranges", True) else 0
        self.close_connection = True
        if "status" in plan or start > len(CONTENT):
            self.send_response(plan.get("status", 416))
            for name, value in plan.get("headers", {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start or plan.get("shift") else 200)
        if start or plan.get("shift"):
            self.send_header("Content-Range", f"bytes {start + plan.get('shift', 0)}-{len(CONTENT) - 1}/{len(CONTENT)}")
        body = plan.get("body", CONTENT)[start:]
        if plan.get("length", True):
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", plan.get("type", "application/octet-stream"))
        self.end_headers()
        return self.wfile.write(body[: plan.get("sent", len(body))]) and None

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[SimpleNamespace]:
    """A server with its `url`, the `plan` of its responses, and the Range header of each request in `ranges`."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    state = SimpleNamespace(url=f"http://127.0.0.1:{http.server_port}/set.zip", plan=[{}], ranges=[])
    http.state = state  # type: ignore[attr-defined]
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def get(server: SimpleNamespace, path: Path, checksum: str | None = SHA256, **changes: object) -> Path:
    options = {"size": len(CONTENT), "tries": 3, "wait": 0.0, "timeout": 5.0} | changes
    return download(server.url, path, checksum=checksum, **options)  # type: ignore[arg-type]


def fails(server: SimpleNamespace, path: Path, error: type[Exception], match: str, **changes: object) -> None:
    """The download ends in this error and leaves no file at `path`."""
    with pytest.raises(error, match=match) as caught:
        get(server, path, **changes)
    assert server.url in str(caught.value) or str(path) in str(caught.value)
    assert not path.exists()


def test_a_file_is_transferred_once(server: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "new" / "set.zip"
    assert get(server, path) == path and path.read_bytes() == CONTENT
    assert get(server, path, MD5) == path and server.ranges == [None]
    assert [file.name for file in path.parent.iterdir()] == ["set.zip"]


@pytest.mark.parametrize(
    ("plan", "ranges"),
    [
        ([{"sent": 2 * BLOCK}, {"sent": BLOCK + 9}, {}], [None, "bytes=131072-", "bytes=196608-"]),
        ([{"sent": BLOCK}] * 9 + [{}], [None, *(f"bytes={BLOCK * i}-" for i in range(1, 10))]),
        ([{"sent": 2 * BLOCK}, {"ranges": False}], [None, "bytes=131072-"]),
        ([{"sent": 2 * BLOCK, "length": False}, {}], [None, "bytes=131072-"]),
        ([{"status": 302, "headers": {"Location": "/elsewhere.zip"}}, {}], [None, None]),
    ],
    ids=["twice", "more often than `tries`", "a server without ranges", "a server without lengths", "redirected"],
)
def test_an_interrupted_transfer_is_resumed(
    server: SimpleNamespace, tmp_path: Path, plan: list[dict], ranges: list[str | None]
) -> None:
    server.plan = list(plan)
    assert get(server, tmp_path / "set.zip").read_bytes() == CONTENT and server.ranges == ranges


def test_a_later_call_resumes_the_first(server: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    server.plan = [{"sent": 2 * BLOCK}, {"status": 503}]
    fails(server, path, ConnectionError, "HTTP 503 .*run the command again to resume, or download it manually")
    assert len(server.ranges) == 4  # one with progress, then three without
    server.plan, server.ranges = [{}], []
    assert get(server, path).read_bytes() == CONTENT and server.ranges == ["bytes=131072-"]


@pytest.mark.parametrize(
    ("part", "plan", "ranges"),
    [
        (CONTENT[:1000], [{"shift": 5}, {}], ["bytes=1000-", None]),
        (CONTENT, [{}], []),
        (CONTENT + b"more", [{}], [None]),
        (CONTENT[:100], [{"status": 416}, {}], ["bytes=100-", None]),
    ],
    ids=["another range", "already complete", "too long", "a range that cannot be served"],
)
def test_a_partial_file_is_completed_or_replaced(
    server: SimpleNamespace, tmp_path: Path, part: bytes, plan: list[dict], ranges: list[str | None]
) -> None:
    (tmp_path / "set.zip.part").write_bytes(part)
    server.plan = plan
    assert get(server, tmp_path / "set.zip").read_bytes() == CONTENT and server.ranges == ranges


@pytest.mark.parametrize("plan", [[{}], [{"sent": 2 * BLOCK}, {}]])
def test_without_a_checksum_nothing_is_resumed(server: SimpleNamespace, tmp_path: Path, plan: list[dict]) -> None:
    (tmp_path / "set.zip.part").write_bytes(b"something else")
    server.plan = list(plan)
    assert get(server, tmp_path / "set.zip", checksum=None, size=800_000).read_bytes() == CONTENT
    assert server.ranges == [None] * len(plan)


def test_a_wrong_file_of_the_user_is_kept(server: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"set\.zip differs from the file at .*; remove it and run the command again"):
        get(server, tmp_path / "set.zip")
    assert (tmp_path / "set.zip").read_bytes() == b"mine" and server.ranges == []


@pytest.mark.parametrize(
    ("plan", "error", "match", "changes"),
    [
        *(
            ({"status": status}, ConnectionError, f"HTTP {status} .*manually to .*zip and run", {})
            for status in (401, 404)
        ),
        ({"body": CONTENT[::-1]}, ValueError, "other bytes than expected .sha256:[0-9a-f]{64}.; they were removed", {}),
        ({"type": "text/html; charset=utf-8"}, ValueError, "returns a web page .*manually to .*set.zip", {}),
        ({"length": False}, ValueError, "sends more than", {"size": 500_000}),
        ({"length": False}, ValueError, "sends more than", {"size": 100_000, "checksum": None}),
        *(
            ({"status": 302, "headers": {"Location": target}}, ConnectionError, "No connection adapters", {})
            for target in ("file:///etc/hostname", "ftp://127.0.0.1/set.zip", "data:,x")
        ),
    ],
)
def test_a_wrong_answer_ends_the_download(
    server: SimpleNamespace, tmp_path: Path, plan: dict, error: type[Exception], match: str, changes: dict
) -> None:
    server.plan = [plan]
    fails(server, tmp_path / "set.zip", error, match, **changes)
    assert len(server.ranges) == 1


def test_no_request_is_answered_or_made(server: SimpleNamespace, tmp_path: Path) -> None:
    fails(server, tmp_path / "set.zip", ValueError, "another folder with SOFTPOINT_DATA", size=10**17)
    assert server.ranges == []
    server.url = "http://127.0.0.1:1/set.zip"
    fails(server, tmp_path / "set.zip", ConnectionError, "refused.*2 attempts without progress", tries=2)


def test_attempts_are_repeated_after_growing_pauses(
    server: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("softpoint.datasets.download.time.sleep", waits.append)
    server.plan = [{"status": 429}, {"status": 500}, {}]
    assert get(server, tmp_path / "first.zip", wait=0.5).exists() and waits == [0.5, 1.0]
    server.plan, waits[:] = [{"status": 500}], []
    fails(server, tmp_path / "set.zip", ConnectionError, "4 attempts", tries=4, wait=0.5)
    assert waits == [0.5, 1.0, 2.0]


def test_a_redirection_from_https_to_http_is_not_followed(tmp_path: Path) -> None:
    transfer = _Transfer(tmp_path / "set.zip.part", 1, True, 1, 0.0, 1.0, "download it manually")
    response = requests.Response()
    response.url, response.status_code = "http://host/set.zip", 200
    with pytest.raises(ConnectionError, match=r"redirects to http://host/set\.zip, which is not encrypted"):
        transfer._check("https://host/set.zip", response, 0)
    response.url = "https://elsewhere/set.zip"
    assert transfer._check("https://host/set.zip", response, 0) == 0


@pytest.mark.parametrize("url", ["ftp://host/set.zip", "file:///etc/hostname", "/etc/hostname", "httpx://host"])
def test_other_protocols_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not an http or https address; download it manually"):
        download(url, tmp_path / "x", 1)
    assert list(tmp_path.iterdir()) == []
