"""Image files: safe decoding, caches, scans, videos."""

from softpoint.images.image_folder import ImageFolder, Reader

__all__ = ["ImageFolder", "Reader"]
