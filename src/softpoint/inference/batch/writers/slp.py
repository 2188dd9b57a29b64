"""SLEAP's project file, with predictions as predicted instances, or as if a person had placed them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from softpoint.extras import require
from softpoint.inference.batch.predictions import INDIVIDUAL, Predictions, Row
from softpoint.paths import atomic_write


def write(path: Path, predictions: Predictions, placed: bool = False) -> None:
    """Write a file for SLEAP and `sleap_io.load_file`, without frames that have no subject or cannot be read.

    With `placed` its instances are those of a person, which SLEAP trains on, and all frames are suggestions to label;
    else each has its track, where subjects are followed. sleap-io holds all of it in memory, about 5 kB per frame.
    Coordinates count from the centers of pixels.
    """
    sleap_io = require("sleap_io", "sleap", path.name)
    skeleton, video, frames, numbers = _skeleton(sleap_io, predictions), _video(sleap_io, predictions), [], []
    tracks = [sleap_io.Track(INDIVIDUAL.format(i + 1)) for i in range(predictions.tracks or 0)]
    for rows in predictions.by_image():
        numbers.append(rows[0].number)
        instances = [_instance(sleap_io, row, skeleton, tracks, placed) for row in rows if row.has_subject]
        if instances:
            frames.append(sleap_io.LabeledFrame(video=video, frame_idx=rows[0].number, instances=instances))
    suggestions = [sleap_io.SuggestionFrame(video, number) for number in numbers * placed]
    lists = {"videos": [video], "skeletons": [skeleton], "tracks": tracks, "suggestions": suggestions}
    labels = sleap_io.Labels(labeled_frames=frames, **lists)
    with atomic_write(path) as temporary:
        labels.save(str(temporary), embed=False, verbose=False)


def _instance(sleap_io: Any, row: Row, skeleton: Any, tracks: list[Any], placed: bool) -> Any:
    if placed:
        return sleap_io.Instance.from_numpy(row.keypoints, skeleton=skeleton)
    score = float(row.confidence.mean() if np.isnan(row.score) else row.score)
    return sleap_io.PredictedInstance.from_numpy(
        row.keypoints,
        skeleton=skeleton,
        point_scores=row.confidence,
        score=score,
        track=tracks[row.track - 1] if row.track else None,
    )


def _skeleton(sleap_io: Any, predictions: Predictions) -> Any:
    skeleton = predictions.skeleton
    nodes = {name: sleap_io.Node(name) for name in skeleton.names}
    edges = [sleap_io.Edge(nodes[a], nodes[b]) for a, b in skeleton.edges]
    pairs = [sleap_io.Symmetry({nodes[a], nodes[b]}) for a, b in skeleton.flip_pairs]
    return sleap_io.Skeleton(nodes=list(nodes.values()), edges=edges, symmetries=pairs, name="softpoint")


def _video(sleap_io: Any, predictions: Predictions) -> Any:
    """Return the video, not opened; SLEAP has a list of images as a video, too."""
    source, count, size = predictions.source.absolute(), 0, (0, 0)
    for row in predictions.rows():
        count, size = row.number + 1, size if any(size) else row.size
    if predictions.images is None:
        file: Any = str(source)
        metadata = {"type": "MediaVideo", "filename": file, "bgr": True, "dataset": "", "input_format": ""}
    else:
        file = [str(source / name) for name in predictions.images]
        metadata = {"type": "ImageVideo", "filename": file[0], "filenames": file}
    metadata |= {"shape": [count, *size, 3], "grayscale": False}
    return sleap_io.Video(filename=file, open_backend=False, backend_metadata=metadata)
