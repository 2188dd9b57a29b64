"""What a request may reach: the page, its parts and its events, and no file of the machine."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import urlsplit

from softpoint.explorer.bodies import Message, Receive, TooLongError, UploadFolder, again, counted, whole

Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# Whole paths, and folders of the page's own parts. Everything else that gradio answers is left out: files, addresses
# that it would fetch, monitoring, and the editor of its own source.
EVENT, UPLOAD = "/gradio_api/queue/join", "/gradio_api/upload"
PATHS = {
    "/", "/config", "/theme.css", "/manifest.json", "/favicon.ico", EVENT,
    "/gradio_api/queue/data", UPLOAD, "/gradio_api/upload_progress", "/gradio_api/startup-events",
    "/gradio_api/reset", "/gradio_api/cancel",
}  # fmt: skip
FOLDERS = ("/assets/", "/static/", "/svelte/", "/gradio_api/heartbeat/")
MAX_EVENT = 1_000_000  # bytes of an event, which holds settings and no file
KEPT_S = 600  # seconds that an uploaded file is kept on disk
_LARGEST_FILES = 10  # files of the largest size that are kept at a time
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]

_log = logging.getLogger(__name__)


class Guard:
    """Passes requests of known paths on, with bodies of a stated and limited length, and files from `folder` alone.

    Other pages that a visitor's browser has open may link to the page and no more: they could send events and uploads.
    A request that fails is logged in one line.
    """

    def __init__(self, app: App, folder: Path, max_bytes: int) -> None:
        self.app, self.folder, self.max_bytes = app, folder, max_bytes
        # What the library deletes is gone by then.
        self.room = UploadFolder(folder, _LARGEST_FILES * max_bytes, KEPT_S + 120)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, with headers that keep the page from loading anything from elsewhere."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        if scope["type"] != "http":
            return
        send, length = _with_headers(send), 0
        if (refusal := self.refusal(scope)) is None and scope["method"] == "POST":
            length = _stated(dict(scope["headers"]))
        with self.room.taken(length) if scope["path"] == UPLOAD else nullcontext(True) as there:
            refusal = refusal if there else (507, "too many files are kept here; try again in ten minutes")
            if refusal is None:
                await self.answer(scope, counted(receive, length), send)
            else:
                await _refuse(send, *refusal)

    async def answer(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request that is not refused, or refuse it for what its body holds."""
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        refusal = None
        try:
            if scope["path"] == EVENT:
                body = await whole(receive)
                receive = again(body, receive)
                if not names_only_uploads(body, self.folder):
                    refusal = 403, "a file of an event must have been uploaded here"
            if refusal is None:
                await self.app(scope, receive, sending)
        except asyncio.CancelledError:  # the server ends
            if started:
                await send({"type": "http.response.body"})
        except TooLongError as error:
            refusal = 413, str(error)
        except Exception as error:
            _log.warning("no answer to %s %s: %s", scope["method"], in_a_line(scope["path"]), in_a_line(error))
            refusal = 500, "this request cannot be answered"
        if refusal and not started:
            await _refuse(send, *refusal)

    def refusal(self, scope: Message) -> tuple[int, str] | None:
        """Return status and reason for a request that is refused."""
        headers, path = dict(scope["headers"]), scope["path"]
        if _of_another_page(headers) and not (path == "/" and _is_link(scope["method"], headers)):
            return 403, "this request comes from another page"
        if path not in PATHS and not path.startswith(FOLDERS):
            return 404, "there is no such page"
        if scope["method"] in ("GET", "HEAD"):
            return None
        if scope["method"] != "POST":
            return 405, "there are GET and POST"
        length, limit = headers.get(b"content-length", b""), MAX_EVENT
        if path == UPLOAD:
            limit = self.max_bytes + 10_000  # of the parts between files
        if not length.isdigit() or b"transfer-encoding" in headers:  # which counts more than the length
            return 411, "state the length of the body"
        return (413, f"the body has more than {limit} bytes") if _stated(headers) > limit else None


def names_only_uploads(body: bytes, folder: Path) -> bool:
    """Return whether a body is JSON in which every `path` is of a file in `folder`, also behind links.

    The library itself would copy any file of the machine, or fetch an address, for an event that names it.

    >>> names_only_uploads(b'{"data": [{"path": "/etc/passwd"}]}', Path("/tmp/uploads"))
    False
    """
    try:
        remaining, inside = [json.loads(body)], folder.resolve()
        while remaining:
            value = remaining.pop()
            if isinstance(value, dict):
                if "path" in value and not Path(value["path"]).resolve().is_relative_to(inside):
                    return False
                remaining += value.values()
            elif isinstance(value, list):
                remaining += value
    except (ValueError, TypeError, RecursionError, OSError):
        return False
    return True


def in_a_line(content: object) -> str:
    """Return a text of anyone as one line of up to 300 letters, for a log.

    >>> in_a_line("no\\nsuch file\\x1b[1m")
    'no such file[1m'
    """
    return "".join(filter(str.isprintable, " ".join(str(content).split())))[:300]


def _stated(headers: Mapping[bytes, bytes]) -> int:
    return int(headers[b"content-length"][:20])  # a number of thousands of digits takes long


def _of_another_page(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a browser states that a page from elsewhere asks, also one of another port of this machine.

    >>> _of_another_page({b"sec-fetch-site": b"same-site"}), _of_another_page({})
    (True, False)
    >>> _of_another_page({b"origin": b"http://evil.example", b"host": b"127.0.0.1:7860"})
    True
    """
    if (site := headers.get(b"sec-fetch-site")) is not None:
        return site not in (b"same-origin", b"none")
    if (origin := headers.get(b"origin")) is None:  # of a program, or an older browser's request for a part of a page
        return False
    try:
        return urlsplit(origin).netloc != headers.get(b"host")
    except ValueError:
        return True


def _is_link(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a browser goes to a page, which shows it to its visitor alone."""
    return method == "GET" and headers.get(b"sec-fetch-mode") == b"navigate" and b"origin" not in headers


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *_HEADERS]
        await send(message)

    return sending


async def _refuse(send: Send, status: int, reason: str) -> None:
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": reason.encode()})
