"""The plan: which image is which row of which shard, fixed before any feature is made."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from stores.canonical import canonical_json, read_sealed, sha256
from stores.codecs import Codec, get_codec
from stores.errors import MissingStoreError, PlanError
from stores.layout import PLAN
from stores.mark import is_store
from stores.shard import shard_bytes
from stores.spec import StoreSpec, spec_from_json

_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reject:
    """An image without a usable record. `key` is None where there was no file to hash."""

    path: str
    reason: str
    key: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Rows of a store, in order, and where each row's image lies below the image root.

    Attributes:
        keys: SHA-256 of each distinct image file, 64 hex digits, in order of first appearance.
        paths: for each key one relative path that has this content.
        rejects: images known to be unusable before anything is decoded (missing, outside the root).
    """

    spec: StoreSpec
    keys: tuple[str, ...]
    paths: tuple[str, ...]
    rejects: tuple[Reject, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.keys:
            raise PlanError(
                f"No usable image to plan for, {len(self.rejects)} rejected. Check the image root."
            )
        if len(self.keys) != len(self.paths):
            raise PlanError(f"{len(self.keys)} keys but {len(self.paths)} paths; expected one path per key.")
        if len(set(self.keys)) != len(self.keys):
            raise PlanError(
                f"{len(self.keys) - len(set(self.keys))} keys are repeated; expected one row per image."
            )
        if not all(map(_KEY.fullmatch, self.keys)):
            raise PlanError("A key is not a SHA-256 digest of 64 lower-case hex digits.")

    @property
    def codec(self) -> Codec:
        """The codec of the records."""
        return get_codec(self.spec.codec)

    @property
    def num_shards(self) -> int:
        """Shard files; the last may be partial."""
        return self.spec.num_shards(len(self.keys))

    def rows(self, shard_id: int) -> range:
        """Rows of one shard."""
        return self.spec.rows(len(self.keys), shard_id)

    @property
    def record_bytes(self) -> int:
        """Bytes of one record's codes, without its checksum."""
        return self.spec.record_bytes

    @property
    def setup_bytes(self) -> int:
        """Bytes of keys and tables exactly, of the JSON files that name images from above."""
        num, tables = len(self.keys), self.codec.table_bytes(self.spec.num_tokens, self.spec.dim)
        return 32 * num + tables + sum(len(path) + 72 for path in self.paths) + 8192

    def shard_bytes(self, shard_id: int) -> int:
        """Bytes of one shard exactly, and of its report from above."""
        return shard_bytes(self.spec, len(self.rows(shard_id))) + 600

    @property
    def total_bytes(self) -> int:
        """Bytes of the finished store, at most."""
        return self.setup_bytes + sum(map(self.shard_bytes, range(self.num_shards)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 that names this plan; reports carry it."""
        return sha256(canonical_json(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """JSON value; `from_json` undoes it."""
        return {
            "spec": asdict(self.spec),
            "images": [list(pair) for pair in zip(self.keys, self.paths, strict=True)],
            "rejects": [asdict(reject) for reject in self.rejects],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Plan":
        """Plan of a JSON value.

        Raises:
            FormatVersionError: written by a newer version.
        """
        return cls(
            spec=spec_from_json(value["spec"]),
            keys=tuple(key for key, _ in value["images"]),
            paths=tuple(path for _, path in value["images"]),
            rejects=tuple(Reject(**reject) for reject in value["rejects"]),
        )


def load_plan(root: Path) -> Plan:
    """The plan of a finished or unfinished store.

    Raises:
        MissingStoreError: no folder, or no store in it.
        DamagedStoreError: `plan.json` is not what was written.
        FormatVersionError: written by a newer version.
    """
    if not (root / PLAN).is_file() or not is_store(root):
        raise MissingStoreError(missing_message(root))
    return Plan.from_json(read_sealed(root / PLAN))


def missing_message(root: Path) -> str:
    """What to tell a user who named a path without a store."""
    found = "holds no feature store" if root.exists() else "does not exist"
    return (
        f"{root} {found}; build one with `viral cache build --data ANNOTATIONS --images DIR --out {root}`, "
        "or correct the path."
    )
