"""Weights by local path or hub id, with a quick and honest answer when neither is there."""

import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from viral.errors import WeightsError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def require_source(source: str, what: str) -> str:
    """Return `source` if it is an existing path, a cached hub id, or a hub id we have a network for.

    Asking the hub client directly would retry for most of a minute before failing on an offline machine.

    Raises:
        WeightsError: no such path, or a hub id that is not cached while the hub cannot be reached.
    """
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    if Path(source).exists():
        return source
    if not _HUB_ID.fullmatch(source):
        raise WeightsError(f"No {what} at {source!r}: no such file or folder. Give a local path or a hub id.")
    try:
        cached = {repo.repo_id for repo in scan_cache_dir().repos}
    except CacheNotFound:
        cached = set()
    if source in cached:
        return source
    try:
        socket.create_connection((urlsplit(constants.ENDPOINT).hostname, 443), timeout=5).close()
    except OSError as error:
        raise WeightsError(
            f"No {what} at {source!r}: no such path here, and as a hub id it cannot be fetched without a network "
            f"({error}). Download it elsewhere and give the local path."
        ) from error
    return source
