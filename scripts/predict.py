"""Predicts keypoints on pictures: python scripts/predict.py ckpt=RUN/checkpoints/best.ckpt source=IMAGE_OR_FOLDER"""

from __future__ import annotations

from omegaconf import DictConfig

from launch import launch


def main(cfg: DictConfig) -> None:
    """Writes predictions.csv, in pixels of each picture, and a picture with the points drawn for each."""
    from pathlib import Path

    from rich.progress import track

    from softpoint.data.crops import boxes_by_picture
    from softpoint.data.formats import read_labels
    from softpoint.data.pictures import Pictures
    from softpoint.data.pictures.images import list_images
    from softpoint.data.problems import Problems
    from softpoint.inference import load_predictor
    from softpoint.inference.files import PredictionTable, write_picture
    from softpoint.viz import draw_subjects

    predictor = load_predictor(cfg.ckpt, cfg.device, cfg.tta)
    source, output = Path(cfg.source), Path(cfg.output)
    folder = source if source.is_dir() else source.parent
    boxes = {}
    if cfg.boxes is not None:
        labels = read_labels(cfg.boxes, images=folder).with_any_of(predictor.skeleton.names)
        boxes = boxes_by_picture(labels, (predictor.crops or {}).get("boxes"))
    elif predictor.crops:
        print("this network was trained on crops of single subjects: without boxes=LABELS it sees whole pictures")
    found_here = [
        path.relative_to(folder).as_posix() for path in (list_images(source) if source.is_dir() else [source])
    ]
    names = [name for name in found_here if name in boxes] if boxes else found_here
    if not names:
        raise ValueError(f"{cfg.boxes} has no box in any picture of source={source}; its paths start there")
    pictures, problems = Pictures(folder, cfg.exif, cfg.max_pixels), Problems.by(cfg.on_error, str(source), "on_error")
    told = {"boxes": bool(boxes), "visibility": predictor.tells_visibility}
    with PredictionTable(output / "predictions.csv", predictor.skeleton.names, **told) as table:
        for name in track(names, description="predicting"):
            with problems.row(name):
                image = pictures.read(name)
                where = boxes.get(name)
                found = predictor([image], where) if where is None else predictor(image, where)
                for i in range(len(found["keypoints"])):
                    one = {key: value[i] for key, value in found.items()}
                    table.write(name, one, () if where is None else where[i])
                if cfg.pictures:
                    drawn = draw_subjects(image, found, predictor.skeleton, names=cfg.names, ellipses=cfg.ellipses)
                    write_picture(output / "pictures" / f"{name}.jpg", drawn)
            if cfg.on_error == "error":
                problems.settle("")
        problems.settle("")
        if not (count := len(names) - len(problems.skipped)):
            raise ValueError(f"none of the {len(names)} pictures in source={source} could be read")
    print(f"{count} pictures: {output / 'predictions.csv'}" + (f", {output / 'pictures'}" if cfg.pictures else ""))


if __name__ == "__main__":
    launch("predict", main)
