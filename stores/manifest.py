"""The manifest: written last, it says what a finished store holds and seals every small file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stores.canonical import read_sealed
from stores.errors import IncompleteStoreError, MissingStoreError
from stores.layout import MANIFEST
from stores.mark import is_store
from stores.plan import load_plan, missing_message
from stores.report import CosineStats
from stores.spec import StoreSpec, spec_from_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a finished store holds."""

    spec: StoreSpec
    num_images: int
    """Rows: distinct image files, rejected ones included."""
    num_records: int
    """Rows that hold features."""
    num_rejects: int
    """Lines of `rejects.jsonl`: rejected rows, and paths that never became a row."""
    cosine: CosineStats
    files: Mapping[str, str]
    """SHA-256 of every file but the shards, whose hashes are in their reports, and this one."""

    @property
    def kappa(self) -> float:
        """Mean cosine of the codec on this store's own features; training divides it out of its log."""
        return self.cosine.mean

    def to_json(self) -> dict[str, Any]:
        """JSON value; `from_json` undoes it."""
        return {**asdict(self), "kappa": self.kappa}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Manifest":
        """Manifest of a JSON value.

        Raises:
            FormatVersionError: written by a newer version.
        """
        return cls(
            spec=spec_from_json(value["spec"]),
            num_images=value["num_images"],
            num_records=value["num_records"],
            num_rejects=value["num_rejects"],
            cosine=CosineStats(**value["cosine"]),
            files=value["files"],
        )


def load_manifest(root: Path) -> Manifest:
    """The manifest of a finished store.

    Raises:
        MissingStoreError: no folder, or no store in it.
        IncompleteStoreError: the store has not been finished.
        DamagedStoreError: the manifest is not what was written.
        FormatVersionError: written by a newer version.
    """
    if not (root / MANIFEST).is_file():
        plan = load_plan(root)
        written = sum((root / plan.spec.shard_file(shard)).is_file() for shard in range(plan.num_shards))
        raise IncompleteStoreError(
            f"{root} is unfinished ({written} of {plan.num_shards} shards); "
            "run the same `viral cache build` again, it resumes."
        )
    if not is_store(root):
        raise MissingStoreError(missing_message(root))
    return Manifest.from_json(read_sealed(root / MANIFEST))
