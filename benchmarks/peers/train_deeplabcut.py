"""A training by DeepLabCut's PyTorch engine: heatmaps and offsets of stride 8, AdamW, its default augmentation.

No processes load. Its default crops 448 x 448 pixels and its ResNet is ResNet-50 with group norm: here the
whole image is resized, and the backbone is the one that is asked for, with batch norm and its output stride of 16.
"""

from pathlib import Path
from typing import Any

from steps import start

CHANNELS = {"resnet18": 512, "resnet50": 2048}


def write_project(settings: dict[str, Any]) -> tuple[Path, list[str]]:
    """Return a folder in its layout of COCO files, with our images, and the names of the keypoints."""
    import json

    folder = Path(settings["run"], "project")
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").symlink_to(settings["images"])
    names: list[str] = []
    for part, name in (("train", "train"), ("val", "test")):
        content = json.loads(Path(settings["labels"], f"{part}.json").read_text(encoding="utf-8"))
        names = content["categories"][0]["keypoints"]
        (folder / "annotations" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder, names


def main() -> None:
    """Train until this process is ended."""
    settings = start("deeplabcut")
    from deeplabcut.pose_estimation_pytorch.apis.training import train
    from deeplabcut.pose_estimation_pytorch.config import PoseConfig, PoseMetadata
    from deeplabcut.pose_estimation_pytorch.data import COCOLoader
    from deeplabcut.pose_estimation_pytorch.models import PoseModel
    from deeplabcut.pose_estimation_pytorch.task import Task

    folder, names = write_project(settings)
    described = PoseMetadata(project_path=folder, bodyparts=names, individuals=["animal"]).to_dict_legacy()
    pose = PoseConfig.build(described, folder / "pytorch_config.yaml", net_type="resnet_50", top_down=False, save=True)
    loader = COCOLoader(folder, pose)
    channels, side = CHANNELS[settings["backbone"]], settings["size"]
    config = loader.model_cfg
    head = "model.heads.bodypart"
    for key, value in {
        "model.backbone.model_name": settings["backbone"],
        "model.backbone_output_channels": channels,
        f"{head}.heatmap_config.channels": [channels, len(names)],
        f"{head}.locref_config.channels": [channels, 2 * len(names)],
        "data.train.crop_sampling": None,
        "data.train.resize": {"height": side, "width": side, "keep_ratio": False},
        "data.inference.resize": {"height": side, "width": side, "keep_ratio": False},
        "runner.snapshots.save_epochs": settings["passes"],
        "runner.eval_interval": settings["passes"],
        "train_settings.batch_size": settings["batch"],
    }.items():
        config.set_nested(key, value)
    build = PoseModel.build
    # It would download weights that no setting leaves out.
    PoseModel.build = lambda cfg, **_: build(cfg, pretrained_backbone=False)
    train(loader, config, Task.BOTTOM_UP, device="cpu")


if __name__ == "__main__":
    main()
