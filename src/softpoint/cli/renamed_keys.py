"""Config keys of earlier versions: a command line that uses one is answered with the new name."""

RENAMED_KEYS = {
    "hide": "drop_below_threshold",
    "write_docs": "page",
    "callbacks.table": "callbacks.final_test",
    "data.unlabelled": "data.unlabeled",
    "data.outside": "data.out_of_frame",
    "data.resident": "data.device_cache",
    "data.unlabeled_images.apart": "data.unlabeled_images.exclude_held_out",
    "data.unlabeled_images.most": "data.unlabeled_images.max_images",
    "data.unlabelled_images": "data.unlabeled_images",
    "augment.compression": "augment.pixel",
    "callbacks.minutes": "callbacks.duration",
}
