"""A training by sleap-nn of one animal per image: a ResNet with its decoder, heatmaps of stride 2, Adam.

Its augmentation is of rotation, scale, contrast and brightness, here by up to 15 degrees and a tenth. No
processes load, which is its default where images are read each time.
"""

from pathlib import Path
from typing import Any

from steps import start

# In transformers' words: blocks of each stage, their channels, and the kind of block.
RESNETS = {
    "resnet18": ([2, 2, 2, 2], [64, 128, 256, 512], "basic"),
    "resnet50": ([3, 4, 6, 3], [256, 512, 1024, 2048], "bottleneck"),
}


def config(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the config of its `sleap-nn train`, and write the labels and the description of the backbone for it."""
    import sleap_io
    from transformers import ResNetConfig

    run = Path(settings["run"])
    paths = {}
    for part in ("train", "val"):
        labels = sleap_io.load_coco(f"{settings['labels']}/{part}.json", dataset_root=settings["images"])
        paths[part] = str(run / f"{part}.slp")
        labels.save(paths[part])
    depths, channels, block = RESNETS[settings["backbone"]]
    ResNetConfig(depths=depths, hidden_sizes=channels, layer_type=block).save_pretrained(run / "backbone")
    return {
        "data_config": {
            "train_labels_path": [paths["train"]],
            "val_labels_path": [paths["val"]],
            "data_pipeline_fw": "torch_dataset",
            "preprocessing": {"ensure_rgb": True, "max_height": settings["size"], "max_width": settings["size"]},
            "use_augmentations_train": True,
            "augmentation_config": {
                "intensity": {"contrast_p": 1.0, "brightness_p": 1.0},
                "geometric": {"rotation_min": -15, "rotation_max": 15, "scale_min": 0.9, "scale_max": 1.1},
            },
        },
        "model_config": {
            "backbone_config": {
                "pretrained": {
                    "model_name": str(run / "backbone"),
                    "weights": False,
                    "image_mean": [0.485, 0.456, 0.406],
                    "image_std": [0.229, 0.224, 0.225],
                }
            },
            "head_configs": {"single_instance": {"confmaps": {"sigma": 5.0, "output_stride": 2}}},
        },
        "trainer_config": {
            "train_data_loader": {"batch_size": settings["batch"], "shuffle": True},
            "val_data_loader": {"batch_size": settings["batch"]},
            "trainer_accelerator": "cpu",
            "trainer_devices": 1,
            "train_steps_per_epoch": settings["validate_steps"],
            "min_train_steps_per_epoch": 1,
            "max_epochs": 100,
            "save_ckpt": True,
            "ckpt_dir": str(run),
            "run_name": "model",
            "optimizer_name": "Adam",
            "optimizer": {"lr": 1e-4},
        },
    }


if __name__ == "__main__":
    settings = start("sleap-nn")
    from omegaconf import OmegaConf
    from sleap_nn.train import run_training

    run_training(OmegaConf.create(config(settings)))
