"""Speed of training of whole trainers, on the same images, with the same backbone, in turns, on a CPU.

python benchmarks/trainers.py ENVIRONMENTS data=mirror_mouse --rounds 2

ENVIRONMENTS is a folder: each trainer is installed there once, in an environment of its own, with this one's torch.
Each trains with random weights and its own head, loss, optimizer, augmentation, loading and callbacks; the docstrings
of benchmarks/peers/train_*.py say what differs. Timed are the steps from one validation to the next, behind the first
steps, with one validation and its checkpoint. One that cannot be installed or trained is a row with the reason.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from environments import Requirements, environment
from measure import spread
from memory import tree_bytes
from report import composed
from softpoint.paths import write_json, write_text
from softpoint.studies.markdown import hardware
from softpoint.tables import console, markdown_table, print_markdown
from softpoint.viz.figures import COLORS, new_figure, styled, write_figure

# By name: the driver in the folder `peers`, its settings, and what is installed for it; nothing for softpoint itself.
TRAINERS: dict[str, tuple[str, dict[str, str], Requirements | None]] = {
    "softpoint baseline": ("softpoint", {"model": "baseline"}, None),
    "softpoint dsa": ("softpoint", {"model": "dsa"}, None),
    "softpoint bf16-mixed": ("softpoint", {"model": "baseline", "precision": "bf16-mixed"}, None),
    "sleap-nn": ("sleap_nn", {}, Requirements("sleap-nn", "0.3.5", more=("transformers",))),
    # Its reader of videos is installed from NVIDIA's own registry, and a training on images does without.
    "lightning-pose": ("lightning_pose", {}, Requirements("lightning-pose", "2.4.3", without="nvidia-dali")),
    "deeplabcut": ("deeplabcut", {}, Requirements("deeplabcut", "3.0.2")),
}
FIRST = 3  # the step at whose end the time begins


@dataclass
class Result:
    """Times of a trainer, a number for each round, or the reason why there are none.

    Args:
        name: that of TRAINERS.
        versions: of the trainer and of torch.
        images: number of them in the steps that are timed.
        cpu, wall: seconds of those steps and of the validation between, of all processes and by the clock.
        start, start_cpu: seconds from the start of the process to the end of the first step.
        memory: bytes of all processes at their peak, shared pages counted once.
    """

    name: str
    versions: str = ""
    images: int = 0
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    start_cpu: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    failed: str = ""

    def add(self, steps: str, begin: float, window: int, batch: int, memory: int) -> None:
        """Add a round, from the text that the driver wrote and the clock at the start of its process."""
        self.versions, *lines = steps.splitlines()
        times = [tuple(map(float, line.split())) for line in lines]
        (wall, cpu), (last_wall, last_cpu) = times[FIRST - 1], times[FIRST - 1 + window]
        self.images = window * batch
        self.cpu.append(last_cpu - cpu)
        self.wall.append(last_wall - wall)
        self.start.append(times[0][0] - begin)
        self.start_cpu.append(times[0][1])
        self.memory.append(memory)


def main(arguments: Sequence[str]) -> None:
    """Train in turns, print the table, and write results.json, results.md and plot.png."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("environments", type=Path, help="folder of the trainers' environments")
    parser.add_argument(
        "data", nargs="?", default="data=mirror_mouse", help="a set of softpoint train with a split file"
    )
    parser.add_argument("--trainers", nargs="+", choices=TRAINERS, default=list(TRAINERS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=3, help="over the training images, from a validation to the next")
    parser.add_argument("--backbone", choices=("resnet18", "resnet50"), default="resnet18")
    parser.add_argument("--size", type=int, default=256, help="side of the network's input")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--limit", type=float, default=900, help="seconds of a training that end it")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "trainers")
    options = parser.parse_args(arguments)
    print(hardware(), flush=True)
    results = [Result(name) for name in options.trainers]
    with tempfile.TemporaryDirectory() as folder:
        labels = Path(folder, "labels")
        settings = write_labels(options.data, labels)
        for key in ("size", "batch", "passes", "backbone"):
            settings[key] = getattr(options, key)
        if settings["images_of_a_pass"] % options.batch:
            raise ValueError(
                f"--batch {options.batch} must divide the {settings['images_of_a_pass']} training images of "
                f"{options.data}, because trainers differ in what they do with the rest"
            )
        settings["validate_steps"] = options.passes * settings["images_of_a_pass"] // options.batch
        for number in range(options.rounds):
            for result in results:
                if not result.failed:
                    run = Path(folder, f"{result.name.replace(' ', '-')}-{number}")
                    measure(result, options.environments.absolute(), run, settings, options.limit)
                    print(result.failed or f"{result.name}: {result.cpu[-1]:.1f} CPU s", flush=True)
    text = table(results)
    print_markdown(text, console())
    command = f"python benchmarks/trainers.py {' '.join(arguments)}"
    options.output.mkdir(parents=True, exist_ok=True)
    rows = [asdict(result) for result in results]
    write_json(options.output / "results.json", {"command": command, "hardware": hardware(), "rows": rows})
    write_text(options.output / "results.md", f"`{command}`, on {hardware()}.\n\n{text}\n")
    write_figure(options.output / "plot", plot(results))
    print(f"written to {options.output}")


def write_labels(data: str, folder: Path) -> dict[str, Any]:
    """Write the labels of a set and its split in the formats of the trainers, and return where they and its images are.

    all.csv has all labels in the layout of DeepLabCut and lightning-pose, splits.csv the part of each image, and
    train.json and val.json the labels of a part in that of COCO.
    """
    config = composed(data).data
    if not config.splits:
        raise ValueError(f"{data} has no split file; name a set that has one, such as data=mirror_mouse")
    folder.mkdir()
    for form, name in (("dlc_csv", "all.csv"), ("coco", "all.json")):
        words = [f"labels={config.labels}", f"to={form}", f"output={folder / name}", f"hydra.run.dir={folder}"]
        subprocess.run(
            [sys.executable, "-m", "softpoint.cli", "convert", *words], check=True, stdout=subprocess.DEVNULL
        )
    splits = Path(config.splits).read_text(encoding="utf-8")
    write_text(folder / "splits.csv", splits)
    parts = dict(line.rsplit(",", 1) for line in splits.split("\n")[1:] if line)
    whole = json.loads((folder / "all.json").read_text(encoding="utf-8"))
    count = {}
    for part in ("train", "val"):
        images = [image for image in whole["images"] if parts.get(image["file_name"]) == part]
        kept = {image["id"] for image in images}
        labels = [label for label in whole["annotations"] if label["image_id"] in kept]
        write_json(folder / f"{part}.json", {**whole, "images": images, "annotations": labels})
        count[part] = len(images)
    images_folder = Path(config.images or Path(config.labels).parent).absolute()
    return {"images": str(images_folder), "labels": str(folder), "images_of_a_pass": count["train"]}


def measure(result: Result, environments: Path, run: Path, settings: dict[str, Any], limit: float) -> None:
    """Train once, and add the round to the result, or the reason why it has none."""
    driver, own, requirements = TRAINERS[result.name]
    try:
        python = environment(environments, requirements) if requirements else Path(sys.executable)
    except subprocess.CalledProcessError as error:
        result.failed = f"not installed: {last_line(error.stdout)}"
        return
    train(result, python, driver, {**settings, **own}, run, limit, surroundings(own=requirements is None))


def train(
    result: Result, python: Path, driver: str, settings: dict[str, Any], run: Path, limit: float, env: dict[str, str]
) -> None:
    """Train once with a driver in the new folder `run`, and add the round to the result, or why it has none."""
    run.mkdir()
    words = [str(python), str(Path(__file__).parent / "peers" / f"train_{driver}.py")]
    wanted = FIRST + settings["validate_steps"]
    begin = time.monotonic()
    log = run / "log.txt"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [*words, json.dumps({**settings, "run": str(run)})],
            stdout=file, stderr=file, cwd=run, env=env, start_new_session=True,
        )  # fmt: skip
        try:
            peak, written = 0, ""
            while process.poll() is None and time.monotonic() < begin + limit and written.count("\n") <= wanted:
                time.sleep(1)
                peak = max(peak, tree_bytes(process.pid))
                written = (run / "steps.txt").read_text(encoding="utf-8") if (run / "steps.txt").exists() else ""
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # it and the processes that load for it
            process.wait()
    if written.count("\n") <= wanted:
        taken = max(0, written.count("\n") - 1)
        said = last_line(log.read_text(encoding="utf-8", errors="replace"))
        result.failed = f"{taken} of {wanted} steps in {time.monotonic() - begin:.0f} s: {said}"
        return
    result.add(written, begin, settings["validate_steps"], settings["batch"], peak)


def surroundings(own: bool) -> dict[str, str]:
    """Return the environment variables of a training, which reads and reports nothing over a network."""
    inherited = {key: value for key, value in os.environ.items() if own or key != "PYTHONPATH"}
    return {**inherited, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "NO_ALBUMENTATIONS_UPDATE": "1"}


def last_line(text: str) -> str:
    """Return the last line that is not empty, shortened.

    >>> last_line("Traceback:\\nImportError: no module\\n\\n")
    'ImportError: no module'
    """
    return next((line.strip()[:200] for line in reversed(text.splitlines()) if line.strip()), "nothing was printed")


def table(results: Sequence[Result]) -> str:
    """Return a Markdown table with a row for each trainer: median, and fastest and slowest round.

    The ratio is that of CPU time to the first trainer's, round by round.
    """
    headings = ["trainer", "images per CPU s", "CPU time, ratio", "images/s", "first step, s", "first step, CPU s",
                "peak GiB", "version, torch"]  # fmt: skip
    lines = []
    for one in results:
        if one.failed:
            lines.append([one.name, one.failed, *[""] * (len(headings) - 2)])
            continue
        first = results[0].cpu
        compared = spread([a / b for a, b in zip(one.cpu, first, strict=True)]) if not results[0].failed else ""
        lines.append([
            one.name, spread([one.images / seconds for seconds in one.cpu]), compared,
            spread([one.images / seconds for seconds in one.wall]), spread(one.start), spread(one.start_cpu),
            spread([size / 2**30 for size in one.memory]), one.versions,
        ])  # fmt: skip
    return markdown_table(headings, lines)


@styled
def plot(results: Sequence[Result]) -> Figure:
    """Return a figure of images per CPU second: a bar of the median of each trainer, with its rounds as points."""
    measured = [one for one in results if not one.failed]
    figure, (axes,) = new_figure(1, (6.5, 0.5 * len(measured) + 1.2))
    for number, one in enumerate(measured):
        rates = [one.images / seconds for seconds in one.cpu]
        axes.barh(number, median(rates), color=COLORS[number % len(COLORS)])
        axes.plot(rates, [number] * len(rates), "k.")
    axes.set(yticks=range(len(measured)), yticklabels=[one.name for one in measured], xlabel="images per CPU second")
    axes.invert_yaxis()
    return figure


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(str(error))
