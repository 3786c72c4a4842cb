"""Read one shard file whole and say everything that is wrong with it."""

import hashlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from stores.codecs import get_codec
from stores.shard import CRC_BYTES, crc_bytes, shard_bytes, shard_index, stride
from stores.spec import StoreSpec


def shard_problems(
    path: Path, spec: StoreSpec, num_records: int, rejected: Collection[int], sha256: str
) -> list[str]:
    """What is wrong with a shard; empty if it is sound.

    Args:
        path: the shard file.
        spec: of its store.
        num_records: records it should hold.
        rejected: slots that should be all zeros; no other may be.
        sha256: of the whole file, from its report.
    """
    if not path.is_file():
        return ["missing"]
    size, expected = path.stat().st_size, shard_bytes(spec, num_records)
    if size != expected:
        return [f"{size} bytes, expected {expected}"]
    problems, digest = [], hashlib.sha256()
    with path.open("rb") as file:
        for slot in range(num_records):
            stored = file.read(stride(spec))
            digest.update(stored)
            problem = _record_problem(stored, spec, slot in rejected)
            if problem:
                problems.append(f"record {slot} {problem}")
        index = file.read()
    digest.update(index)
    if index != shard_index(spec, num_records):
        problems.append("the index is not what was written")
    if digest.hexdigest() != sha256:
        problems.append("its SHA-256 is not the one in its report")
    return problems


def _record_problem(stored: bytes, spec: StoreSpec, rejected: bool) -> str | None:
    codes = np.frombuffer(stored[:-CRC_BYTES], spec.codes_dtype)
    if stored[-CRC_BYTES:] != crc_bytes(codes):
        return "does not match its checksum"
    if bool(codes.view(np.bool_).any()) == rejected:
        return "holds features, but its image was rejected" if rejected else "is all zeros, but no reject"
    # A float is not finite where its exponent is all ones; np.isfinite is ten times slower at it.
    mask = get_codec(spec.codec).exponent_mask
    if mask and (codes.view("<u2") & mask).max() == mask:
        return "holds NaN or infinity"
    return None
