"""A run that goes on: the checkpoint to go on from, and settings that differ from those before."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback
from torch.optim.lr_scheduler import LambdaLR

from softpoint.inference.compatibility import upgrade
from softpoint.inference.safe_load import read_torch_file
from softpoint.machine import library_versions
from softpoint.training.checkpoint_io import LAST, PREVIOUS, not_finite

# Settings that repeat others, or are of one start of a run.
_REPEATED = ("datamodule", "hydra", "module.loss", "module.net", "module.optimizer", "module.scheduler", "report",
             "resume", "trainer.callbacks", "trainer.default_root_dir", "trainer.logger", "trust")  # fmt: skip
_FOLDERS = ("dirpath", "save_dir", "folder")
# Settings that the state of a run is of, so that another value would be a new run.
_FIXED = ("optimizer._target_", "optimizer.amsgrad", "optimizer.centered", "scheduler._target_",
          "module.backbone_rate", "callbacks.ema._target_", "attention.temperature", "init",
          "model.norm._target_", "model.norm.width")  # fmt: skip


def find_checkpoint(place: Path) -> tuple[Path, dict[str, Any]]:
    """Return the checkpoint at a path, or the last one of the run in a folder, and its content.

    It is read to its end and compared with its checksums. Where the last one of a run is damaged, the one before it is
    taken, and what is repeated is said. Raises FileNotFoundError without any, and ValueError for damaged ones.
    """
    place = place / "checkpoints" / LAST if place.is_dir() else place
    names = (LAST, PREVIOUS) if place.name == LAST else (place.name,)
    paths = [path for name in names if (path := place.with_name(name)).is_file()]
    if not paths:
        run = place.parent.parent
        again = f"; softpoint train --from {run} starts the run again" if (run / ".hydra").is_dir() else ""
        raise FileNotFoundError(f"no checkpoint at {place}; a run keeps its own in checkpoints/{LAST}{again}")
    faults = []
    for path in paths:
        try:
            stored = _read(path)
        except ValueError as error:
            faults.append(f"{path} is no checkpoint of softpoint or is damaged: {error}")
            continue
        if path.name != place.name:
            lost = max(0.0, place.stat().st_mtime - path.stat().st_mtime) / 60 if place.is_file() else 0.0
            why = faults[0] if faults else f"{place} is missing"
            print(
                f"warning: {why}; the run goes on from {path.name}, step {stored.get('global_step')}, and repeats"
                f" {lost:.1f} minutes"
            )
        return path, stored
    best = place.with_name("best.ckpt")
    ways = [f"go on from its best epoch by softpoint resume {shlex.quote(str(best))}"] * _is_intact(best)
    raise ValueError(f"{'; '.join(faults)}; {', or '.join([*ways, 'start a new run'])}")


def finished_record(best: Path) -> dict[str, Any]:
    """Return the record in the best checkpoint of a run that was tested; {} of another."""
    try:
        record: dict[str, Any] = read_torch_file(best).get("record", {}) if best.is_file() else {}
    except ValueError:
        return {}
    return record if record.get("finished") else {}


def has_checkpoint(run: Path) -> bool:
    """Return whether a folder holds a run that can go on."""
    return any((run / "checkpoints" / name).is_file() for name in (LAST, PREVIOUS))


def _is_intact(path: Path) -> bool:
    with suppress(ValueError):
        return path.is_file() and bool(_read(path))
    return False


def _read(path: Path) -> dict[str, Any]:
    stored: dict[str, Any] = read_torch_file(path)
    if not isinstance(stored, dict) or "hyper_parameters" not in stored:
        raise ValueError("it is no checkpoint of a training")
    if name := not_finite(stored):
        raise ValueError(f"{name} holds NaN or infinity")
    return upgrade(stored)


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the settings of two configs that differ, as (before, now) by key; None where one has none.

    >>> changed_settings({"seed": 0, "optimizer": {"lr": 0.1}}, {"seed": 0, "optimizer": {"lr": 0.2}})
    {'optimizer.lr': (0.1, 0.2)}
    """
    first, second = dict(_leaves(before)), dict(_leaves(now))
    return {
        key: (first.get(key), second.get(key))
        for key in sorted(first.keys() | second.keys())
        if first.get(key) != second.get(key)
    }


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if name.startswith(_REPEATED) or key in _FOLDERS:
            continue
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, _plain(value)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


class Resume(Callback):
    """Lets a run go on with the settings that its command changed: `changes` lists them.

    A new learning rate scales the one that the schedule has reached. Raises ValueError for a setting that the state of
    the run cannot take over.
    """

    def __init__(self, stored: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        self.changes = changed_settings(stored["hyper_parameters"], config)
        versions, now = stored.get("versions") or {}, library_versions()
        self.versions = {name: (old, now[name]) for name, old in versions.items() if name in now and old != now[name]}
        # As the config makes them, before the checkpoint replaces them: each group of the optimizer, and the schedule.
        self._groups, self._schedule = list[dict[str, Any]](), dict[str, Any]()
        self._refuse(key for key in _FIXED if key in self.changes)
        before, new = self.changes.get("optimizer.lr", (1.0, 1.0))
        self._refuse(["optimizer.lr"] * (not before or new is None))

    def __str__(self) -> str:
        changes = [
            f"{key} {_shown(old)} -> {_shown(new)}" for key, (old, new) in (self.changes | self.versions).items()
        ]
        return "\n".join(f"changed since the run was stopped: {change}" for change in changes)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        groups, scheduler = trainer.optimizers[0].param_groups, trainer.lr_scheduler_configs[0].scheduler
        self._groups, self._schedule = [{**group} for group in groups], {**vars(scheduler)}
        self._refuse(key for key, name in self._of("optimizer") if any(name not in group for group in groups))
        if not isinstance(scheduler, LambdaLR):  # whose function is made of the new settings, and in no checkpoint
            self._refuse(key for key, name in self._of("scheduler") if name not in self._schedule)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        optimizer, scheduler = trainer.optimizers[0], trainer.lr_scheduler_configs[0].scheduler
        for key, name in self._of("optimizer"):
            if name == "lr":
                old, new = self.changes[key]
                _scale_rates(optimizer, scheduler, new / old)
                continue
            for group, made in zip(optimizer.param_groups, self._groups, strict=True):
                group[name] = made[name]
            optimizer.load_state_dict(optimizer.state_dict())  # a fused one has its count of steps on the device
        for _, name in self._of("scheduler"):
            if name in self._schedule:
                setattr(scheduler, name, self._schedule[name])

    def _of(self, part: str) -> list[tuple[str, str]]:
        """The changed settings of a part of the config: their keys, and their names in it."""
        return [(key, key.removeprefix(f"{part}.")) for key in self.changes if key.startswith(f"{part}.")]

    def _refuse(self, keys: Iterable[str]) -> None:
        for key in keys:
            before, new = (_shown(value) for value in self.changes[key])
            raise ValueError(
                f"{key} was {before} in the run so far and is {new} now, which its state cannot take over; leave"
                " it as it was, or start a new run"
            )


def _scale_rates(optimizer: Any, scheduler: Any, factor: float) -> None:
    for group in optimizer.param_groups:
        group |= {key: factor * group[key] for key in ("lr", "initial_lr") if key in group}
    for name in ("base_lrs", "_last_lr"):
        if hasattr(scheduler, name):
            setattr(scheduler, name, [factor * rate for rate in getattr(scheduler, name)])


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
