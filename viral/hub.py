"""Weights by local path or hub id, with a quick and honest answer when neither is there."""

import re
import socket
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from viral.errors import WeightsError, one_line

PROBE_SECONDS = 5.0
"""How long the hub may take to answer before it counts as out of reach."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_PORTS = {"https": 443, "http": 80}


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
        cached = {repo.repo_id for repo in scan_cache_dir(constants.HF_HUB_CACHE).repos}
    except CacheNotFound:
        cached = set()
    if source in cached:
        return source
    if constants.HF_HUB_OFFLINE:
        raise WeightsError(
            f"No {what} at {source!r}: no such path here, and as a hub id it is not cached while HF_HUB_OFFLINE or "
            "TRANSFORMERS_OFFLINE is set. Unset it, or give a local path."
        )
    if obstacle := _obstacle(constants.ENDPOINT):
        raise WeightsError(
            f"No {what} at {source!r}: no such path here, and as a hub id it cannot be fetched without a network "
            f"({obstacle}). Download it elsewhere and give the local path."
        )
    return source


def fetch(repo: str, filename: str, what: str) -> Path:
    """Local path of one file of a hub repository, from the hub's cache if it is there.

    Raises:
        WeightsError: as `require_source`, or the repository or the file does not exist or may not be read.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    require_source(repo, what)
    try:
        return Path(hf_hub_download(repo, filename))
    except (OSError, EntryNotFoundError, HFValidationError) as error:
        raise WeightsError(
            f"No {what} at {repo!r}: its {filename} cannot be fetched ({one_line(error)}). Give a local path."
        ) from error


def is_cached(repo: str, filename: str) -> bool:
    """Whether a file of a hub repository is in the hub's cache on this machine."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repo, filename), str)


def _obstacle(endpoint: str) -> str | None:
    """Why the hub cannot be reached; None if it can, or if a proxy stands between, which alone can tell."""
    try:
        url = urlsplit(endpoint)
        host, port = url.hostname, url.port or _PORTS[url.scheme]
    except (ValueError, KeyError):
        host = None
    if not host:
        return f"HF_ENDPOINT={endpoint} is no http address"
    if getproxies().keys() & {url.scheme, "all"} and not proxy_bypass(host):
        return None
    found: list[str | None] = [f"{host}:{port} did not answer within {PROBE_SECONDS:g} s"]

    def probe() -> None:
        try:
            socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
            found[0] = None
        except OSError as error:
            found[0] = f"{host}:{port}: {error}"

    # In a thread, for the timeout of a connection does not cover the look-up of its name.
    thread = Thread(target=probe, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return found[0]
