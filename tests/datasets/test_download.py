"""Downloads from a server on this machine that breaks off, refuses, redirects and lies."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterator
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import Request

import pytest

from softpoint.datasets.download import _StayOnTheWeb, download

CONTENT = random.Random(0).randbytes(600_000)
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT as the server's `plan` says, one entry a request, the last one for all that follow."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server.state  # type: ignore[attr-defined]
        asked = self.headers.get("Range")
        server.asked.append(asked)
        plan = server.plan.pop(0) if len(server.plan) > 1 else server.plan[0]
        start = int(asked[6:-1]) if asked and plan.get("ranges", True) else 0
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
    """A server with its `url`, the `plan` of its answers, and the Range header of each request it was `asked`."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    state = SimpleNamespace(url=f"http://127.0.0.1:{http.server_port}/set.zip", plan=[{}], asked=[])
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


def refused(server: SimpleNamespace, path: Path, error: type[Exception], match: str, **changes: object) -> None:
    """The download ends in this error, and nothing stands at `path`."""
    with pytest.raises(error, match=match) as caught:
        get(server, path, **changes)
    assert server.url in str(caught.value) or str(path) in str(caught.value)
    assert not path.exists()


def test_a_whole_file_is_transferred_once(server: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "new" / "set.zip"
    assert get(server, path) == path and path.read_bytes() == CONTENT
    assert get(server, path) == path and server.asked == [None]
    assert [file.name for file in path.parent.iterdir()] == ["set.zip"]


def test_md5_is_a_checksum_too(server: SimpleNamespace, tmp_path: Path) -> None:
    assert get(server, tmp_path / "set.zip", f"md5:{hashlib.md5(CONTENT).hexdigest()}").exists()


def test_a_broken_transfer_goes_on_where_it_stopped(server: SimpleNamespace, tmp_path: Path) -> None:
    server.plan = [{"sent": 250_000}, {"sent": 100_000}, {}]
    path = get(server, tmp_path / "set.zip")
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=250000-", "bytes=350000-"]


def test_a_later_call_goes_on_where_the_first_stopped(server: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    server.plan = [{"sent": 250_000}, {"status": 503}]
    refused(server, path, ConnectionError, "HTTP 503 .*call again to go on where it stopped, or download it by hand")
    assert len(server.asked) == 4  # one that brought something, then three that did not
    server.plan, server.asked = [{}], []
    assert get(server, path).read_bytes() == CONTENT and server.asked == ["bytes=250000-"]


def test_many_breaks_are_no_failure_while_it_gets_on(server: SimpleNamespace, tmp_path: Path) -> None:
    server.plan = [{"sent": 60_000} for _ in range(9)] + [{}]
    assert get(server, tmp_path / "set.zip").read_bytes() == CONTENT
    assert server.asked == [None, *(f"bytes={60_000 * i}-" for i in range(1, 10))]


def test_a_server_without_ranges_starts_over(server: SimpleNamespace, tmp_path: Path) -> None:
    server.plan = [{"sent": 250_000}, {"ranges": False}]
    assert get(server, tmp_path / "set.zip").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=250000-"]


def test_a_range_from_elsewhere_is_not_appended(server: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(CONTENT[:1000])
    server.plan = [{"shift": 5}, {}]
    assert get(server, tmp_path / "set.zip").read_bytes() == CONTENT and server.asked == ["bytes=1000-", None]


def test_without_a_checksum_nothing_is_resumed(server: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(b"something else")
    assert get(server, tmp_path / "set.zip", checksum=None, size=500_000).read_bytes() == CONTENT
    assert server.asked == [None]


def test_without_a_checksum_a_broken_transfer_starts_over(server: SimpleNamespace, tmp_path: Path) -> None:
    server.plan = [{"sent": 250_000}, {}]
    assert get(server, tmp_path / "set.zip", checksum=None, size=500_000).read_bytes() == CONTENT
    assert server.asked == [None, None]


def test_a_whole_part_needs_no_server(server: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(CONTENT)
    assert get(server, tmp_path / "set.zip").read_bytes() == CONTENT and server.asked == []


def test_a_part_that_is_too_long_is_dropped(server: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(CONTENT + b"more")
    assert get(server, tmp_path / "set.zip").read_bytes() == CONTENT and server.asked == [None]


def test_a_range_that_cannot_be_served_starts_over(server: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(CONTENT[:100])
    server.plan = [{"status": 416}, {}]
    assert get(server, tmp_path / "set.zip").read_bytes() == CONTENT and server.asked == ["bytes=100-", None]


def test_wrong_bytes_are_removed(server: SimpleNamespace, tmp_path: Path) -> None:
    server.plan = [{"body": CONTENT[::-1]}]
    refused(server, tmp_path / "set.zip", ValueError, "other bytes than expected .sha256:[0-9a-f]{64}., which were rem")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_of_the_user_is_kept(server: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"set\.zip is not the file that .*; remove it and call again"):
        get(server, tmp_path / "set.zip")
    assert (tmp_path / "set.zip").read_bytes() == b"mine" and server.asked == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_repeated(server: SimpleNamespace, tmp_path: Path, status: int) -> None:
    server.plan = [{"status": status}]
    refused(server, tmp_path / "set.zip", ConnectionError, f"HTTP {status} .*download it by hand to .*set.zip and call")
    assert len(server.asked) == 1


def test_a_passing_fault_is_waited_for(server: SimpleNamespace, tmp_path: Path) -> None:
    server.plan = [{"status": 429}, {"status": 500}, {}]
    assert get(server, tmp_path / "set.zip").exists() and len(server.asked) == 3


def test_attempts_wait_longer_and_longer(
    server: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("softpoint.datasets.download.time.sleep", waits.append)
    server.plan = [{"status": 500}]
    refused(server, tmp_path / "set.zip", ConnectionError, "4 attempts", tries=4, wait=0.5)
    assert waits == [0.5, 1.0, 2.0]


def test_a_web_page_is_no_archive(server: SimpleNamespace, tmp_path: Path) -> None:
    server.plan = [{"type": "text/html; charset=utf-8"}]
    refused(server, tmp_path / "set.zip", ValueError, "answers with a web page .*by hand to .*set.zip")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("checksum", "size"), [(SHA256, 500_000), (None, 100_000)])
def test_an_endless_answer_is_cut_off(server: SimpleNamespace, tmp_path: Path, checksum: str | None, size: int) -> None:
    server.plan = [{"length": False}]
    refused(server, tmp_path / "set.zip", ValueError, "sends more than", checksum=checksum, size=size)


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/set.zip", "data:,x"])
def test_a_redirection_off_the_web_is_not_followed(server: SimpleNamespace, tmp_path: Path, target: str) -> None:
    server.plan = [{"status": 302, "headers": {"Location": target}}]
    refused(server, tmp_path / "set.zip", ConnectionError, f"(?i)HTTP 302 .*redirection to .*{target}.* not ")


def test_a_redirection_from_https_to_http_is_not_followed() -> None:
    asked = Request("https://host/set.zip")
    with pytest.raises(HTTPError, match=r"a redirection to http://host/set\.zip is not followed"):
        _StayOnTheWeb().redirect_request(asked, io.BytesIO(), 302, "Found", HTTPMessage(), "http://host/set.zip")
    onwards = _StayOnTheWeb().redirect_request(asked, io.BytesIO(), 302, "", HTTPMessage(), "https://host/2.zip")
    assert onwards is not None and onwards.full_url == "https://host/2.zip"


def test_a_redirection_on_the_web_is_followed(server: SimpleNamespace, tmp_path: Path) -> None:
    server.plan = [{"status": 302, "headers": {"Location": "/elsewhere.zip"}}, {}]
    assert get(server, tmp_path / "set.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["ftp://host/set.zip", "file:///etc/hostname", "/etc/hostname", "httpx://host"])
def test_only_the_web_is_asked(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is neither http nor https; download it by hand"):
        download(url, tmp_path / "x", 1)
    assert list(tmp_path.iterdir()) == []


def test_nobody_there(server: SimpleNamespace, tmp_path: Path) -> None:
    server.url = "http://127.0.0.1:1/set.zip"
    refused(server, tmp_path / "set.zip", ConnectionError, "refused.*2 attempts without progress", tries=2)


def test_too_little_room_is_said_before_anything_is_asked(server: SimpleNamespace, tmp_path: Path) -> None:
    refused(server, tmp_path / "set.zip", ValueError, "name another folder by SOFTPOINT_DATA", size=10**17)
    assert server.asked == []
