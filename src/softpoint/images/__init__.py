"""Images as they lie on a disk: opened safely, decoded once, looked over."""

from softpoint.images.image_folder import ImageFolder, Reader

__all__ = ["ImageFolder", "Reader"]
