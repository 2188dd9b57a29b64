"""Search for a learning rate or a batch size: softpoint tune find=lr data=custom data.labels=FILE"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from softpoint.cli.first_weights import backbone_words
from softpoint.cli.overrides import split_arguments, train_overrides
from softpoint.cli.shell import here
from softpoint.cli.study import composed
from softpoint.suggest import check_choice, quoted

# A search is as long as it is, whatever the length of the training, and validates nothing.
ALONE = ("logger=none", "minutes=null", "trainer.max_epochs=-1", "trainer.check_val_every_n_epoch=1000000",
         "trainer.enable_progress_bar=false", "~callbacks.progress")  # fmt: skip

arguments = partial(split_arguments, study="tune")


def main(cfg: DictConfig) -> None:
    """Try learning rates or batch sizes with the training that the other overrides compose, and print the best."""
    from softpoint.training.initial_model import find_model

    check_choice("find", cfg.find, ("lr", "batch_size"))
    output = Path(cfg.output)
    steps = cfg.steps if cfg.find == "lr" else cfg.batch_steps
    alone = [*ALONE, f"trainer.max_steps={steps}", f"trainer.default_root_dir={quoted(output)}"]
    words = train_overrides(cfg.train, {})
    training = composed(words, hydra=True)
    initial = find_model(training.init) if training.init else None
    backbone = backbone_words(training, initial.config if initial else {})
    base = composed([*words, *backbone, *alone])
    if base.module.teacher is not None:
        raise ValueError("Lightning's finders do not average the weights of a teacher: search without semi=")

    from softpoint.cli.build import build
    from softpoint.cli.trainer import quiet_lightning
    from softpoint.labels.csv_io import write_rows
    from softpoint.studies.charts import tuning_chart
    from softpoint.training.tuning import BatchSizes, Rates, find_batch_size, find_rate
    from softpoint.viz.figures import write_figure

    quiet_lightning(resumed=False)
    module, data, trainer = build(base, initial)
    print(f"{data.summary}; {module.summary}")
    found: Rates | BatchSizes
    if cfg.find == "lr":
        found = find_rate(trainer, module, data, cfg.lr_min, cfg.lr_max, cfg.steps)
    else:
        found = find_batch_size(trainer, module, data, cfg.largest, cfg.batch_steps)
    write_rows(output / f"{cfg.find}.csv", found.rows)
    write_figure(output / cfg.find, tuning_chart(found), str(found))
    use = [f"use it: {found.setting}"] if found.setting else []
    print(found, *use, f"written to {here(output)}: {cfg.find}.csv, .png and .svg", sep="\n")
