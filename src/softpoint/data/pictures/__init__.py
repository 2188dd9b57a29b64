"""Pictures as they lie on a disk: opened safely, decoded once, looked over."""

from softpoint.data.pictures.folder import Pictures, Reader

__all__ = ["Pictures", "Reader"]
