"""What a store is, finished or not."""

from pathlib import Path
from typing import Any

from pipelines.tile_rows import num_pictures
from stores import load_manifest, load_plan, pending_shards
from stores.joined import join_manifests
from stores.layout import MANIFEST
from stores.parts import finished_parts, unfinished_part


def describe_store(root: Path) -> dict[str, Any]:
    """State, counts, bytes and fingerprint of a store with its parts, as JSON; `cosine` is None until it is finished.

    Raises:
        MissingStoreError: no folder, or no store in it.
        DamagedStoreError: its plan or manifest is not what was written.
    """
    plan = load_plan(root)
    spec = plan.spec
    is_finished = (root / MANIFEST).is_file()
    parts = finished_parts(root) if is_finished else []
    manifest = join_manifests([load_manifest(folder) for folder in (root, *parts)]) if is_finished else None
    plans = [plan, *map(load_plan, parts)]
    return {
        "path": str(root),
        "finished": manifest is not None,
        "num_parts": len(parts),
        "unfinished_part": unfinished_part(root) if is_finished else None,
        "num_images": sum(map(num_pictures, plans)),
        "num_rows": sum(len(each.keys) for each in plans),
        "num_records": manifest.num_records if manifest else None,
        "num_rejects": manifest.num_rejects if manifest else None,
        "num_shards": sum(each.num_shards for each in plans),
        "num_shards_pending": 0 if manifest else len(pending_shards(root, plan)),
        "bytes": sum(each.total_bytes for each in plans),
        "store": spec.store,
        "format_version": spec.format_version,
        "codec": spec.codec,
        "grid": list(spec.grid),
        "dim": spec.dim,
        "shard_size": spec.shard_size,
        "kappa": manifest.kappa if manifest else None,
        "cosine": manifest.to_json()["cosine"] if manifest else None,
        "fingerprint": dict(spec.fingerprint),
    }
