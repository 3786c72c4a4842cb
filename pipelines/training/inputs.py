"""What a run is made from besides its settings; recorded, so that a resumed run is made from the same."""

import hashlib
from pathlib import Path
from typing import Any

from stores import FeatureStore
from stores.layout import MANIFEST
from viral.data.annotations import Sample


def describe_inputs(
    annotations: Path, samples: list[Sample], cache: Path | None, store: FeatureStore | None
) -> dict[str, Any]:
    """Digests of the annotation file, of the samples in use and of the cache, and the cache's fingerprint."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.id}\n{sample.image}\n".encode())
    with annotations.open("rb") as file:
        annotations_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    described: dict[str, Any] = {
        "annotations": annotations_sha256,
        "samples": {"count": len(samples), "sha256": digest.hexdigest()},
        "cache": None,
    }
    if cache is not None and store is not None:
        described["cache"] = describe_cache(cache, store)
    return described


def describe_cache(cache: Path, store: FeatureStore) -> dict[str, Any]:
    """Digest of the manifest, codec and fingerprint of a cache."""
    manifest = store.manifest
    return {
        "manifest": hashlib.sha256((cache / MANIFEST).read_bytes()).hexdigest(),
        "codec": manifest.spec.codec,
        "kappa": manifest.kappa,
        "fingerprint": dict(manifest.spec.fingerprint),
    }
