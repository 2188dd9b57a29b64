"""CPU and wall seconds of commands, their peak memory, and the parts of the way to the first step of a training.

python benchmarks/run.py startup rounds=3
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from omegaconf import OmegaConf

from exports import untrained
from measure import Options, Row
from predictions import write_video
from report import composed
from softpoint.inference import save_pretrained

# A training that ends behind its first step, and prints the CPU and wall seconds of each part of the way there.
FIRST_STEP = """
import json, os, sys, time
begun = time.time() - time.process_time()
marks = [("", 0.0, 0.0)]
def mark(name):
    marks.append((name, time.process_time(), time.time() - begun))
import softpoint.cli.hydra_app
mark("command line and Hydra")
from softpoint.cli import imports, main, train
imports.import_quickly(["torch"])
mark("import torch")
imports.import_quickly(["pytorch_lightning"])
mark("import pytorch_lightning")
imports.import_quickly(train.LIBRARIES)
mark("import softpoint.training")
from pytorch_lightning import Trainer
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
fit, advance = Trainer.fit, _TrainingEpochLoop.advance
def marked_fit(*given, **named):
    mark("config, data and network")
    fit(*given, **named)
def first_step(*given, **named):
    mark("Lightning's start")
    advance(*given, **named)
    mark("first step")
    parts = [(b[0], b[1] - a[1], b[2] - a[2]) for a, b in zip(marks, marks[1:])]
    print(json.dumps(parts), flush=True)
    for process in __import__("multiprocessing").active_children():
        process.kill()
    os._exit(0)
Trainer.fit, _TrainingEpochLoop.advance = marked_fit, first_step
main()
"""


def rows(options: Options) -> list[Row]:
    """Return a row for each command, with the peak of its resident memory, and for each part of the first step."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = commands_in(folder, options.overrides)
        made = [Row(name, "a new process", 1, "softpoint", [], []) for name in commands]
        parts: dict[str, Row] = {}
        for i in range(options.rounds + 1):  # after one that fills the system's cache of files
            for row, words in zip(made, commands.values(), strict=True):
                output, cpu, wall, peak = run([word.replace("ROUND", str(i)) for word in words])
                if not i:
                    continue
                row.cpu.append(cpu)
                row.wall.append(wall)
                row.more["wall s"] = max(row.more.get("wall s", 0.0), wall)
                row.more["peak GB"] = max(row.more.get("peak GB", 0.0), peak / 1e9)
                for part, *seconds in json.loads(output.splitlines()[-1]) if FIRST_STEP in words else ():
                    one = parts.setdefault(part, Row("parts of the way", part, 1, "softpoint", [], []))
                    one.cpu.append(seconds[0])
                    one.wall.append(seconds[1])
    return [*made, *parts.values()]


def commands_in(folder: Path, overrides: Sequence[str]) -> dict[str, list[str]]:
    """Return the arguments of Python of each command, of which ROUND is one round's own folder."""
    config = OmegaConf.to_container(composed(*overrides).model, resolve=True)
    save_pretrained(replace(untrained(folder, *overrides), config={"model": config}), folder / "model")
    cv2.imwrite(str(folder / "image.png"), np.zeros((360, 640, 3), np.uint8))
    write_video(folder / "frame.mp4", (360, 640), 1)
    cli = ["-m", "softpoint.cli"]
    predict = [*cli, "predict", f"ckpt={folder / 'model'}", "device=cpu", f"output={folder}/predictedROUND"]
    run_dir = f"hydra.run.dir={folder}/runROUND"
    return {
        "train --help": [*cli, "train", "--help"],
        "train model=dsa, to the first step": [
            *("-c", FIRST_STEP, "train", "model=dsa", "trainer.accelerator=cpu"),
            *(run_dir, *overrides),
        ],
        "predict, an image": [*predict, f"source={folder / 'image.png'}"],
        "predict, a frame": [*predict, f"source={folder / 'frame.mp4'}"],
    }


def run(words: Sequence[str]) -> tuple[str, float, float, int]:
    """Return what a new Python prints, its CPU and wall seconds, and the bytes of its memory at most."""
    peak = 0
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, *words], stdout=output, stderr=subprocess.STDOUT)
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            # Of wait4's facts, the peak counts this process, from which the other was forked.
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            peak = max(peak, 1024 * int(status.partition("VmHWM:")[2].split()[0])) if "VmHWM:" in status else peak
            time.sleep(0.05)
        wall, usage = time.perf_counter() - start, ended[2]
        process.returncode = os.waitstatus_to_exitcode(ended[1])
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise ValueError(f"{' '.join(words)[-200:]} ended with {process.returncode}: {text[-1000:]}")
    return text, usage.ru_utime + usage.ru_stime, wall, peak
