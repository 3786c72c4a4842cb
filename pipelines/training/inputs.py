"""What a run is made from besides its settings; recorded, so that a resumed run is made from the same."""

import hashlib
from pathlib import Path
from typing import Any

from stores import FeatureStore
from stores.layout import MANIFEST
from viral.data.index import AnnotationIndex


def describe_inputs(samples: AnnotationIndex) -> dict[str, Any]:
    """Digests of the annotation files and of which entries are in use."""
    digests = [file.sha256 for file in samples.files]
    return {
        "annotations": digests[0] if len(digests) == 1 else digests,
        "samples": {
            "count": len(samples),
            "sha256": hashlib.sha256(samples.rows.astype("<i8").tobytes()).hexdigest(),
        },
    }


def describe_cache(cache: Path, store: FeatureStore) -> dict[str, Any]:
    """Digest of the manifest, codec and fingerprint of a cache."""
    manifest = store.manifest
    return {
        "manifest": hashlib.sha256((cache / MANIFEST).read_bytes()).hexdigest(),
        "codec": manifest.spec.codec,
        "kappa": manifest.kappa,
        "fingerprint": dict(manifest.spec.fingerprint),
    }
