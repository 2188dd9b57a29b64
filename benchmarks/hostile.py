"""A server under hostile clients: how long honest ones wait for their predictions, and how it ends on SIGTERM.

python benchmarks/reliability.py hostile --clients 200 --seconds 60

Clients of each kind hang on the server, and open a new connection whenever it ends one: they send half a header, a
header or a body byte by byte, a body in chunks of one byte, nearly a whole body, nothing after a request, requests
whose answers they never take, and images that are slow to decode. Meanwhile honest ones post an image and measure the
time from the connection to the answer.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from exports import untrained
from hostile_clients import allow_connections, encoded
from softpoint.inference import load_predictor
from softpoint.inference.export import ExportOptions, export
from softpoint.machine import cores, processor

LIMIT_S = 2.0  # for an honest client
GRACE_S = 10  # of the server
ARRIVE_S = 30  # for the hostile clients
CLIENTS = Path(__file__).with_name("hostile_clients.py")
HANG = ("half_header", "slow_header", "slow_body", "small_chunks", "idle", "slow_image", "long_body", "unread")
FLOOD = ("large_image",)  # which uses all of a small machine as well


def main(arguments: Sequence[str]) -> None:
    """Print what honest clients got; exit code 1 where one waited too long, or the server did not end in time."""
    parser = argparse.ArgumentParser(
        prog="reliability.py hostile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--honest", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kinds", nargs="+", choices=HANG + FLOOD, default=list(HANG))
    options = parser.parse_args(arguments)
    print(f"{processor()}, {cores()} cores; {options.clients} hostile clients: {', '.join(options.kinds)}", flush=True)
    allow_connections()
    with tempfile.TemporaryDirectory() as folder:
        process, port = serve(Path(folder))
        peak = Peak(process.pid)
        if not measure(peak, port, options.honest, 2):
            process.kill()
            sys.exit("failed: an honest client was refused or waited too long without hostile clients")
        command = [sys.executable, str(CLIENTS), str(port), str(options.clients), *options.kinds]
        hostile = subprocess.Popen(command)
        try:
            start = time.monotonic()  # a server that holds fewer than half of them is measured with those
            while connections(process.pid) < options.clients / 2 and time.monotonic() < start + ARRIVE_S:
                time.sleep(0.1)
            fine = measure(peak, port, options.honest, options.seconds)
            fine = hostile.poll() is None and fine
            print(f"server: {peak.mib} MiB at most, {connections(process.pid)} files and connections open")
            print(f"answers by path and status: {', '.join(answers(port))}")
            fine = stop(process) and fine
        finally:
            process.kill()
            hostile.kill()
    if not fine:
        sys.exit("failed: an honest client was refused or waited too long, or the server did not end")


def serve(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """Start a server with its defaults and a small untrained network; return it and its port."""
    checkpoint = untrained(folder, "data.size=64", "backbone=small", "backbone.width=8", "decoder.channels=8")
    export(checkpoint, load_predictor(checkpoint), folder / "model.onnx", ExportOptions())
    words = [f"model={folder}/model.onnx", "port=0", "warn=false", f"grace_s={GRACE_S}"]
    command = [sys.executable, "-m", "softpoint.cli", "serve", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    line = process.stdout.readline()
    return process, int(line.rsplit(":", 1)[1].split("/")[0])


def stop(process: subprocess.Popen[str]) -> bool:
    """Return whether SIGTERM ends the server within its grace and a second, under attack."""
    start = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(GRACE_S + 1)
    except subprocess.TimeoutExpired:
        print(f"server: does not end in {GRACE_S + 1} s")
        return False
    print(f"server: ended {time.perf_counter() - start:.1f} s after SIGTERM with exit code {process.returncode}")
    return process.returncode == 0


def measure(peak: Peak, port: int, clients: int, seconds: float) -> bool:
    """Return whether all honest clients got all their predictions in time, and print their times."""
    times: list[float] = []
    refused: list[str] = []
    body = encoded(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8), "JPEG")
    end = time.monotonic() + seconds

    def ask() -> None:
        while time.monotonic() < end:
            start = time.perf_counter()
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                try:
                    connection.request("POST", "/predict", body)
                    response = connection.getresponse()
                    text = response.read()
                    if response.status != 200:
                        refused.append(f"{response.status} {text[:200].decode()}")
                except (OSError, http.client.HTTPException) as error:
                    refused.append(f"{type(error).__name__} {error}")
            times.append(time.perf_counter() - start)
            peak.look()
            time.sleep(0.05)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spread = ", ".join(
        f"{np.percentile(times, share):.3f} s {name}" for share, name in ((50, "median"), (99, "of 99 %"))
    )
    print(f"{len(times)} honest requests: {spread}, {max(times):.3f} s at most; {len(refused)} refused", flush=True)
    for reason in sorted(set(refused))[:5]:
        print(f"  {refused.count(reason)} x {reason}", flush=True)
    return not refused and max(times) < LIMIT_S


class Peak:
    """The largest memory of a server and of the processes that it started, summed over those that run together."""

    def __init__(self, process: int) -> None:
        self.process, self.mib = process, 0

    def look(self) -> None:
        """Note the memory until now; a process that ended since the last look is not seen."""
        self.mib = max(self.mib, peak_mib(self.process))


def peak_mib(process: int) -> int:
    """Return the sum of the largest memories that a process and those that it started, and that run, have had."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        children = [path.read_text().split() for path in Path(f"/proc/{process}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):  # it ended
        return 0
    own = int(status.split("VmHWM:")[1].split()[0]) >> 10 if "VmHWM:" in status else 0
    return own + sum(peak_mib(int(child)) for several in children for child in several)


def connections(process: int) -> int:
    """Return the number of files and connections that a process has open."""
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def answers(port: int) -> list[str]:
    """Return how many answers of each path and status the server has given."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    found = (re.match(r'softpoint_requests_total{path="(.*)",status="(.*)"} (\d+)', line) for line in lines)
    return [f"{match[1]} {match[2]} {match[3]} x" for match in found if match]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1:])
