"""Config keys of earlier versions: a command line that uses one is answered with the new name."""

RENAMED_KEYS = {
    "data.unlabelled": "data.unlabeled",
    "data.unlabelled_images": "data.unlabeled_images",
    "augment.compression": "augment.pixel",
    "callbacks.minutes": "callbacks.duration",
}
