"""A tracker of Roboflow's trackers on the boxes about the keypoints of subjects.

python track_boxes.py FOUND.npz IDS.npz SETTINGS, where SETTINGS is JSON: the class, and its own arguments.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import supervision
import trackers

_MARGIN = 0.15  # about the keypoints, of their extent: a mouse is wider than they are


def main(source: str, target: str, settings: str) -> None:
    found, options = np.load(source), json.loads(settings)
    tracker = getattr(trackers, options.pop("class"))(lost_track_buffer=30, **options)
    low, high = found["keypoints"].min(1), found["keypoints"].max(1)
    margin = _MARGIN * np.linalg.norm(high - low, axis=1, keepdims=True)
    boxes = np.concatenate([low - margin, high + margin], axis=1)
    ids = np.zeros(len(boxes), int)
    start = time.process_time()
    for t in range(int(found["frames"])):
        rows = np.flatnonzero(found["frame"] == t)
        scores, kinds = found["score"][rows], np.zeros(len(rows), int)
        detections = supervision.Detections(boxes[rows], confidence=scores, class_id=kinds, data={"row": rows})
        tracked = tracker.update(detections)
        if len(tracked):
            ids[tracked.data["row"]] = np.maximum(0, np.asarray(tracked.tracker_id) + 1)
    np.savez(target, ids=ids, seconds=time.process_time() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
