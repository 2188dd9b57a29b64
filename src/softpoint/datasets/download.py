"""Downloads over http(s) that resume where they broke off and end in the right bytes or in one clear error."""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

_CHUNK = 1 << 18

# How much longer than announced a file may be whose length is only known roughly.
_SLACK = 4


class _BrokenOffError(Exception):
    """A transfer that may succeed when it is tried again."""


def download(
    url: str,
    path: Path,
    size: int,
    checksum: str | None = None,
    tries: int = 5,
    wait: float = 1.0,
    timeout: float = 30.0,
) -> Path:
    """The file at `url`, at `path`; nothing is transferred where it lies there already.

    Args:
        size: its bytes; exact where there is a `checksum`, else about.
        checksum: "sha256:HEX" or "md5:HEX". Only with one can a broken transfer be resumed: without, nothing
            would prove that the two halves belong together.
        tries: attempts in a row that bring nothing new, before it is given up.
        wait: seconds before the second attempt; each later one waits twice as long.
        timeout: seconds without a byte after which an attempt is given up.

    Raises ConnectionError where it cannot be had and ValueError where it is something else than expected.
    """
    by_hand = f"download it by hand to {path} and call again"
    if not re.match(r"https?://", url):
        raise ValueError(f"{url} is neither http nor https; {by_hand}")
    if path.is_file():
        if not _matches(path, checksum):
            raise ValueError(f"{path} is not the file that {url} should be ({checksum}); remove it and call again")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    if checksum is None or _length(part) > size:
        part.unlink(missing_ok=True)
    _enough_room(path, size - _length(part))
    with _bar() as progress:
        transfer = _Transfer(url, part, size, checksum is not None, timeout, by_hand, progress)
        _patiently(transfer, tries, wait)
    if not _matches(part, checksum):
        part.unlink()
        raise ValueError(f"{url} brought other bytes than expected ({checksum}), which were removed; {by_hand}")
    return part.replace(path)


def _patiently(transfer: _Transfer, tries: int, wait: float) -> None:
    """Attempts until the file is whole; an attempt that got further than any before starts the count anew."""
    furthest, failed = _length(transfer.part), 0
    while True:
        try:
            return transfer.attempt()
        except _BrokenOffError as error:
            failed = 0 if _length(transfer.part) > furthest else failed + 1
            furthest = max(furthest, _length(transfer.part))
            if failed >= tries:
                raise ConnectionError(
                    f"{transfer.url} could not be downloaded: {error} ({tries} attempts without progress); call again"
                    f" to go on where it stopped, or {transfer.by_hand}"
                ) from error
            time.sleep(wait * 2 ** max(failed - 1, 0))


@dataclass
class _Transfer:
    """Brings `url` into `part`, from the byte at which it ends."""

    url: str
    part: Path
    size: int
    exact: bool  # whether `size` is, and a checksum will tell
    timeout: float
    by_hand: str  # the way out, for messages
    progress: Progress

    def __post_init__(self) -> None:
        self.task = self.progress.add_task(self.part.name.removesuffix(".part"), total=self.size)

    def attempt(self) -> None:
        """Returns when the file is whole; raises _BrokenOffError where another attempt may help."""
        held = _length(self.part) if self.exact else 0
        if self.exact and held == self.size:
            return
        with self._open(held) as response:
            if (start := _start(response, held)) is None:
                self.part.unlink(missing_ok=True)
                raise _BrokenOffError("the server sent another part of the file than it was asked for")
            if response.headers.get_content_type() == "text/html":
                raise ValueError(
                    f"{self.url} answers with a web page instead of the file, as servers do that ask to sign in or"
                    f" limit downloads; try later, or {self.by_hand}"
                )
            with self.part.open("r+b" if start else "wb") as file:
                file.seek(start)
                self._copy(response, file, start)

    def _open(self, held: int) -> HTTPResponse:
        headers = {"User-Agent": "softpoint", "Accept-Encoding": "identity"}
        if held:
            headers["Range"] = f"bytes={held}-"
        try:
            return _OPENER.open(urllib.request.Request(self.url, headers=headers), timeout=self.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # the server's file is shorter than what is held
                self.part.unlink()
            elif error.code not in (408, 425, 429) and error.code < 500:
                raise ConnectionError(
                    f"{self.url} could not be downloaded: HTTP {error.code} {error.reason}; {self.by_hand}"
                ) from error
            raise _BrokenOffError(f"HTTP {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenOffError(str(error)) from error

    def _copy(self, response: HTTPResponse, file: IO[bytes], start: int) -> None:
        most = self.size if self.exact else _SLACK * self.size
        length, done = response.length, start
        while chunk := _read(response):
            done += len(chunk)
            if done > most:
                raise ValueError(f"{self.url} sends more than the {most} bytes that it should have; tell its owner")
            file.write(chunk)
            self.progress.update(self.task, completed=done)
        missing = self.size - done if self.exact else (length or 0) - (done - start)
        if missing > 0:
            raise _BrokenOffError(f"the connection was closed {missing} bytes before the end")


def _read(response: HTTPResponse) -> bytes:
    # Apart from writing: a full disk is no reason to ask the server again.
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error


def _start(response: HTTPResponse, held: int) -> int | None:
    """The byte at which the answer begins: 0 from a server that sends the whole file whatever it is asked for."""
    if response.status != 206:
        return 0
    said = re.match(rf"bytes {held}-", response.headers.get("Content-Range", ""))
    return held if said else None


def _matches(path: Path, checksum: str | None) -> bool:
    if checksum is None:
        return True
    name, _, expected = checksum.partition(":")
    assert name in ("sha256", "md5"), checksum
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest() == expected


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _enough_room(path: Path, needed: int) -> None:
    if (free := shutil.disk_usage(path.parent).free) < needed:
        raise ValueError(
            f"{path} needs {needed / 1e9:.1f} GB, and its disk has {free / 1e9:.1f} GB left; make room, or name"
            " another folder by SOFTPOINT_DATA"
        )


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    )


class _StayOnTheWeb(urllib.request.HTTPRedirectHandler):
    """Follows a redirection to http or https alone, and never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        old, new = req.type, newurl.partition(":")[0].lower()
        if new != "https" and not (new == "http" and old == "http"):
            raise urllib.error.HTTPError(req.full_url, code, f"a redirection to {newurl} is not followed", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    # build_opener would add handlers that open files and ftp.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _StayOnTheWeb(),
    ):
        opener.add_handler(handler)
    return opener


_OPENER = _opener()
