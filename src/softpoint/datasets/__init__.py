"""Public data sets and starting weights by name: downloaded, verified, unpacked and completed."""

from softpoint.datasets.public_dataset import PublicDataset, RemoteFile
from softpoint.datasets.starting_weights import StartingWeights

__all__ = ["PublicDataset", "RemoteFile", "StartingWeights"]
