"""Norfair on the keypoints of subjects: the mean distance of points, and a Kalman filter for each.

python track_norfair.py FOUND.npz IDS.npz SETTINGS, where SETTINGS is JSON: distance_threshold in px.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from norfair import Detection, Tracker


def main(source: str, target: str, settings: str) -> None:
    found = np.load(source)
    tracker = Tracker("mean_euclidean", hit_counter_max=30, initialization_delay=2, **json.loads(settings))
    ids = np.zeros(len(found["frame"]), int)
    start = time.process_time()
    for t in range(int(found["frames"])):
        rows = np.flatnonzero(found["frame"] == t)
        detections = [Detection(found["keypoints"][row], data=row) for row in rows]
        for track in tracker.update(detections):
            if track.last_detection.data in rows:
                ids[track.last_detection.data] = track.id
    np.savez(target, ids=ids, seconds=time.process_time() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
