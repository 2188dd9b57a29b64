"""The callback that draws what a training sees, in the validations that happen anyway."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn

from softpoint.models.attention_maps import collect_attention
from softpoint.training.calibrate import confidence_fraction
from softpoint.training.dashboard.graph import show_graph
from softpoint.training.dashboard.images import attention_sheet, curves, found_sheet, heatmaps_sheet, points_sheet
from softpoint.training.dashboard.layout import custom_layout, keypoint_table, write_settings
from softpoint.training.dashboard.samples import Validation, choose_images
from softpoint.training.dashboard.scalars import BestEpoch, keypoint_entries
from softpoint.training.dashboard.writers import event_files, forget_from, writers
from softpoint.training.final_test import FinalTest
from softpoint.training.processes import gather_objects
from softpoint.types import AttentionMaps


class Dashboard(Callback):
    """Shows a training in TensorBoard, W&B and MLflow, written by the first process, of the images of all.

    Every `every_n_epochs` epochs, and in the first and the last one: the same validation images with their points,
    heatmaps and attention, what is found in whole images, the worst images of the epoch, its PCK curve and reliability
    diagram, a table by keypoint, and histograms of router weights. After each validation: the error of each keypoint,
    and as `best/...` the metrics
    of the best epoch, to which the test adds its EPE. In TensorBoard also a page of custom charts, and the row of
    `settings` in the table of runs.

    Args:
        images: number of fixed validation images, evenly from their groups.
        worst: number of worst images.
        share: of the training's time that drawing may take: an epoch between the first and the last is left out where
            it has taken more so far.
        graph: also show the graph of the network.
    """

    def __init__(self, every_n_epochs: int, images: int, worst: int, share: float, graph: bool) -> None:
        for key, value in (("every_n_epochs", every_n_epochs), ("images", images), ("worst", worst)):
            if type(value) is not int or value < 1:
                raise ValueError(
                    f"callbacks.dashboard.{key}={value}: give a whole number from 1 on, or drop '~callbacks.dashboard'"
                )
        if not 0 < share <= 1:
            raise ValueError(f"callbacks.dashboard.share={share}: give a fraction of the time, above 0 and up to 1")
        self.every_n_epochs, self.images, self.worst = every_n_epochs, images, worst
        self.share, self.graph = share, graph
        self.settings: Mapping[str, str | float] = {}  # that tell the run from others
        self.best = BestEpoch()
        self.spent, self._start = 0.0, time.monotonic()  # seconds of drawing; start of the training
        self._validation: Validation | None = None
        self._hooks = ExitStack()  # that collect the attention to the images of a batch
        self._maps: dict[str, list[AttentionMaps]] = {}
        self._found: np.ndarray | None = None  # what is found in the first whole images

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self.spent, self._start = 0.0, time.monotonic()
        size = getattr(trainer.datamodule, "size", None)
        for board in event_files(trainer):
            terms = [*pl_module.loss.terms, *["consistency"] * pl_module.learns_unlabeled]
            board.add_custom_scalars(custom_layout(pl_module.skeleton.names, terms))
            write_settings(board, self.settings)
            if self.graph and size is not None:
                show_graph(board, pl_module.net, size)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        for board in event_files(trainer) if trainer.global_step else ():
            forget_from(board, trainer.global_step)

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._validation = None
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        if trainer.strategy.broadcast(bool(writers(trainer)) and self._is_due(trainer)):
            source = getattr(trainer.datamodule, "sources", {}).get("val")
            self._validation = Validation(source, self._fixed(trainer, source), self.worst)
            scenes = trainer.datamodule.scenes.get("val") if pl_module.net.finder is not None else None
            if trainer.is_global_zero and scenes is not None and len(scenes):
                with self._timed():  # now, because the averaged weights are put back at the end of a validation
                    self._found = found_sheet(pl_module, trainer.datamodule, self.images)

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, *_: Any) -> None:
        if self._validation is not None and self._validation.needs_attention(batch):
            self._maps = self._hooks.enter_context(collect_attention(pl_module.net.attention, self._timed))

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        if self._validation is not None:
            with self._timed():
                self._hooks.close()
                self._validation.add(outputs, batch, self._maps)
                self._maps = {}

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._validation is not None:
            with self._timed():
                first, *others = gather_objects(trainer, self._validation)
                self._validation = first if trainer.is_global_zero else None
                first.join(others)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not trainer.is_global_zero:
            return
        self._log_scalars(trainer, pl_module)
        if self._validation is not None:
            with self._timed():
                self._draw(trainer, pl_module, self._validation)
            self._validation = None

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        test, step = FinalTest.of(trainer), trainer.global_step
        if test.results is None or not test.metrics:
            return
        for logger in trainer.loggers:  # beside best/epe in TensorBoard's table of runs
            logger.log_metrics({"best/epe_test": test.metrics["overall"]["epe"]["value"]}, step=step)
        shown = writers(trainer)
        images, table = curves(test.results, confidence_fraction(trainer)), keypoint_table(test.metrics["keypoints"])
        for writer in shown:
            for name, image in images.items():
                writer.image(f"test/{name}", image, step)
            writer.table("test/by_keypoint", *table, step)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best.value}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best.value = state_dict.get("best")

    def _is_due(self, trainer: Any) -> bool:
        epoch = trainer.current_epoch
        if self.spent == 0 or epoch + 1 == trainer.max_epochs or trainer.should_stop:
            return True
        afford = self.spent <= self.share * (time.monotonic() - self._start)
        return bool(afford and epoch % self.every_n_epochs == 0)

    def _fixed(self, trainer: Any, source: Any) -> list[int]:
        """The indices of the images that are drawn each time, among those that are validated."""
        length = self.images if source is None else len(source)
        batches = trainer.num_val_batches[0] if trainer.num_val_batches else 0
        seen = min(length, batches * getattr(trainer.datamodule, "batch_size", 1) * trainer.world_size)
        return choose_images(getattr(source, "groups", [""] * length), range(int(seen)), self.images)

    def _log_scalars(self, trainer: Any, module: Any) -> None:
        entries = keypoint_entries(module)
        values = {f"val_epe/{name}": entry["epe"] for name, entry in entries.items() if "epe" in entry}
        values |= self.best.update(trainer)
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step - 1)  # the step of Lightning's own curves

    def _draw(self, trainer: Any, module: Any, validation: Validation) -> None:
        shown, step, skeleton = writers(trainer), trainer.global_step - 1, module.skeleton
        fixed = [validation.fixed[index] for index in sorted(validation.fixed)]
        images: dict[str, np.ndarray] = {}
        if fixed:
            images["predictions"] = points_sheet(fixed, skeleton)
            if fixed[0].heatmaps is not None:
                images["heatmaps"] = heatmaps_sheet(fixed[0], skeleton)
            if fixed[0].attention:
                images["attention"] = attention_sheet(fixed, module.net.stride)
        if self._found is not None:
            images["found"] = self._found
        if validation.worst:
            images["worst"] = points_sheet([sample for _, sample in validation.worst], skeleton)
        images |= curves(validation.results(skeleton), confidence_fraction(trainer))
        table = keypoint_table(keypoint_entries(module))
        for writer in shown:
            for name, image in images.items():
                writer.image(f"val/{name}", image, step)
            writer.table("val/by_keypoint", *table, step)
            for name, weights in validation.router_weights().items():
                writer.histogram(f"router/{name}", weights, step)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.spent += time.monotonic() - start
