"""What a store is, finished or not."""

from pathlib import Path
from typing import Any

from stores import load_manifest, load_plan, pending_shards
from stores.layout import MANIFEST


def describe_store(root: Path) -> dict[str, Any]:
    """State, counts, bytes and fingerprint of a store as JSON values; `cosine` is None until it is finished.

    Raises:
        MissingStoreError: no folder, or no store in it.
        DamagedStoreError: its plan or manifest is not what was written.
    """
    plan = load_plan(root)
    spec = plan.spec
    manifest = load_manifest(root) if (root / MANIFEST).is_file() else None
    return {
        "path": str(root),
        "finished": manifest is not None,
        "num_images": len(plan.keys),
        "num_records": manifest.num_records if manifest else None,
        "num_rejects": manifest.num_rejects if manifest else None,
        "num_shards": plan.num_shards,
        "num_shards_pending": 0 if manifest else len(pending_shards(root, plan)),
        "bytes": plan.total_bytes,
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
