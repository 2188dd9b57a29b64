"""Predicts keypoints on pictures: python scripts/predict.py ckpt=RUN/checkpoints/best.ckpt source=IMAGE_OR_FOLDER"""

from __future__ import annotations

from omegaconf import DictConfig

from launch import launch


def main(cfg: DictConfig) -> None:
    """Writes predictions.csv, in pixels of each picture, and a picture with the points drawn for each."""
    from pathlib import Path

    from rich.progress import track

    from softpoint.data.images import list_images, read_image
    from softpoint.inference import load_predictor
    from softpoint.inference.files import PredictionTable, write_picture
    from softpoint.viz import draw_keypoints

    predictor = load_predictor(cfg.ckpt, cfg.device)
    source, output = Path(cfg.source), Path(cfg.output)
    paths = list_images(source) if source.is_dir() else [source]
    with PredictionTable(output / "predictions.csv", predictor.skeleton.names) as table:
        for path in track(paths, description="predicting"):
            image = read_image(path)
            found = predictor(image)
            name = path.relative_to(source) if source.is_dir() else Path(path.name)
            table.write(name.as_posix(), found["keypoints"], found["confidence"])
            if cfg.pictures:
                drawn = draw_keypoints(
                    image,
                    found["keypoints"],
                    confidence=found["confidence"],
                    covariance=found["covariance"] if cfg.ellipses else None,
                    skeleton=predictor.skeleton,
                    names=cfg.names,
                )
                write_picture(output / "pictures" / name.with_name(f"{name.name}.jpg"), drawn)
    print(f"{len(paths)} pictures: {output / 'predictions.csv'}" + (f", {output / 'pictures'}" if cfg.pictures else ""))


if __name__ == "__main__":
    launch("predict", main)
