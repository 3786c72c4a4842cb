"""Read one shard file whole and say everything that is wrong with it."""

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from stores.codecs import get_codec
from stores.shard import shard_bytes, stride
from stores.spec import StoreSpec


def shard_problems(
    path: Path, spec: StoreSpec, keys: Sequence[str], rejected: Collection[int], sha256: str
) -> list[str]:
    """What is wrong with a shard; empty if it is sound.

    Args:
        path: the shard file.
        spec: of its store.
        keys: of the records it should hold, in order.
        rejected: slots that should be blank; no other may be.
        sha256: of the whole file, from its report.
    """
    if not path.is_file():
        return ["missing"]
    size, expected = path.stat().st_size, shard_bytes(spec, len(keys))
    if size != expected:
        return [f"{size} bytes, expected {expected}"]
    problems, digest = [], hashlib.sha256()
    with path.open("rb") as file:
        for slot, key in enumerate(keys):
            stored = file.read(stride(spec))
            digest.update(stored)
            problem = _record_problem(stored, spec, key, slot in rejected)
            if problem:
                problems.append(f"record {slot} {problem}")
        trailer = file.read()
    digest.update(trailer)
    if trailer != spec.format.trailer(spec, len(keys)):
        problems.append("its end is not what was written")
    if digest.hexdigest() != sha256:
        problems.append("its SHA-256 is not the one in its report")
    return problems


def _record_problem(stored: bytes, spec: StoreSpec, key: str, rejected: bool) -> str | None:
    head = spec.format.overhead(spec)[0]
    codes = np.frombuffer(stored, spec.codes_dtype, spec.record_bytes // spec.codes_dtype.itemsize, head)
    framed = stored[:head] == spec.format.head(spec, key)
    if rejected:
        if stored == spec.format.blank(spec, key):
            return None
        holds = framed and stored[head + spec.record_bytes :] == spec.format.tail(spec, key, codes)
        return "holds features, but its image was rejected" if holds else "is not what was written"
    if not codes.view(np.bool_).any():
        return "is all zeros, but no reject"
    if not framed or stored[head + spec.record_bytes :] != spec.format.tail(spec, key, codes):
        return "does not match its checksum"
    # A float is not finite where its exponent is all ones; np.isfinite is ten times slower at it.
    mask = get_codec(spec.codec).exponent_mask
    if mask and (codes.view("<u2") & mask).max() == mask:
        return "holds NaN or infinity"
    return None
