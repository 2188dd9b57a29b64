"""Labels with errors that can be corrected, and listed corrections applied by other code than that of the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from softpoint.audit.fixes import Change
from softpoint.labels.schema import Labels

ROWS = """image,subject,l_ear_x,l_ear_y,r_ear_x,r_ear_y,nose_x,nose_y
v/a.png,m1,1,2,3,4,5,6
v/a.png,m2,2.5,2,3,4,-1,-1
v/b.png,m1,7,2,4,4,5,7
v/b.png,m3,7,2,4,4,5,7
v/c.png,m1,-1,-1,0,0,,
v/c.png,m2,1,1,8,2,6,6
v/d.png,m1,1,2,3,4,5,6
v/e.png,m1,3,3,,,0,0
"""


def applied(raw: Labels, changes: Sequence[Change]) -> Labels:
    """Return the labels after the listed changes, which name their subjects by place."""
    subjects = {subject.place: subject for subject in raw.subjects}
    for change in changes:
        subject, names = subjects[change.place], list(raw.skeleton.names)
        if change.change == "dropped":
            del subjects[change.place]
            continue
        if change.change == "renamed":
            subjects[change.place] = replace(subject, image=change.detail)
            continue
        points, states = subject.keypoints.copy(), subject.visibility.copy()
        if change.change == "swapped":
            a, b = names.index(change.keypoint), names.index(change.detail)
            points[[a, b]], states[[a, b]] = points[[b, a]], states[[b, a]]
        else:
            k = names.index(change.keypoint)
            assert change.change == "blanked" and change.detail == "({:g}, {:g})".format(*points[k])
            points[k], states[k] = np.nan, 0
        subjects[change.place] = replace(subject, keypoints=points, visibility=states)
    return replace(raw, subjects=tuple(subjects.values()))
