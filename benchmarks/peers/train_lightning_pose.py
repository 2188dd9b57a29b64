"""A training by lightning-pose: heatmaps of stride 4, Adam, its `dlc` augmentation.

A process for each core loads, which is its default.
"""

from pathlib import Path
from typing import Any

from steps import start


def write_rows(settings: dict[str, Any], seed: int) -> tuple[Path, int, int]:
    """Return a file of the rows of train and val, and their numbers, so ordered that its own random split is ours."""
    import torch

    labels = Path(settings["labels"])
    split = dict(line.split(",") for line in (labels / "splits.csv").read_text(encoding="utf-8").split()[1:])
    header, lines = (lambda rows: (rows[:3], rows[3:]))((labels / "all.csv").read_text(encoding="utf-8").splitlines())
    parts = {name: [line for line in lines if split[line.split(",")[0]] == name] for name in ("train", "val")}
    wanted = parts["train"] + parts["val"]
    order = torch.randperm(len(wanted), generator=torch.Generator().manual_seed(seed)).tolist()
    rows = [row for _, row in sorted(zip(order, wanted, strict=True))]
    path = Path(settings["run"], "labels.csv")
    path.write_text("\n".join([*header, *rows]) + "\n", encoding="utf-8")
    return path, len(parts["train"]), len(parts["val"])


def config(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the config of its `litpose train`."""
    rows, train, val = write_rows(settings, seed=0)
    names = rows.read_text(encoding="utf-8").splitlines()[1].split(",")[1::2]
    return {
        "data": {
            "image_resize_dims": {"height": settings["size"], "width": settings["size"]},
            "data_dir": settings["images"],
            "video_dir": settings["images"],
            "csv_file": str(rows),
            "downsample_factor": 2,
            "num_keypoints": len(names),
            "keypoint_names": names,
            "mirrored_column_matches": None,
            "columns_for_singleview_pca": None,
        },
        "training": {
            "imgaug": "dlc",
            "train_batch_size": settings["batch"],
            "val_batch_size": settings["batch"],
            "test_batch_size": settings["batch"],
            "train_prob": train / (train + val),
            "val_prob": val / (train + val),
            "train_frames": 1,
            "num_gpus": 1,
            "unfreezing_epoch": 0,
            "min_epochs": 300,
            "max_epochs": 300,
            "log_every_n_steps": 10,
            "check_val_every_n_epoch": settings["passes"],
            "rng_seed_data_pt": 0,
            "rng_seed_model_pt": 0,
            "optimizer": "Adam",
            "optimizer_params": {"learning_rate": 1e-3},
            "lr_scheduler": "multisteplr",
            "lr_scheduler_params": {"multisteplr": {"milestones": [150, 200, 250], "gamma": 0.5}},
        },
        "model": {
            "losses_to_use": [],
            "backbone": settings["backbone"],
            "backbone_pretrained": False,
            "model_type": "heatmap",
            "heatmap_loss_type": "mse",
            "model_name": "run",
            "checkpoint": None,
        },
        "losses": {},
        "eval": {"predict_vids_after_training": False},
        "callbacks": {},
    }


if __name__ == "__main__":
    settings = start("lightning-pose")
    from lightning_pose.train import train
    from omegaconf import OmegaConf

    train(OmegaConf.create(config(settings)), model_dir=Path(settings["run"], "model"), skip_evaluation=True)
