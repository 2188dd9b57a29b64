"""The command line `softpoint COMMAND ...`, of which each command is one module of this package."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import TextIOWrapper

# Every command, which is the name of its module, and its line in `softpoint --help`.
COMMANDS = {
    "train": "Train a keypoint model, test it, and write checkpoints and metrics",
    "resume": "Go on with a training that was stopped",
    "evaluate": "Measure a trained model on held-out images, or compare several",
    "calibrate": "Calibrate the confidence of a model whose training was interrupted",
    "predict": "Predict keypoints on images and videos",
    "tracks": "Measure the tracks of a video against labels that name individuals",
    "suggest": "Find the images to label next, and labels to check",
    "export": "Write a trained model as a file that runs without this package's training code",
    "serve": "Serve an exported model over HTTP",
    "inspect": "Find mistakes in labels and images before training",
    "convert": "Write labels in another format",
    "fetch": "Download a public data set",
    "weights": "Download starting weights of a backbone",
    "pack": "Pack images and labels into shards for streaming",
    "crossval": "Cross-validate a training run and pool the results of all folds",
    "ensemble": "Join trained models to one, or train several and join them",
    "compare": "Train variants alike and compare their errors and costs",
    "tune": "Search for a learning rate or a batch size",
    "curve": "Train on growing numbers of labels, or for longer, and draw the learning curve",
    "demo": "Show spatial softmax and attention in numbers and figures",
    "explore": "Explore spatial softmax, attention, a model and labels in a browser",
}
# Options of Hydra's command line, without and with a value.
FLAGS = ("--help", "-h", "--hydra-help", "--multirun", "-m", "--run", "-r", "--resolve", "--info", "-i", "--version")
VALUED = (
    "--config-dir",
    "-cd",
    "--config-name",
    "-cn",
    "--config-path",
    "-cp",
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--from",
)
HELP = """\
Train, measure and ship 2-D keypoint models.

  softpoint COMMAND [KEY=VALUE ...]
  softpoint COMMAND --help            what it does, its groups and all of its settings
  softpoint COMMAND --help NAME       one group, or one setting
  softpoint COMMAND --config-dir DIR  also read your own config groups from DIR

Commands
"""


def main(command: str | None = None) -> None:
    """Run `command` with the arguments of the command line, whose first one names it where it is None."""
    for stream in (sys.stdout, sys.stderr):  # a name that a terminal cannot show is no reason to lose a run
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)  # a log shows a line when it is printed
    words = sys.argv[1:]
    if command is None and words[1:] and words[0] in ("help", "-h", "--help"):
        words = [words[1], "--help", *words[2:]]
    if command is None:
        if not words or words[0] in ("help", "-h", "--help"):
            print(HELP, *(f"  {name:<10}{line}" for name, line in COMMANDS.items()), sep="\n")
            return
        if words[0] == "--version":
            from softpoint import __version__

            print(f"softpoint {__version__}")
            return
        command, *words = words
        if command not in COMMANDS:
            from softpoint.suggest import did_you_mean

            sys.exit(f"error: softpoint has no command {command!r}; {did_you_mean(command, COMMANDS)}")
    # sys.argv keeps the command, because Lightning starts the other processes of a distributed training by it.
    try:
        from softpoint.cli.hydra_app import launch
        from softpoint.watchdog import end_command, watchdog

        watchdog.late = end_command
        launch(command, join_flags(words))
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(130)


def join_flags(words: Sequence[str]) -> list[str]:
    """Return arguments with each flag and its value as one, so that no value is taken for KEY=VALUE.

    >>> join_flags(["a=1", "--config-dir", "b=2", "-m"])
    ['a=1', '--config-dir=b=2', '-m']
    """
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in VALUED:
            joined[-1] += f"={word}"
        elif word.startswith("-") and word.partition("=")[0] not in (*FLAGS, *VALUED):
            from softpoint.suggest import did_you_mean

            sys.exit(f"error: unknown option {word!r}; {did_you_mean(word, (*FLAGS, *VALUED))}")
        else:
            joined.append(word)
    if joined and joined[-1] in VALUED:
        sys.exit(f"error: {joined[-1]} needs a value behind it")
    for flag, equals, kind in (word.partition("=") for word in joined if word.startswith(("--cfg=", "-c="))):
        if kind not in (kinds := ("job", "hydra", "all")):
            from softpoint.suggest import did_you_mean

            sys.exit(f"error: {flag}{equals}{kind}: {did_you_mean(kind, kinds)}")
    return joined
