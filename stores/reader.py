"""Open a finished store, in a folder or behind a URL, with the parts that were appended to it."""

from pathlib import Path

from stores.canonical import sha256, unseal
from stores.errors import MissingStoreError, RemoteStoreError
from stores.feature_store import FeatureStore
from stores.file_cache import FileCache
from stores.files import LocalFiles
from stores.joined import JoinedStore
from stores.layout import MANIFEST
from stores.manifest import Manifest, load_manifest
from stores.parts import finished_parts, part_name
from stores.remote import RemoteFiles, default_cache
from stores.sharded import ShardedStore


def open_store(path: Path | str, cache: FileCache | None = None) -> FeatureStore:
    """Open a finished store.

    Args:
        path: its folder, or its fsspec URL (`s3://bucket/caches/dinov2`).
        cache: where to keep what is read from a URL; by default what the environment asks for.

    Raises:
        MissingStoreError: no folder, or no store in it.
        IncompleteStoreError: the store has not been finished.
        DamagedStoreError: a file that says what the records mean is not what was written.
        FormatVersionError: written by a newer version.
        RemoteStoreError: the URL does not answer, or needs a package that is not installed.
    """
    if isinstance(path, str) and "://" in path:
        return _join(_remote_members(path.rstrip("/"), cache or default_cache()))
    root = Path(path)
    manifest = load_manifest(root)
    parts = [ShardedStore(LocalFiles(part), load_manifest(part)) for part in finished_parts(root)]
    return _join([ShardedStore(LocalFiles(root), manifest), *parts])


def _join(members: list[ShardedStore]) -> FeatureStore:
    return members[0] if len(members) == 1 else JoinedStore(members)


def _remote_members(url: str, cache: FileCache | None) -> list[ShardedStore]:
    members = [_open_url(url, cache)]
    try:
        while True:
            members.append(_open_url(f"{url}/{part_name(len(members))}", cache))
    except MissingStoreError:
        return members
    except RemoteStoreError as error:
        # A bucket that may be read but not listed answers so where there is no such file.
        if not isinstance(error.__cause__, PermissionError):
            raise
        return members


def _open_url(url: str, cache: FileCache | None) -> ShardedStore:
    files = RemoteFiles(url, cache)
    try:
        content = files.read(MANIFEST)
    except FileNotFoundError as error:
        raise MissingStoreError(
            f"{url} holds no finished feature store; correct the URL, or build a store and upload its folder."
        ) from error
    files.version = sha256(content)
    return ShardedStore(files, Manifest.from_json(unseal(content, f"{url}/{MANIFEST}")))
