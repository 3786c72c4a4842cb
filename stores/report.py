"""The report of one shard: what went in, what was rejected, how true the codec was. Holds no time, no host."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stores.canonical import canonical_json, read_sealed, seal, sha256
from stores.errors import DamagedStoreError
from stores.layout import report_file, whole_array
from stores.plan import Plan, Reject
from stores.publish import write_json


@dataclass(frozen=True, kw_only=True, slots=True)
class CosineStats:
    """Cosine between features and their decoded codes, over tokens."""

    mean: float
    p001: float
    """0.1-percentile; over several shards, the lowest of theirs."""
    worst: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardReport:
    """One shard as its builder saw it. A rejected image keeps its row, which is then all zeros."""

    shard_id: int
    num_images: int
    """Rows of the shard, rejected ones included."""
    rejects: tuple[Reject, ...] = ()
    cosine: CosineStats | None = None
    """None where every image was rejected."""

    @property
    def num_records(self) -> int:
        """Rows that hold features."""
        return self.num_images - len(self.rejects)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ShardReport":
        """Report of a JSON value."""
        return cls(
            shard_id=value["shard_id"],
            num_images=value["num_images"],
            rejects=tuple(Reject(**reject) for reject in value["rejects"]),
            cosine=None if value["cosine"] is None else CosineStats(**value["cosine"]),
        )


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report together with the SHA-256 of its shard file and the store it was written for."""

    report: ShardReport
    sha256: str
    store: str

    def write(self, root: Path) -> None:
        """Publish as `reports/<shard>.json`."""
        write_json(root / report_file(self.report.shard_id), seal(asdict(self)))

    @classmethod
    def read(cls, root: Path, shard_id: int) -> "StoredReport":
        """Read back what `write` wrote.

        Raises:
            FileNotFoundError: the shard has not been written.
            DamagedStoreError: the report is not what was written.
        """
        body = read_sealed(root / report_file(shard_id))
        stored = cls(ShardReport.from_json(body["report"]), body["sha256"], body["store"])
        if stored.report.shard_id != shard_id:
            raise DamagedStoreError(f"{root / report_file(shard_id)} is the report of another shard.")
        return stored


def store_digest(root: Path, plan: Plan) -> str:
    """Names the plan and the tables that a shard was encoded with; a shard counts only in the store it names."""
    tables = {name: sha256((root / whole_array(name)).read_bytes()) for name in plan.codec.tables}
    return sha256(canonical_json([plan.digest, tables]))


def merge_cosines(reports: Iterable[ShardReport]) -> CosineStats | None:
    """Statistics over several shards, their mean weighted by records; None if no record has features."""
    return weighted_cosine([(report.num_records, report.cosine) for report in reports])


def weighted_cosine(counted: Iterable[tuple[int, CosineStats | None]]) -> CosineStats | None:
    """Statistics over (number of records, their statistics); None if no record has features."""
    known = [(count, cosine) for count, cosine in counted if cosine is not None]
    if not known:
        return None
    return CosineStats(
        mean=sum(count * cosine.mean for count, cosine in known) / sum(count for count, _ in known),
        p001=min(cosine.p001 for _, cosine in known),
        worst=min(cosine.worst for _, cosine in known),
    )
