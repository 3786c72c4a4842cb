"""One spelling for every JSON file of a store, and a seal that covers each of its bytes."""

import hashlib
import json
from pathlib import Path
from typing import Any

from stores.errors import DamagedStoreError


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 - anything JSON can hold
    """Compact ASCII JSON with sorted keys and a final newline; equal values give equal bytes.

    Raises:
        ValueError: the value holds NaN or an infinity.
    """
    return (json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode("ascii")


def sha256(data: bytes) -> str:
    """SHA-256 as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def seal(body: dict[str, Any]) -> dict[str, Any]:
    """`body` plus `checksum`, the SHA-256 of its canonical JSON."""
    return {**body, "checksum": sha256(canonical_json(body))}


def read_sealed(path: Path) -> dict[str, Any]:
    """The body of a sealed JSON file.

    Raises:
        DamagedStoreError: not canonical JSON, or the checksum disagrees; a single flipped bit is found.
    """
    return unseal(path.read_bytes(), str(path))


def unseal(data: bytes, name: str) -> dict[str, Any]:
    """The body of a sealed JSON file's content; `name` is for the message.

    Raises:
        DamagedStoreError: as `read_sealed`.
    """
    try:
        sealed = json.loads(data)
        body = {name: value for name, value in sealed.items() if name != "checksum"}
        intact = canonical_json(sealed) == data and sealed["checksum"] == sha256(canonical_json(body))
    except (ValueError, AttributeError, KeyError, RecursionError):
        intact, body = False, {}
    if not intact:
        raise DamagedStoreError(f"{name} is damaged: its checksum disagrees. {REPAIR}")
    return body


REPAIR = "Run `viral cache verify --repair` on the store, then `viral cache build` to refill it."
