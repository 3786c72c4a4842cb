"""What a run is made from besides its settings; recorded, so that a resumed run is made from the same."""

import hashlib
from collections.abc import Mapping
from typing import Any

from pipelines.training.caches import CachedTeacher
from stores.layout import MANIFEST
from viral.data.index import AnnotationIndex
from viral.mllm.aligned import MAIN


def describe_inputs(samples: AnnotationIndex, teachers: Mapping[str, CachedTeacher]) -> dict[str, Any]:
    """Digests of the annotation files, of which entries are in use and of each term's cache, with its fingerprint."""
    digests = [file.sha256 for file in samples.files]
    described: dict[str, Any] = {
        "annotations": digests[0] if len(digests) == 1 else digests,
        "samples": {
            "count": len(samples),
            "sha256": hashlib.sha256(samples.rows.astype("<i8").tobytes()).hexdigest(),
        },
        "cache": None,  # the main term's
    }
    for name, teacher in teachers.items():
        described["cache" if name == MAIN else f"cache {name}"] = _describe(teacher)
    return described


def _describe(teacher: CachedTeacher) -> dict[str, Any]:
    manifest = teacher.store.manifest
    return {
        "manifest": hashlib.sha256((teacher.path / MANIFEST).read_bytes()).hexdigest(),
        "codec": manifest.spec.codec,
        "kappa": manifest.kappa,
        "fingerprint": dict(manifest.spec.fingerprint),
    }
