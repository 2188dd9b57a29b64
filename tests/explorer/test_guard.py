"""What a program may ask the explorer for."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softpoint.explorer.bodies import Message, Receive, UploadFolder
from softpoint.explorer.guard import MAX_EVENT, Guard, names_only_uploads
from softpoint.viz import write_image

httpx = pytest.importorskip("httpx", reason="requests are made by httpx")


def refused(guard: Guard, path: str, method: str = "GET", **headers: str) -> int | None:
    """The status of a refusal, or None."""
    sent = {"host": "127.0.0.1:80"} | {name.replace("_", "-"): value for name, value in headers.items()}
    pairs = [(name.encode(), value.encode()) for name, value in sent.items()]
    refusal = guard.refusal({"path": path, "method": method, "headers": pairs})
    return refusal and refusal[0]


async def nothing(*_: object) -> Any: ...


def answered(guard: Guard, path: str, receive: Receive) -> int:
    """The status of the answer to a POST that states 10 bytes."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-length", b"10")]
    asyncio.run(guard({"type": "http", "method": "POST", "path": path, "headers": headers}, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", None), ("/assets/a.js", None), ("/theme.css", None), ("/gradio_api/heartbeat/x", None),
        ("/gradio_api/file=/etc/passwd", 404), ("/gradio_api/file/etc/passwd", 404), ("/file=a", 404),
        ("/gradio_api/proxy=http://example.org", 404), ("/monitoring", 404), ("/gradio_api/vibe-code", 404),
        ("/gradio_api/component_server", 404), ("/gradio_api/info", 404), ("/docs", 404), ("/login", 404),
        ("/gradio_api/run/predict", 404), ("/gradio_api/stream/a/b/c/playlist-file", 404),
    ],
)  # fmt: skip
def test_only_the_page_and_its_events_are_answered(path: str, status: int | None) -> None:
    assert refused(Guard(nothing, Path("uploads"), 100), path) == status


def test_bodies_have_a_stated_length_within_the_limit() -> None:
    guard, join = Guard(nothing, Path("uploads"), 2_000_000), "/gradio_api/queue/join"
    upload = "/gradio_api/upload"
    assert refused(guard, join, "POST", content_length=str(MAX_EVENT)) is None
    assert refused(guard, join, "POST", content_length=str(MAX_EVENT + 1)) == 413
    assert refused(guard, join, "POST", content_length="9" * 5000) == 413
    assert refused(guard, upload, "POST", content_length="2000100") is None
    assert refused(guard, upload, "POST", content_length="2010001") == 413
    assert refused(guard, upload, "POST") == refused(guard, upload, "POST", content_length="-1") == 411
    assert refused(guard, join, "DELETE") == 405
    assert refused(guard, join, "POST", content_length="10", transfer_encoding="chunked") == 411


def test_a_body_of_another_length_than_was_stated_is_refused(address: str, tmp_path: Path) -> None:
    name, port = address.removeprefix("http://").split(":")
    for path in ("/gradio_api/queue/join", "/gradio_api/upload"):
        with socket.create_connection((name, int(port)), timeout=10) as client:
            head = f"POST {path} HTTP/1.1\r\nHost: {name}\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.sendall(head.encode() + b"10000\r\n" + b"x" * 9)
            assert client.recv(100).startswith(b"HTTP/1.1 411 ")

    async def receive() -> Message:  # of a server that does not count
        return {"type": "http.request", "body": b" " * 8, "more_body": True}

    assert answered(Guard(nothing, tmp_path, 100), "/gradio_api/queue/join", receive) == 413


def test_files_that_are_kept_have_limited_room(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old.png").write_bytes(bytes(900_000))
    os.utime(tmp_path / "a" / "old.png", (0, 0))
    room = UploadFolder(tmp_path, 1_000_000, kept_s=600)
    with room.taken(600_000) as first, room.taken(500_000) as second, room.taken(400_000) as third:
        assert (first, second, third) == (True, False, True)
    assert not (tmp_path / "a" / "old.png").exists()
    for i in range(9):
        (tmp_path / f"{i}.png").touch()  # which counts as 100,000 bytes
    with room.taken(100_000) as there, room.taken(1) as more:
        assert there and not more
    with room.taken(100_001) as there:
        assert not there
    (tmp_path / "large.png").write_bytes(bytes(1000))
    guard = Guard(nothing, tmp_path, 50_000)
    assert answered(guard, "/gradio_api/upload", nothing) == 507


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, None), ({"sec-fetch-site": "same-origin"}, None), ({"origin": "http://127.0.0.1:80"}, None),
        ({"sec-fetch-site": "cross-site"}, 403), ({"origin": "http://evil.example"}, 403), ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:81"}, 403), ({"origin": "http://[x"}, 403),
        # A proxy may give the request another name: what the browser knows decides.
        ({"sec-fetch-site": "same-origin", "origin": "https://lab.example"}, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/cancel", "/config", "/"])
def test_other_pages_send_and_read_nothing(headers: dict[str, str], status: int | None, path: str) -> None:
    guard = Guard(nothing, Path("uploads"), 100)
    for method in ("GET", "POST"):
        assert refused(guard, path, method, **headers, content_length="9") == status
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert refused(guard, path, **link) == (None if path == "/" else 403)
    assert refused(guard, path, **link | {"origin": "http://evil.example"}) == 403


def test_an_event_names_files_of_the_folder_alone(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "link.png").symlink_to("/etc/passwd")
    (folder / "a.png").touch()

    def admitted(path: object) -> bool:
        return names_only_uploads(json.dumps({"data": [1, [{"x": {"path": path}}]]}).encode(), folder)

    assert admitted(str(folder / "a.png"))
    for path in ("/etc/passwd", f"{folder}/../a.png", f"{folder}/link.png", "http://example.org/a.png", 3, "a\0"):
        assert not admitted(path), path
    assert not names_only_uploads(b"{", folder) and not names_only_uploads(b"[" * 100_000, folder)


def test_a_program_gets_no_file_of_the_machine(address: str, send: Callable[..., str], tmp_path: Path) -> None:
    assert httpx.get(f"{address}/gradio_api/heartbeat/a/", trust_env=False).status_code == 404  # and no redirection
    for path in ("/gradio_api/file=/etc/passwd", "/assets/../../../etc/passwd", "/static/%2e%2e/%2e%2e/app.py"):
        assert httpx.get(address + path, trust_env=False).status_code in (403, 404)
    assert httpx.get(address, headers={"host": "evil.example"}, trust_env=False).status_code == 421
    secret = tmp_path / "secret.png"
    write_image(secret, np.zeros((8, 8, 3), np.uint8))
    file = {"orig_name": "a.png", "meta": {"_type": "gradio.FileData"}}
    for path in (str(secret), "/etc/passwd", f"{address}/theme.css"):
        for event, target, place in (("upload", "upload", 0), ("input", "kind", 1), ("cell", "softmax", 2)):
            data: list = [None, "floor", 1, 9, 64, 0, "", 0, 0][: 4 if place == 0 else 9]
            data[place] = file | {"path": path}
            assert send(event, target, data) == "403 a file of an event must have been uploaded here"
    policy = httpx.get(address, trust_env=False).headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy


def test_an_event_of_wrong_values_is_answered_and_logged_in_a_line(send: Callable[..., str], address: str) -> None:
    for wrong in ("<b>", None, 3, [1], {"a": 1}):
        answer = send("input", "kind", [None, wrong, 1, 9, 64, 0, "", 0, 0])
        assert "Traceback" not in answer and "<svg" not in answer and "<b>" not in answer
    for data in ([None, "floor", "x", 9, 64, 0, "", 0, 0], [None, "floor", 1, 9, 64, 0, None, 0, 0], []):
        assert "no answer to these values" in send("input", "kind", data)
    body = {"data": [], "fn_index": 99999, "session_hash": "a"}
    assert httpx.post(f"{address}/gradio_api/queue/join", json=body, trust_env=False).status_code == 500
