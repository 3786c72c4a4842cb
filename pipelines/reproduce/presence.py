"""Whether weights are on this machine, whole, without asking the network."""

import json
from pathlib import Path

SINGLE_FILES = ("model.safetensors", "pytorch_model.bin", "mm_projector.bin", "projector.safetensors")


def whole_model(source: str, file: str | None = None) -> Path | None:
    """The local file, folder or snapshot in the hub's cache that holds a model whole, or None.

    Args:
        source: a path or a hub id.
        file: the one that is read; None: any weights, all shards of their index included.
    """
    path = Path(source)
    if path.is_file():
        return path
    folder = path if path.is_dir() else _snapshot(source)
    if folder is None:
        return None
    if file is not None:
        return next(
            (found for found in (folder / file, folder / "model.safetensors") if found.is_file()), None
        )
    single = any((folder / name).is_file() for name in SINGLE_FILES)
    return folder if single or any(map(_is_whole, folder.glob("*.index.json"))) else None


def _snapshot(hub_id: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, OSError):
        return None


def _is_whole(index: Path) -> bool:
    """Whether every shard that an index names lies beside it."""
    try:
        shards = set(json.loads(index.read_text())["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return all((index.parent / shard).is_file() for shard in shards)
