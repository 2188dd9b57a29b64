"""SLEAP's project file, with what was predicted as predicted instances."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from softpoint.inference.batch.writers.rows import Answers, Row
from softpoint.paths import atomic_write


def write(path: Path, answers: Answers) -> None:
    """Writes what SLEAP and `sleap_io.load_file` open; a frame without a subject, or one that is broken, is left out.

    sleap-io holds all of it in memory, about 5 kB a frame. Coordinates count from the centers of pixels.
    """
    sleap_io = need_sleap_io()
    skeleton = _skeleton(sleap_io, answers)
    video = _video(sleap_io, answers)
    frames = list(_frames(sleap_io, answers, video, skeleton))
    labels = sleap_io.Labels(labeled_frames=frames, videos=[video], skeletons=[skeleton])
    with atomic_write(path) as unfinished:
        labels.save(str(unfinished), embed=False, verbose=False)


def need_sleap_io() -> Any:
    """The library; ImportError with the way to install it."""
    try:
        import sleap_io
    except ImportError as error:
        raise ImportError('formats=[slp] needs sleap-io: pip install -e ".[sleap]"') from error
    return sleap_io


def _skeleton(sleap_io: Any, answers: Answers) -> Any:
    known = answers.skeleton
    nodes = {name: sleap_io.Node(name) for name in known.names}
    edges = [sleap_io.Edge(nodes[a], nodes[b]) for a, b in known.edges]
    pairs = [sleap_io.Symmetry({nodes[a], nodes[b]}) for a, b in known.flip_pairs]
    return sleap_io.Skeleton(nodes=list(nodes.values()), edges=edges, symmetries=pairs, name="softpoint")


def _video(sleap_io: Any, answers: Answers) -> Any:
    """The video, unopened; a list of images is one, too."""
    source, count, size = answers.source.absolute(), 0, (0, 0)
    for row in answers.rows():
        count, size = row.number + 1, size if any(size) else row.size
    if answers.images is None:
        file: Any = str(source)
        about = {"type": "MediaVideo", "filename": file, "bgr": True, "dataset": "", "input_format": ""}
    else:
        file = [str(source / name) for name in answers.images]
        about = {"type": "ImageVideo", "filename": file[0], "filenames": file}
    about |= {"shape": [count, *size, 3], "grayscale": False}
    return sleap_io.Video(filename=file, open_backend=False, backend_metadata=about)


def _frames(sleap_io: Any, answers: Answers, video: Any, skeleton: Any) -> Iterator[Any]:
    for rows in answers.by_image():
        found = [_instance(sleap_io, row, skeleton) for row in rows if row.found]
        if found:
            yield sleap_io.LabeledFrame(video=video, frame_idx=rows[0].number, instances=found)


def _instance(sleap_io: Any, row: Row, skeleton: Any) -> Any:
    score = float(row.confidence.mean())
    return sleap_io.PredictedInstance.from_numpy(
        row.keypoints, skeleton=skeleton, point_scores=row.confidence, score=score
    )
