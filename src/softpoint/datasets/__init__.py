"""Public data sets by name: downloaded, verified, unpacked and completed."""

from softpoint.datasets.public_dataset import PublicDataset, RemoteFile

__all__ = ["PublicDataset", "RemoteFile"]
