"""Key -> row. Sorted key prefixes in one array: 16 bytes per image, shared by forked workers without copies."""

import numpy as np
import numpy.typing as npt


class KeyIndex:
    """Rows of SHA-256 keys uint8 [N, 32]."""

    def __init__(self, keys_N32: npt.NDArray[np.uint8]) -> None:
        prefixes_N = np.ascontiguousarray(keys_N32[:, :8]).view(">u8")[:, 0].astype(np.uint64)
        self._keys_N32 = keys_N32
        self._rows_N = np.argsort(prefixes_N, kind="stable")
        self._prefixes_N = prefixes_N[self._rows_N]

    def find(self, key: str) -> int | None:
        """Row of a key of 64 hex digits; None if there is none."""
        try:
            digest = bytes.fromhex(key)
        except (ValueError, TypeError):
            return None
        prefix = np.uint64(int.from_bytes(digest[:8], "big"))
        place = int(np.searchsorted(self._prefixes_N, prefix))
        while place < len(self._rows_N) and self._prefixes_N[place] == prefix:
            row = int(self._rows_N[place])
            if self._keys_N32[row].tobytes() == digest:
                return row
            place += 1
        return None

    def key(self, row: int) -> str:
        """Key of a row."""
        return bytes(self._keys_N32[row]).hex()

    def __len__(self) -> int:
        return len(self._rows_N)
