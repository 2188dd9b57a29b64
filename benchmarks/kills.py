"""Trainings killed at random moments and resumed, compared bit by bit with the same trainings never killed.

python benchmarks/reliability.py kills --trials 60

Networks, schedules and data of several kinds take turns. A trial starts a training in a process of its own and ends it
by SIGKILL, at a random moment or while a checkpoint is being written, once or twice. Then it reads the checkpoints that
are left, resumes the run, and compares each value of last.ckpt and best.ckpt, each logged value and test.csv with those
of a run of this kind that was never killed. TMPDIR is on another file system in half of the trials.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import torch

from run_differences import differences
from softpoint.inference.safe_load import read_torch_file
from softpoint.machine import cores, processor

SMALL = (
    "data.size=64", "data.batch_size=2", "decoder.channels=8", "trainer.accelerator=cpu", "epochs=3",
    "callbacks.dashboard.images=1", "callbacks.dashboard.worst=1", "~callbacks.progress",
    "trainer.enable_progress_bar=false", "trainer.log_every_n_steps=1", "report=false", "must_work=false",
)  # fmt: skip
PLAIN = "~callbacks.dashboard"  # whose drawings take more time than such a training
SYNTHETIC = ("data.train=16", "data.val=4", "data.test=4")
# The settings of each kind of training; {labels} and {shards} are folders of small sets.
KINDS = {
    "cosine": (*SYNTHETIC, "backbone.width=8", "data.num_workers=0"),
    "efficientnet": (*SYNTHETIC, PLAIN, "backbone=efficientnet_b0", "backbone.stages=[2,3,4]", "data.num_workers=0"),
    "convnext": (*SYNTHETIC, PLAIN, "backbone=convnext_tiny", "backbone.stages=[2,3]", "data.num_workers=1"),
    "plateau": (*SYNTHETIC, PLAIN, "backbone.width=8", "scheduler=plateau", "scheduler.patience=0",
                "data.num_workers=1", "trainer.accumulate_grad_batches=2", "callbacks.freeze.fraction=0.4",
                "augment=strong"),
    "mean-teacher": (PLAIN, "data=custom", "data.labels={labels}/labels.csv", "backbone=small", "backbone.width=8",
                     "data.epoch_steps=8", "semi=mean_teacher", "data.unlabeled_images.source={labels}",
                     "module.teacher.threshold=0", "data.num_workers=0"),
    "streaming": (PLAIN, "data=streaming", "data.folder={shards}", "backbone=small", "backbone.width=8",
                  "optimizer=sgd", "scheduler=constant", "head=simcc", "data.num_workers=2"),
}  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Run the trials and print what became of them; exit code 1 unless all resumed and were bit-identical."""
    parser = argparse.ArgumentParser(
        prog="reliability.py kills", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=60, help="that resume from a checkpoint; others are not counted")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args(arguments)
    print(f"{processor()}, {cores()} cores, torch {torch.__version__}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    draw = random.Random(options.seed)
    write_labels(folder / "labels")
    run(["pack", "data=custom", f"data.labels={folder}/labels/labels.csv", f"output={folder}/shards"], folder / "pack")
    wholes = {kind: Whole(kind, folder) for kind in options.kinds}
    counts: Counter[str] = Counter()
    number, kinds = 0, len(options.kinds)
    while counts["resumed"] < options.trials and number < 3 * options.trials:
        whole = wholes[options.kinds[number % kinds]]
        outcome = trial(whole, folder / "trial", draw, elsewhere=number // kinds % 2 == 1)
        counts.update(outcome)
        number += 1
        print(f"{counts['resumed']}/{options.trials} {whole.kind}: {', '.join(outcome)}", flush=True)
        if "bit-identical" in outcome:
            shutil.rmtree(folder / "trial")
        else:
            shutil.move(folder / "trial", folder / f"failed-{number}")
    print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    if counts["bit-identical"] != number or counts["resumed"] < options.trials:
        sys.exit(f"failed: fewer resumed than were asked for, or see the folders failed-* in {folder}")
    shutil.rmtree(folder)


class Whole:
    """A training of one kind that is never killed, trained where it is first needed."""

    def __init__(self, kind: str, folder: Path) -> None:
        places = {"labels": folder / "labels", "shards": folder / "shards"}
        self.kind, self.folder, self.seconds = kind, folder / kind, 0.0
        self.words = [*SMALL, "checkpoint_every.steps=3", *(word.format(**places) for word in KINDS[kind])]

    def train(self) -> None:
        """Train it, unless it was."""
        if not self.seconds:
            start = time.monotonic()
            code = run(["train", *self.words, f"hydra.run.dir={self.folder}"], self.folder / "log.txt")
            assert code == 0, (self.folder / "log.txt").read_text()
            self.seconds = time.monotonic() - start


def trial(whole: Whole, folder: Path, draw: random.Random, elsewhere: bool) -> list[str]:
    """Kill a training once or twice, resume it, and return what was done and how it ended."""
    whole.train()
    words, log = ["train", *whole.words, f"hydra.run.dir={folder}", "resume=auto"], folder / "log.txt"
    with tempfile.TemporaryDirectory(dir="/dev/shm" if elsewhere else None) as temporary:
        environment, outcome = {"TMPDIR": temporary}, []
        for _ in range(draw.choice((1, 1, 2))):
            saving = draw.random() < 0.4
            how = while_saving(folder, draw) if saving else at_random(folder, whole.seconds, draw)
            if run(words, log, environment, how) >= 0:
                outcome.append("ended before its kill")
            else:
                outcome.append("kill while saving" if saving else "kill")
            for path in folder.glob("checkpoints/[!.]*.ckpt"):  # those that are complete have their names
                try:
                    read_torch_file(path)
                except ValueError as error:
                    return [*outcome, f"unreadable {path.name} ({error})"]
            if (folder / "checkpoints" / "last.ckpt").exists():
                words = ["resume", str(folder)]
        if words[0] == "resume" and {"kill", "kill while saving"} & {*outcome}:
            outcome.append("resumed")
        code = run(words, log, environment)
        if code != 0:
            return [*outcome, f"exit code {code}"]
    differing = differences(whole.folder, folder)
    return [*outcome, f"differs: {', '.join(differing[:5])}" if differing else "bit-identical"]


Ending = Callable[[int], None]


def at_random(folder: Path, seconds: float, draw: random.Random) -> Ending:
    """Return a function that ends a process group at any moment, in three of four cases after the first checkpoint."""
    late, share = draw.random() < 0.75, draw.random()

    def end(process: int) -> None:
        while late and not (folder / "checkpoints" / "last.ckpt").exists() and _runs(process):
            time.sleep(0.001)
        time.sleep(share * seconds * (0.6 if late else 1.05))
        os.killpg(process, signal.SIGKILL)

    return end


def while_saving(folder: Path, draw: random.Random) -> Ending:
    """Return a function that ends a process group while it writes one of its first checkpoints."""
    seen, wanted, delay = set[str](), draw.randrange(1, 16), draw.choice((0, 0, 0.001, 0.01))

    def end(process: int) -> None:
        while len(seen) < wanted and _runs(process):
            # Each writer of a file has a name of its own beside it, which is renamed.
            with suppress(FileNotFoundError), os.scandir(folder / "checkpoints") as entries:
                seen.update(f"{entry.name} {entry.inode()}" for entry in entries if entry.name[0] == ".")
            time.sleep(0.0005)
        time.sleep(delay)
        os.killpg(process, signal.SIGKILL)

    return end


def _runs(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def run(words: Sequence[str], log: Path, environment: dict[str, str] | None = None, end: Ending | None = None) -> int:
    """Run a command of softpoint in a process forked from this one; return its exit code, negative if killed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        os.setpgid(0, 0)
        _command(words, log, environment or {})
    os.setpgid(process, process)  # whichever of the two is first
    if end:
        end(process)
    status = os.waitpid(process, 0)[1]
    if end:  # workers that outlive their parent for a moment hold files open
        while _alive(process):
            time.sleep(0.01)
    return os.waitstatus_to_exitcode(status)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _command(words: Sequence[str], log: Path, environment: dict[str, str]) -> None:
    """Be the command, its output in the file `log`; never returns."""
    from softpoint.cli import main

    code = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.environ.update(environment)
        tempfile.tempdir = None  # computed again from TMPDIR
        torch.set_num_threads(1)
        sys.argv = ["softpoint", *words]
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def write_labels(folder: Path, count: int = 24) -> None:
    """Write images of two discs each and their labels."""
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = [",a,a,b,b", "bodyparts,a,a,b,b", "coords,x,y,x,y"]
    for number in range(count):
        image, points = draw.integers(0, 60, (64, 64, 3), dtype=np.uint8), draw.integers(6, 58, (2, 2))
        for point, color in zip(points.tolist(), ((255, 40, 40), (40, 255, 40)), strict=True):
            cv2.circle(image, point, 4, color, -1)
        cv2.imwrite(str(folder / f"{number:02}.png"), image)
        rows.append(",".join(map(str, [f"{number:02}.png", *points.ravel().tolist()])))
    (folder / "labels.csv").write_text("\n".join(["scorer,us,us,us,us", *rows[1:], ""]))
