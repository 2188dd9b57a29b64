"""Damaged requests to a server, for benchmarks/mutations.py."""

from __future__ import annotations

import contextlib
import gzip
import random
import re
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hostile import Peak, connections, serve
from hostile_clients import encoded
from mutation_damage import mutated
from mutation_seeds import PIXELS
from mutation_work import MIB, SECONDS

POST = b"POST /predict HTTP/1.1\r\nhost: a\r\n"
EVERY = 100  # requests, after which the valid ones are sent again
CLIENTS = 8
WAIT_S = 0.5  # for the answer to a request that may be incomplete


def requests(trials: int, seed: int, folder: Path) -> int:
    """Send damaged requests to a server, and valid ones all the time; return the number of failures."""
    process, port = serve(folder)
    peak, valid, hostile = Peak(process.pid), requests_that_are_answered(), hostile_requests()

    def send(number: int) -> tuple[str, str]:
        """Send a request, and return its answer and, where it is none, why."""
        if number % EVERY < len(valid):
            status = ask(port, valid[number % EVERY], SECONDS)
            return "valid", "" if status == "200" else f"a valid request: {status}"
        draw, start = random.Random(f"{seed} request {number}"), time.perf_counter()
        status = ask(port, mutated(draw, draw.choice(valid + hostile), valid), WAIT_S)
        seconds = time.perf_counter() - start
        peak.look()
        fails = seconds > SECONDS or (status.startswith("5") and status != "503")
        return status, f"request {number}: {status} after {seconds:.1f} s" if fails else ""

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(send, range(trials)))
    faults = [fault for _, fault in answers if fault]
    if peak.mib > MIB or connections(process.pid) > 40:
        faults.append(f"the server has {peak.mib} MiB and {connections(process.pid)} connections")
    counts = Counter(status for status, _ in answers)
    print(f"server: {dict(sorted(counts.items()))}, {peak.mib} MiB at most", *faults, sep="\n")
    process.terminate()
    process.wait(60)
    return len(faults)


def requests_that_are_answered() -> list[bytes]:
    """Return valid requests of all paths."""
    body = encoded(PIXELS, "JPEG")
    chunked = POST + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    gets = [b"GET /model HTTP/1.1\r\nhost: a\r\n\r\n" * 2, b"GET /metrics HTTP/1.0\r\n\r\n"]
    return [POST + b"content-length: %d\r\n\r\n" % len(body) + body, chunked, *gets]


def hostile_requests() -> list[bytes]:
    """Return requests that may be refused: boxes, two lengths, many parts, endless names, bodies that inflate."""
    body = encoded(PIXELS, "PNG")
    length, query = b"content-length: %d\r\n" % len(body), b"?" + b"&".join([b"box=1,2,3,4e999"] * 3)
    return [
        POST.replace(b"/predict", b"/predict" + query) + length + b"\r\n" + body,
        POST.replace(b"/predict", b"/../../etc/passwd%00?" + b"%" * 500) + length + b"\r\n" + body,
        POST + length + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n" + body,
        POST + length * 2 + b"content-length: 0\r\n\r\n" + body,
        POST + b"expect: 100-continue\r\ncontent-encoding: gzip\r\n" + length + b"\r\n" + gzip.compress(body),
        POST + b"".join(b"x%d: y\r\n" % number for number in range(2000)) + b"\r\n",
        POST + b"cookie: " + b"a" * 100_000 + b"\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\n" + b"1;" + b"x" * 1000 + b"\r\na\r\n" * 200,
        b"GET /metrics HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n" * 500,
    ]


def ask(port: int, request: bytes, wait_s: float) -> str:
    """Return the status of the answer to a request, after which nothing follows."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=wait_s) as client:
        client.sendall(request)
        answer = b""
        with contextlib.suppress(TimeoutError):
            answer = client.recv(1 << 16)
        if not answer:  # it waits for more
            client.settimeout(2 * SECONDS)
            client.shutdown(socket.SHUT_WR)
            answer = client.recv(1 << 16)
        match = re.match(rb"HTTP/1\.1 (\d+)", answer)
        return match[1].decode() if match else "no answer"
    return "closed"
