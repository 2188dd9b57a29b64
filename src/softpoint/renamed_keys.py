"""Config keys of earlier versions: errors of command lines name the new key, and checkpoints are upgraded to it."""

RENAMED_KEYS = {
    "hide": "drop_below_threshold",
    "write_docs": "page",
    "augment.compression": "augment.pixel",
    "callbacks.minutes": "callbacks.duration",
    "callbacks.pictures": "callbacks.images",
    "callbacks.table": "callbacks.final_test",
    "data.outside": "data.out_of_frame",
    "data.resident": "data.device_cache",
    "data.unlabelled": "data.unlabeled",
    # Before the keys below it.
    "data.unlabelled_images": "data.unlabeled_images",
    "data.unlabeled_images.apart": "data.unlabeled_images.exclude_held_out",
    "data.unlabeled_images.most": "data.unlabeled_images.max_images",
}
