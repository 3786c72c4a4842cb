"""What makes a folder a feature store: our mark, which no file name can stand in for."""

import json
from pathlib import Path

from stores.canonical import read_sealed
from stores.errors import DamagedStoreError
from stores.layout import FORMAT, GROUP, MANIFEST, PLAN

_NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def is_store(root: Path) -> bool:
    """Whether `root` is a feature store: finished, unfinished or damaged, but one that we have written.

    Any of three files is proof: the Zarr group that names our format, a sealed manifest, a sealed plan. A
    creation publishes the group first and a repair keeps it, so that a store without a mark was damaged in
    all three; nothing in it is touched then.
    """
    return _is_our_group(root / GROUP) or any(_is_sealed(root / name) for name in (MANIFEST, PLAN))


def _is_our_group(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_bytes())["attributes"]["format"] == FORMAT)
    except (*_NO_FILE, ValueError, KeyError, TypeError, RecursionError):
        return False


def _is_sealed(path: Path) -> bool:
    try:
        read_sealed(path)
    except (*_NO_FILE, DamagedStoreError):
        return False
    return True
