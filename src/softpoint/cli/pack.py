"""Pack images and labels for streaming: softpoint pack data=custom data.labels=FILE output=SET"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from softpoint.cli.run_folder import lock_output
from softpoint.cli.shell import command, here
from softpoint.suggest import setting


def main(cfg: DictConfig) -> None:
    """Write the train, val and test sets of a training with this data, and print the command that streams them."""
    from hydra.utils import instantiate

    from softpoint.data.shards.upload import local_folder
    from softpoint.data.shards.writer import pack
    from softpoint.progress import track

    if "://" not in str(cfg.output):
        lock_output(Path(cfg.output))
    if cfg.data.get("mode") == "multi":
        raise ValueError(
            "data.mode=multi: a packed set holds crops of single subjects, and no whole images to find them in; pack"
            " with data.mode=instance, or train on the files themselves"
        )
    data = instantiate(cfg.datamodule)
    with local_folder(cfg.output) as folder:
        data.prepare_data()
        data.setup("fit")
        packed = pack(data.sources, folder, cfg.chunk_mb, data.seed, data.has_hidden_points, track)
        bytes_written = sum(path.stat().st_size for path in folder.rglob("*.bin"))
    counts = ", ".join(f"{count} {split}" for split, count in packed.samples.items())
    print(f"{len(packed.skeleton)} keypoints, samples {counts}, {bytes_written / 1e6:.1f} MB: {cfg.output}")
    place = cfg.output if "://" in cfg.output else here(cfg.output)
    print(f"use it: {command('train')} data=streaming {setting('data.folder', place)}")
