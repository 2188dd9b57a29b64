"""Trainings in several processes, of one host or two, beside one in a single process.

python benchmarks/reliability.py ranks
python benchmarks/reliability.py ranks --hosts   two hosts too, which are network namespaces: needs root and `ip`

One process trains on batches of 8 images, two on 4 each, four on 2 each, with group normalization. Their losses at each
step and their weights must agree to float tolerance: also where one of two processes lacks memory for its batch
(trainer.accumulate=auto), where the run of two goes on within an epoch as one process, and where torchrun starts all
processes of two hosts again because one was killed. The metrics of the test split, measured by the processes together,
must be those of `softpoint evaluate` in one process, to 1e-6. Then a process is killed or stopped, and the others must
end within a minute and name its rank.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning.callbacks import Callback

from hosts import Host, start, two_hosts
from softpoint.inference.safe_load import read_torch_file
from softpoint.machine import cores, processor

SETTINGS = (
    "data.size=64", "data.train=48", "data.val=9", "data.test=21", "data.num_workers=0", "decoder.channels=8",
    "backbone.width=8", "trainer.accelerator=cpu", "trainer.max_epochs=3", "trainer.enable_progress_bar=false",
    "~callbacks.progress", "~callbacks.ema", "must_work=false",
    "trainer.log_every_n_steps=1", "report=false", "logger=csv", "~callbacks.dashboard", "optimizer=sgd",
    "optimizer.lr=0.01", "norm=group", "checkpoint_every.steps=1",
)  # fmt: skip
PORT, MEETING = "29731", "29732"
LIMIT = 60.0  # seconds until the end of a training whose process is gone


class ShortOfMemory(Callback):
    """Lets the memory of the second process hold 2 images at once from step 5 on."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        def refuse(_: Any, inputs: tuple[torch.Tensor]) -> None:
            if trainer.global_step >= 5 and len(inputs[0]) > 2 and torch.is_grad_enabled():
                raise torch.OutOfMemoryError("CUDA out of memory, as if")

        if trainer.global_rank == 1:
            pl_module.net.backbone.register_forward_pre_hook(refuse)


class Signal(Callback):
    """Sends a signal to the process of a rank after step 8, within the second epoch, once in a run."""

    def __init__(self, rank: int, number: int) -> None:
        self.rank, self.number = rank, number

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        sent = Path(trainer.default_root_dir, "sent")
        if trainer.global_rank == self.rank and trainer.global_step == 8 and not sent.exists():
            sent.touch()
            os.kill(os.getpid(), self.number)


def main(arguments: Sequence[str]) -> None:
    """Run all parts and print what they measured; exit code 1 where one fails."""
    parser = argparse.ArgumentParser(
        prog="reliability.py ranks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lose", action=argparse.BooleanOptionalAction, default=True, help="end processes too")
    parser.add_argument("--hosts", action="store_true", help="also across two network namespaces")
    options = parser.parse_args(arguments)
    print(f"{processor()}, {cores()} cores, torch {torch.__version__}", flush=True)
    with tempfile.TemporaryDirectory(prefix="ranks-") as temporary:
        folder, failures = Path(temporary), list[str]()
        wait(train([Host()], 1, folder / "1"), folder / "1")
        failures += compare(folder, "2", [Host()], 2)
        failures += compare(folder, "4", [Host()], 4)
        failures += compare(folder, "2 sharded", [Host()], 2, "trainer=fsdp")
        short = ["trainer.accumulate=auto", "+callbacks.short._target_=ranks.ShortOfMemory"]
        failures += compare(folder, "2 short of memory", [Host()], 2, *short)
        failures += continued(folder)
        if options.lose:
            failures += lose(folder, "killed", [Host()], 1, signal.SIGKILL)
            failures += lose(folder, "stopped", [Host()], 1, signal.SIGSTOP)
        if options.hosts:
            with two_hosts() as hosts:
                failures += compare(folder, "2x2", hosts, 2)
                failures += elastic(folder, hosts)
                failures += lose(folder, "killed of another host", hosts, 3, signal.SIGKILL)
                failures += lose(folder, "cut off", hosts, 2, None)
                failures += alone(folder, hosts)
    if failures:
        sys.exit("failed: " + "; ".join(failures))


def train(hosts: Sequence[Host], devices: int, folder: Path, *more: str) -> list[subprocess.Popen[str]]:
    """Start the first process of a training on each host; it writes to `folder` and a log beside it."""
    nodes, processes = len(hosts), list[subprocess.Popen[str]]()
    trainer = ["trainer=ddp"] * (not any(word.startswith("trainer=") for word in more))
    several = [] if devices * nodes == 1 else [*trainer, f"trainer.devices={devices}", f"trainer.num_nodes={nodes}"]
    words = [
        "train",
        *several,
        *SETTINGS,
        f"data.batch_size={8 // (devices * nodes)}",
        *more,
        f"hydra.run.dir={folder}",
    ]
    for node, host in enumerate(hosts):
        place = {"MASTER_ADDR": hosts[0].address, "MASTER_PORT": PORT, "NODE_RANK": str(node)} if nodes > 1 else {}
        processes.append(start(host, ["-m", "softpoint.cli", *words], log_of(folder, node), place))
    return processes


def log_of(folder: Path, node: int = 0) -> Path:
    """Return the file of what a host prints."""
    return folder.with_name(f"{folder.name}.{node}.txt")


def wait(processes: Sequence[subprocess.Popen[str]], folder: Path) -> None:
    """Wait for the end of a training; RuntimeError where it fails."""
    for node, process in enumerate(processes):
        if process.wait(600):
            raise RuntimeError(log_of(folder, node).read_text()[-2000:])


def compare(folder: Path, name: str, hosts: Sequence[Host], devices: int, *more: str) -> list[str]:
    """Train, and return how the curve, weights or metrics differ from those of one process."""
    wait(train(hosts, devices, folder / name, *more), folder / name)
    return differences(folder, name)


def continued(folder: Path) -> list[str]:
    """Stop a training of two processes within an epoch, go on in one, and return how it differs from one process."""
    name = "2 and then 1"
    stop = [
        "+callbacks.stop._target_=ranks.Signal",
        "+callbacks.stop.rank=0",
        f"+callbacks.stop.number={signal.SIGTERM:d}",
    ]
    (stopped,) = train([Host()], 2, folder / name, *stop)
    code = stopped.wait(600)
    words = ["-m", "softpoint.cli", "resume", str(folder / name), "trainer.strategy=auto", "trainer.devices=1"]
    wait([start(Host(), [*words, "data.batch_size=8"], log_of(folder / name), {})], folder / name)
    going_on = "going on after 8 steps" in log_of(folder / name).read_text()
    return [*differences(folder, name), *["the run did not stop and go on"] * (code != 143 or not going_on)]


def elastic(folder: Path, hosts: Sequence[Host]) -> list[str]:
    """Train on two hosts by torchrun, kill a process of the second, and return how the run differs from one process.

    The process ends before the last step is saved, which is repeated.
    """
    name, processes = "2x2 started again", list[subprocess.Popen[str]]()
    kill = [
        "+callbacks.kill._target_=ranks.Signal",
        "+callbacks.kill.rank=3",
        f"+callbacks.kill.number={signal.SIGKILL:d}",
    ]
    several = ["trainer=ddp", "trainer.devices=2", "trainer.num_nodes=2", "data.batch_size=2"]
    for node, host in enumerate(hosts):
        run = [
            "-m",
            "torch.distributed.run",
            "--nnodes=2",
            "--nproc-per-node=2",
            "--max-restarts=2",
            "--rdzv-backend=c10d",
        ]
        run += [f"--rdzv-endpoint={hosts[0].address}:{MEETING}", f"--local-addr={host.address}"]
        run += [f"--rdzv-conf=is_host={int(node == 0)}", "-m", "softpoint.cli"]
        words = [*run, "train", *several, *SETTINGS, *kill, f"hydra.run.dir={folder / name}"]
        processes.append(start(host, words, log_of(folder / name, node), {}))
    wait(processes, folder / name)
    going_on = "going on after 7 steps" in log_of(folder / name).read_text()
    return [*differences(folder, name), *["torchrun did not go on"] * (not going_on)]


def differences(folder: Path, name: str) -> list[str]:
    """Print, and return where they are large, the differences of a run from that of one process."""
    one, several = (losses(folder / run) for run in ("1", name))
    curve = largest(abs(a - b) / abs(a) for a, b in zip(one, several, strict=True))
    first, last = (read_torch_file(folder / run / "checkpoints/last.ckpt")["state_dict"] for run in ("1", name))
    weights = largest(float((last[key].double() - first[key].double()).abs().max()) for key in first)
    metrics = measured(folder / name)  # relative, as float32 is
    print(
        f"{name} processes: {len(one)} losses differ by {curve:.1e} of them, weights by {weights:.1e}, and the"
        f" errors on 21 images from those of one process by {metrics:.1e} of them",
        flush=True,
    )
    return [f"{name} processes differ"] * (not (curve <= 1e-4 and weights <= 1e-4 and metrics <= 1e-6))


def largest(values: Iterable[float]) -> float:
    """Return the largest of values, NaN where one is."""
    return float(np.max(list(values)))


def losses(run: Path) -> list[float]:
    """Return the loss at each step of a run."""
    by_step: dict[int, float] = {}
    for path in sorted(run.glob("csv/version_*/metrics.csv")):  # one per start, of which the last says what counts
        with path.open(newline="") as file:
            by_step |= {int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]}
    return [by_step[step] for step in sorted(by_step)]


def measured(run: Path) -> float:
    """Return the largest relative difference of an error in a run's test from that which one process evaluates."""
    words = [f"ckpt={run}/checkpoints/best.ckpt", f"output={run}/evaluation", "warn=false"]
    command = [sys.executable, "-m", "softpoint.cli", "evaluate", *words]
    subprocess.run(command, check=True, capture_output=True)
    stored = json.loads((run / "evaluation" / "metrics.json").read_text())
    with (run / "test.csv").open(newline="") as file:
        rows = {row["keypoint"]: float(row["epe"]) for row in csv.DictReader(file)}
    values = {name: entry["epe"] for name, entry in stored["keypoints"].items()}
    values["all"] = stored["overall"]["epe"]["value"]
    return largest(abs(rows[name] - float(value)) / float(value) for name, value in values.items())


def lose(folder: Path, how: str, hosts: Sequence[Host], rank: int, number: int | None) -> list[str]:
    """Train, end or cut off the process of a rank, and return whether the others do not end in time and name it."""
    run = folder / how.replace(" ", "-")
    processes = train(hosts, 2, run, "data.train=4000", "trainer.max_epochs=1000")
    while not (run / "checkpoints" / "last.ckpt").is_file():
        time.sleep(1)
        assert all(process.poll() is None for process in processes), log_of(run).read_text()
    start, gone = time.monotonic(), set[int]() if number is None else {rank}
    missed = gone or {2, 3}  # of a host that is cut off, whichever of its ranks is missed first
    if number is None:
        subprocess.run([*hosts[1].prefix, "ip", "link", "set", "veth1", "down"], check=True)
    else:
        os.kill(ranks_of(run)[rank], number)
    while (left := _left(processes, run) - gone) and time.monotonic() < start + LIMIT:
        time.sleep(0.5)
    seconds, codes = time.monotonic() - start, [process.poll() for process in processes]
    for process in processes:
        process.kill()
    for number in ranks_of(run).values():  # one that was stopped
        os.kill(number, signal.SIGKILL)
    told = [line for line in log_of(run).read_text().splitlines() if line.startswith("error: ")]
    named = any(f"rank {one} " in line for line in told for one in missed)
    print(f"rank {rank} {how}: the others ended after {seconds:.0f} s: {told[-1] if told else '-'}", flush=True)
    print(f"  exit codes {codes}, ranks that did not end: {sorted(left) or 'none'}", flush=True)
    return [f"rank {rank} {how}"] * (not named or bool(left) or 0 in codes)


def _left(processes: Sequence[subprocess.Popen[str]], run: Path) -> set[int]:
    first = {2 * node for node, process in enumerate(processes) if process.poll() is None}
    return first | ranks_of(run).keys()


def ranks_of(run: Path) -> dict[int, int]:
    """Return the processes of a run by rank, from their command lines and environments."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words, environment = ((path / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:
            continue
        values = dict(entry.decode(errors="replace").partition("=")[::2] for entry in environment)
        ours = b"train" in words and any(str(run).encode() in word for word in words) and b"python" in words[0]
        if ours:
            found[2 * int(values.get("NODE_RANK", 0)) + int(values.get("LOCAL_RANK", 0))] = int(path.name)
    return found


def alone(folder: Path, hosts: Sequence[Host]) -> list[str]:
    """Start the first of two hosts alone, and return whether it does not say so and end."""
    environment = {"MASTER_ADDR": hosts[0].address, "MASTER_PORT": PORT, "NODE_RANK": "0"}
    run = folder / "alone"
    first = Host(hosts[0].address, hosts[0].prefix, {**hosts[0].environment, **environment})
    (process,) = train([first], 2, run, "trainer.num_nodes=2", "callbacks.ranks.wait=20")
    process.wait(120)
    told = log_of(run).read_text().splitlines()[-1]
    print(f"the other host does not come: {told}", flush=True)
    return ["a host alone"] * ("did not all come" not in told)
