"""Models of the Hugging Face Hub, copied into its local cache."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

# Files of a shared folder.
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
MAX_CONFIG_BYTES, MAX_WEIGHTS_BYTES = 1 << 26, 1 << 32

# A revision goes into paths of the local cache: no part of it may be "..".
_NAME = r"[\w.-]+/[\w.-]+"
_HUB = re.compile(rf"hf://({_NAME})(?:@((?!.*\.\.)[\w./-]+))?")


def check_repo_id(repo_id: str) -> None:
    """Raise ValueError for a name that is not "user/name".

    >>> check_repo_id("mice")
    Traceback (most recent call last):
    ValueError: hub='mice' is no name on the Hub; write user/name
    """
    if not re.fullmatch(_NAME, repo_id):
        raise ValueError(f"hub={repo_id!r} is no name on the Hub; write user/name")


def download(address: str) -> Path:
    """Return the local folder of a model at "hf://user/name" or "hf://user/name@revision", downloaded if need be.

    Only the config, the weights and the card are fetched, into the cache of huggingface_hub; without a network the copy
    there is used. Raises ValueError for an address of another form and for larger files than a model has, before they
    are downloaded, and FileNotFoundError where there is no model.
    """
    match = _HUB.fullmatch(address)
    if match is None:
        raise ValueError(f"{address!r} is no address of a model; write hf://user/name or hf://user/name@revision")
    from huggingface_hub import snapshot_download

    repo, revision, files = match[1], match[2], [CONFIG, WEIGHTS, CARD]
    try:
        planned = snapshot_download(repo, revision=revision, allow_patterns=files, dry_run=True)
    except (OSError, ValueError) as error:  # what cannot be measured is not downloaded
        with suppress(OSError, ValueError):
            return Path(snapshot_download(repo, revision=revision, allow_patterns=files, local_files_only=True))
        raise _no_download(address, error.__cause__ or error) from error
    for file in planned:
        limit = MAX_WEIGHTS_BYTES if file.filename == WEIGHTS else MAX_CONFIG_BYTES
        if file.file_size is None or file.file_size > limit:
            raise ValueError(
                f"{address}: {file.filename} has {file.file_size} bytes, where at most {limit} are downloaded; if you"
                " trust it, download it by `hf download`, and give its folder"
            )
    if not planned:
        raise _no_download(address, f"it holds neither {CONFIG} nor {WEIGHTS}")
    try:
        measured = planned[0].commit_hash  # also if the branch moves on
        return Path(snapshot_download(repo, revision=measured, allow_patterns=files))
    except (OSError, ValueError) as error:
        raise _no_download(address, error) from error


def _no_download(address: str, reason: object) -> FileNotFoundError:
    line = str(reason).strip().partition("\n")[0][:300]
    return FileNotFoundError(
        f"{address} cannot be downloaded ({line}); check the name, log in by `hf auth login` for a private model"
    )
