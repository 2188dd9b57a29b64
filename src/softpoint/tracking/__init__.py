"""Subjects of a video followed from frame to frame by their poses, and their points smoothed over time; NumPy alone."""

from softpoint.tracking.smoother import smooth_track
from softpoint.tracking.tracker import DEFAULT_NOISE, NO_TRACK, Poses, Tracker, Tracking, TrackOptions, track

__all__ = ["DEFAULT_NOISE", "NO_TRACK", "Poses", "TrackOptions", "Tracker", "Tracking", "smooth_track", "track"]
