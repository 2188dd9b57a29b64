"""Subjects of a video followed from frame to frame by their poses, and their points smoothed over time; NumPy alone."""

from softpoint.tracking.smoother import smooth_track
from softpoint.tracking.tracker import NO_TRACK, Poses, Tracker, TrackOptions, track

__all__ = ["NO_TRACK", "Poses", "TrackOptions", "Tracker", "smooth_track", "track"]
