"""Keys of image files that have been hashed before, so that an unchanged folder is read only once.

One small file beside the store: records of 52 bytes (16 that name a file and its stamp, 32 of the key, 4 of CRC-32),
appended while hashing goes on, so a killed run keeps what it has done. Whatever does not match its checksum is ignored
and hashed again; so is everything if the file cannot be read. The cache only saves time: a build compares the bytes
it decodes with the key, whatever the cache said.
"""

import hashlib
import zlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from stores.publish import make_folder
from viral.data.image_files import Stamp

SETTLED_NS = 2_000_000_000
"""A file must have been left alone for this long before its hash is kept. A file system counts time in ticks (2 s on
FAT, 1 s on some network disks): a second change within a tick would not show in the stamp. The same rule keeps files
from the future (a clock that is wrong, here or there) out of the cache."""
FLUSH_RECORDS = 1024

_NAME, _KEY, _CRC = 16, 32, 4
_RECORD = _NAME + _KEY + _CRC


class HashCache:
    """Keys by file name and stamp. `get` may be called from any thread, the rest from one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _read(path)
        self._waiting: list[bytes] = []

    def __enter__(self) -> "HashCache":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()

    def get(self, name: str, stamp: Stamp) -> str | None:
        """Key of a file that has not changed since it was hashed; None if that is not known."""
        key = self._known.get(_identity(name, stamp))
        return None if key is None else key.hex()

    def add(self, name: str, stamp: Stamp, key: str) -> None:
        """Keep a key, now or with one of the next."""
        record = _identity(name, stamp) + bytes.fromhex(key)
        self._waiting.append(record + zlib.crc32(record).to_bytes(_CRC, "little"))
        if len(self._waiting) >= FLUSH_RECORDS:
            self._flush()

    def _flush(self) -> None:
        """Append; on a disk that is full or read-only the records are forgotten."""
        records, self._waiting = b"".join(self._waiting), []
        if not records:
            return
        with suppress(OSError):
            make_folder(self._path.parent)
            with self._path.open("ab", buffering=0) as file:
                torn = file.tell() % _RECORD  # what a killed run left
                file.write(bytes(-torn % _RECORD) + records)


def is_settled(stamp: Stamp, read_ns: int) -> bool:
    """Whether any change of the file after `read_ns`, when it was read, must have given it another stamp."""
    return max(stamp.mtime_ns, stamp.ctime_ns) < read_ns - SETTLED_NS


def _identity(name: str, stamp: Stamp) -> bytes:
    text = f"{name}\0{stamp.size} {stamp.mtime_ns} {stamp.ctime_ns} {stamp.inode}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=_NAME).digest()


def _read(path: Path) -> dict[bytes, bytes]:
    try:
        data = path.read_bytes()
    except OSError:
        return {}
    known = {}
    for start in range(0, len(data) - _RECORD + 1, _RECORD):
        crc = int.from_bytes(data[start + _NAME + _KEY : start + _RECORD], "little")
        if zlib.crc32(data[start : start + _NAME + _KEY]) == crc:
            known[data[start : start + _NAME]] = data[start + _NAME : start + _NAME + _KEY]
    return known
