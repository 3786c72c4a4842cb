"""What a store format owes: the name of a shard file, and the bytes around each record's codes.

    record 0 | record 1 | ... | trailer          record = head | codes | tail

Heads and tails have a fixed length and follow from key and codes, so that a writer needs one `writev`, a reader
finds record r at r x stride, and whatever is read can be compared with what was written, byte by byte.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt

from stores.layout import CODES, GROUP, KEYS, PLAN, REJECTS, array_metadata, report_file, whole_array

if TYPE_CHECKING:
    from stores.spec import StoreSpec


class StoreFormat(ABC):
    """The bytes of a shard file."""

    name: ClassVar[str]
    codes_are_zarr: ClassVar[bool]
    """Whether the shards are the chunks of a Zarr array, which then has metadata beside them."""

    @abstractmethod
    def shard_file(self, shard_id: int) -> str:
        """Relative name of a shard file."""

    @abstractmethod
    def overhead(self, spec: "StoreSpec") -> tuple[int, int]:
        """Bytes before and behind a record's codes."""

    @abstractmethod
    def head(self, spec: "StoreSpec", key: str) -> bytes:
        """What precedes the codes of an image."""

    @abstractmethod
    def tail(self, spec: "StoreSpec", key: str, codes_TW: npt.NDArray[Any]) -> bytes:
        """What follows its codes; their checksum is in it."""

    @abstractmethod
    def blank(self, spec: "StoreSpec", key: str) -> bytes:
        """The whole record of a rejected image, which holds no features."""

    @abstractmethod
    def trailer(self, spec: "StoreSpec", num_records: int) -> bytes:
        """What follows the last record of a shard."""

    def setup_files(self, tables: Iterable[str]) -> list[str]:
        """Files of a created store with these tables, `plan.json` excluded."""
        arrays = (KEYS, *tables)
        codes = [array_metadata(CODES)] if self.codes_are_zarr else []
        return [GROUP, *codes, *map(array_metadata, arrays), *map(whole_array, arrays)]

    def small_files(self, tables: Iterable[str], num_shards: int) -> list[str]:
        """Every file of a finished store but the shards and the manifest."""
        return [*self.setup_files(tables), PLAN, REJECTS, *map(report_file, range(num_shards))]
