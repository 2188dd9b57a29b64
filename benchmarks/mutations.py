"""Damaged and hostile inputs of every reader, and requests to a server.

python benchmarks/reliability.py mutations --trials 10000

Each input is a valid or hostile file that was changed at random: bytes flipped, cut, repeated, numbers made huge. It is
read in a process that may end. Counted as failures are errors that are not ours (a ValueError or FileNotFoundError with
a message), crashes, inputs that take more than 5 s of processor time or 1 GiB, files written outside the folder of
output, and code that runs: programs started, objects of a pickle looked up, connections made. Every tenth input is a
request to a server, which must answer and stay well.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import logging
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hostile import connections, peak_mib, serve
from hostile_clients import encoded
from mutation_seeds import PIXELS, Target, targets
from softpoint.machine import cores, processor

SECONDS, MIB = 5, 1024
BATCH = 100  # inputs per process
HUGE = (b"9" * 12, b"-1", b"1e999", b"NaN", b"0", b"[" * 2000, b"../../../x")
WORDS = (b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\xff\xff\xff\x7f", b"\0\0\1\0", b"\x80\0\0\0")
RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pickle.find_class", "socket.connect")


def main(arguments: Sequence[str]) -> None:
    """Print what became of the inputs of each reader; exit code 1 after a failure."""
    parser = argparse.ArgumentParser(
        prog="reliability.py mutations", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    print(f"{processor()}, {cores()} cores", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="mutations-"))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    readers = targets(folder)
    unread = [reader.name for reader in readers if not readable(reader, folder)]
    if unread:
        sys.exit(f"these cannot be read even without damage: {', '.join(unread)}")
    counts: dict[str, Counter[str]] = {reader.name: Counter() for reader in readers}
    worst, failures = {"seconds": (0.0, ""), "mib": (0.0, "")}, 0
    for outcome in outcomes(readers, options.trials - options.trials // 10, options.seed, folder):
        name = outcome["name"]
        counts[name][outcome["kind"]] += 1
        for quantity in worst:
            worst[quantity] = max(worst[quantity], (outcome.get(quantity, 0), name))
        if outcome["kind"] not in ("read", "refused"):
            failures += 1
            print(f"{name} {outcome['number']}: {outcome['kind']} {outcome.get('text', '')[-1500:]}", flush=True)
    for name, count in counts.items():
        print(f"{name:<20}" + ", ".join(f"{number} {kind}" for kind, number in sorted(count.items())))
    (seconds, slow), (mib, large) = worst["seconds"], worst["mib"]
    print(f"longest {seconds:.2f} s ({slow}), most {mib:.0f} MiB ({large})", flush=True)
    failures += requests(options.trials // 10, options.seed, folder)
    shutil.rmtree(folder)
    if failures:
        sys.exit(f"{failures} failures")


def readable(reader: Target, folder: Path) -> bool:
    """Return whether a reader reads its first seed."""
    place = folder / "whole" / reader.name
    place.mkdir(parents=True)
    path = place / reader.name
    path.write_bytes(reader.seeds[0])
    return bool(attempt(reader, path, place)["kind"] == "read")


def outcomes(readers: Sequence[Target], trials: int, seed: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what became of each input; a process that ends is replaced."""
    number = 0
    while number < trials:
        end = min(number + BATCH, trials)
        mine, theirs = os.pipe()
        child = os.fork()
        if not child:
            os.close(mine)
            work(readers, range(number, end), seed, folder, theirs)
        os.close(theirs)
        with os.fdopen(mine, "rb", buffering=0) as pipe:
            for line in lines(pipe, child):
                number = line["number"] + 1
                yield line
        _, status = os.waitpid(child, 0)
        if status:
            name = readers[number % len(readers)].name
            yield {"name": name, "number": number, "kind": f"crash {signal.Signals(os.WTERMSIG(status)).name}"}
            number += 1


def lines(pipe: Any, child: int) -> Iterator[dict[str, Any]]:
    """Yield what a process reports, and end it where it reports nothing for long."""
    rest = b""
    while True:
        if not select.select([pipe], [], [], 12 * SECONDS)[0]:
            os.kill(child, signal.SIGKILL)
        data = pipe.read(1 << 16)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\n")
        yield from map(json.loads, whole)


def work(readers: Sequence[Target], numbers: Sequence[int], seed: int, folder: Path, pipe: int) -> None:
    """Read inputs and report what becomes of them, in a process of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    logging.disable()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (24 << 30, 24 << 30))
    place = folder / "input"
    found: list[str] = []
    watch(place, found)
    try:
        for number in numbers:
            reader, draw = readers[number % len(readers)], random.Random(f"{seed} {number}")
            shutil.rmtree(place, ignore_errors=True)
            (place / "out").mkdir(parents=True)
            os.chdir(place)
            path = place / reader.name
            path.write_bytes(mutated(draw, draw.choice(reader.seeds), reader.seeds))
            found.clear()
            outcome = {"name": reader.name, "number": number} | attempt(reader, path, place / "out")
            if found or any(place.parent.rglob("canary")) or any(place.parent.rglob("outside")):
                outcome |= {"kind": "ran code or wrote outside", "text": " ".join(found)}
            os.write(pipe, json.dumps(outcome).encode() + b"\n")
    except BaseException:
        os.write(
            pipe,
            json.dumps(
                {"name": reader.name, "number": number, "kind": "harness", "text": traceback.format_exc()}
            ).encode()
            + b"\n",
        )
    os._exit(0)


def attempt(reader: Target, path: Path, out: Path) -> dict[str, Any]:
    """Return what becomes of one input."""
    Path("/proc/self/clear_refs").write_text("5")  # forgets the largest memory so far
    before, start = memory_mib("VmRSS"), time.process_time()
    kind, text = "read", ""
    try:
        reader.read(path, out)
    except Exception as error:
        kinds = type(error) in (ValueError, FileNotFoundError) or type(error).__module__.startswith("softpoint.")
        ours = kinds and isinstance(error, ValueError | FileNotFoundError) and str(error)
        kind, text = ("refused", "") if ours else ("foreign error", traceback.format_exc())
    seconds, mib = time.process_time() - start, memory_mib("VmHWM") - before
    if seconds > SECONDS or mib > MIB:
        kind, text = "too expensive", f"{seconds:.1f} s, {mib:.0f} MiB"
    return {"kind": kind, "text": text, "seconds": seconds, "mib": mib}


def memory_mib(entry: str) -> float:
    """Return the memory of this process."""
    return int(Path("/proc/self/status").read_text().split(f"{entry}:")[1].split()[0]) / 1024


def watch(place: Path, found: list[str]) -> None:
    """Note each program that is started, object of a pickle, connection, and file written outside `place`."""

    def note(event: str, details: tuple[Any, ...]) -> None:
        if event in RUNS:
            found.append(f"{event} {details}"[:300])
        elif event == "open" and isinstance(details[0], str | bytes | os.PathLike):
            path = Path(os.path.abspath(os.fsdecode(details[0])))  # noqa: PTH100
            writes = isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and not path.is_relative_to(place.parent) and not path.is_relative_to("/proc/self"):
                found.append(f"writes {path}"[:300])

    sys.addaudithook(note)


def mutated(draw: random.Random, seed: bytes, others: Sequence[bytes]) -> bytes:
    """Return a seed with one to six random changes."""
    data = bytearray(seed)
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        at = draw.randrange(len(data) + 1)
        if draw.random() < 0.5:  # headers are at the start
            at = draw.randrange(min(len(data), 200) + 1)
        end = min(len(data), at + draw.choice((1, 1, 2, 4, 16, 400)))
        match draw.randrange(8):
            case 0 | 1:
                data[at:end] = draw.randbytes(end - at)
            case 2:
                data[at : at + 4] = draw.choice(WORDS)
            case 3:
                del data[at:end]
            case 4:
                data[at:at] = data[at:end] * draw.choice((1, 2, 1000))
            case 5:
                numbers = list(re.finditer(rb"\d+", data))[:5000]
                if numbers:
                    number = draw.choice(numbers)
                    data[number.start() : number.end()] = draw.choice(HUGE)
            case 6:
                del data[at:]
            case 7:
                data[at:end] = (other := draw.choice(others))[min(at, len(other)) : end]
    return bytes(data)


def requests(trials: int, seed: int, folder: Path) -> int:
    """Send damaged requests to a server and return the number of failures."""
    process, port = serve(folder)
    body = encoded(PIXELS, "JPEG")
    header = (
        b"POST /predict?box=1,2,3,4 HTTP/1.1\r\nhost: a\r\ncontent-type: image/jpeg\r\ncontent-length: %d\r\n\r\n"
        % len(body)
    )
    chunked = b"POST /predict HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % len(body)
    seeds = [header + body, header.replace(b"?box=1,2,3,4", b"") + body, chunked + body + b"\r\n0\r\n\r\n"]
    seeds += [b"GET /model HTTP/1.1\r\nhost: a\r\n\r\n" * 2, b"GET /metrics HTTP/1.0\r\n\r\n"]
    counts: Counter[str] = Counter()
    failures = 0
    for number in range(trials):
        draw, start = random.Random(f"{seed} request {number}"), time.perf_counter()
        status = ask(port, mutated(draw, draw.choice(seeds), seeds))
        counts[status] += 1
        late = time.perf_counter() - start > SECONDS
        failures += late or (status.startswith("5") and status != "503")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request("GET", "/health")
        failures += connection.getresponse().status != 200
    failures += peak_mib(process.pid) > MIB or connections(process.pid) > 40
    print(f"server: {dict(sorted(counts.items()))}, {peak_mib(process.pid)} MiB at most, {failures} failures")
    process.terminate()
    process.wait(60)
    return failures


def ask(port: int, request: bytes) -> str:
    """Return the status of the answer to a request, after which nothing follows."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2 * SECONDS) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(1 << 16)
        match = re.match(rb"HTTP/1\.1 (\d+)", answer)
        return match[1].decode() if match else "no answer"
    return "closed"


if __name__ == "__main__":
    main(sys.argv[1:])
