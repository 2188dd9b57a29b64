"""Reports of commands: the warnings given, the command that writes one again, and that of the end of a training run."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig

from softpoint.cli.shell import command, here
from softpoint.suggest import setting

if TYPE_CHECKING:
    import numpy as np

    from softpoint.inference import Checkpoint
    from softpoint.training.final_test import FinalTest

_log = logging.getLogger(__name__)


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Yield the list of warnings that are logged within the block, each once."""
    handler = _Warnings()
    logging.getLogger().addHandler(handler)
    try:
        yield handler.messages
    finally:
        logging.getLogger().removeHandler(handler)


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if (message := record.getMessage()) not in self.messages:
            self.messages.append(message)


def typed_command(name: str) -> str:
    """Return the running command, which is `name`, as it was typed."""
    config = HydraConfig.get()
    flags = [f"--config-dir={s.path}" for s in config.runtime.config_sources if s.provider == "command-line"]
    words = [word for word in config.overrides.hydra if not word.startswith("hydra.mode=")]
    return f"{command(name)} {shlex.join([*flags, *words, *config.overrides.task])}"


def write_report(path: Path, page: Callable[[], str]) -> None:
    """Write what `page` returns to an HTML file; a failure is a warning, because the results are written already."""
    from softpoint.paths import write_text

    try:
        write_text(path, page())
    except (OSError, ValueError) as error:
        _log.warning("%s was not written: %s", path, error)
    else:
        print(f"report: {here(path)}")


def write_test_report(
    trainer: Any,
    test: FinalTest,
    checkpoint: Checkpoint | None,
    path: Path,
    warnings: Sequence[str],
    trusted: str,
) -> None:
    """Write report.html of the final test into the folder of a run; `path` is the checkpoint that was tested."""
    from softpoint.evaluation.eval_data import confidence_fraction
    from softpoint.evaluation.files import REPORT
    from softpoint.metrics.calibration import FRACTION
    from softpoint.report import evaluation_page
    from softpoint.report.facts import model_facts

    assert test.results is not None
    fraction = FRACTION if checkpoint is None else confidence_fraction(checkpoint)
    metrics = {"split": "test", "confidence_fraction": fraction, **test.metrics}
    facts = [] if checkpoint is None else model_facts(checkpoint)
    source, results = trainer.datamodule.sources["test"], test.results

    def load(i: int) -> np.ndarray:
        image: np.ndarray = source.load(0, test.tested[i]).image
        return image

    def load_scene(i: int) -> np.ndarray:
        image: np.ndarray = trainer.datamodule.scenes["test"].load_scene(0, test.searched[i]).image
        return image

    again = f"{command('evaluate')} {setting('ckpt', here(path))}{trusted}"
    found = None if test.found is None else (test.found, load_scene)
    page = partial(evaluation_page, results, metrics, load, facts, warnings, again, found=found)
    write_report(Path(trainer.default_root_dir) / REPORT, page)
