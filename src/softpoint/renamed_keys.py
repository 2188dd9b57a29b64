"""Config keys of earlier versions: errors of command lines name the new key, and checkpoints are upgraded to it."""

from __future__ import annotations

RENAMED_KEYS = {
    "ckpt_path": "resume",
    "pictures": "images",
    "unlabelled": "unlabeled",
    "hide": "drop_below_threshold",
    "write_docs": "page",
    "callbacks.minutes": "callbacks.duration",
    "callbacks.pictures": "callbacks.dashboard",
    "callbacks.images": "callbacks.dashboard",
    "callbacks.dashboard.pictures": "callbacks.dashboard.images",
    "callbacks.table": "callbacks.final_test",
    "data.outside": "data.out_of_frame",
    "data.resident": "data.device_cache",
    "data.unlabelled": "data.unlabeled",
    # Before the keys below it.
    "data.unlabelled_images": "data.unlabeled_images",
    "data.unlabeled_images.apart": "data.unlabeled_images.exclude_held_out",
    "data.unlabeled_images.most": "data.unlabeled_images.max_images",
    "module.compile": "compile",
    "module.consistency": "module.teacher.consistency",
    "module.threshold": "module.teacher.threshold",
    "module.ramp": "module.teacher.ramp",
}

# Keys without a successor of the same meaning, and what to do.
REMOVED_KEYS = {
    "augment.compression": "is gone; write 'augment.pixel=[{_target_: albumentations.ImageCompression,"
    " quality_range: [50, 100], p: 0.5}]'",
    "data.max_cache_gb": "is gone; leave it out",
    "data.window": "is gone, because every epoch shuffles all shards; leave it out",
    "trainer.max_time": "is gone, because it had no effect; set minutes=NUMBER",
    "module.pck_alpha": "is gone, because PCK has one definition everywhere; leave it out",
}


def advice(key: str) -> str | None:
    """Return what to write instead of a key of an earlier version, or of a key below one; None for any other key.

    >>> advice("callbacks.pictures.every_n_epochs")
    'callbacks.pictures.every_n_epochs is now callbacks.dashboard.every_n_epochs; rename it'
    """
    new = key
    for old, renamed in RENAMED_KEYS.items():  # a key below a renamed one comes after it
        if new == old or new.startswith(f"{old}."):
            new = renamed + new.removeprefix(old)
    if new != key:
        return f"{key} is now {new}; rename it"
    return next((f"{key} {reason}" for old, reason in REMOVED_KEYS.items() if key == old), None)
