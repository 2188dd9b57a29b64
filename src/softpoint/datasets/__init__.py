"""Public data sets by name: downloaded, checked, unpacked and completed."""

from softpoint.datasets.sets import Part, PublicSet

__all__ = ["Part", "PublicSet"]
