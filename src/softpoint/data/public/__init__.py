"""Public data sets by name: downloaded, checked, unpacked and completed."""

from softpoint.data.public.sets import Part, PublicSet

__all__ = ["Part", "PublicSet"]
