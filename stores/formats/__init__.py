"""Store formats by name. They differ in the bytes of a shard file, and share everything else of a store."""

from stores.errors import PlanError
from stores.formats.base import StoreFormat as StoreFormat
from stores.formats.webdataset import WebDatasetFormat
from stores.formats.zarr import ZarrFormat

FORMATS: dict[str, StoreFormat] = {made.name: made for made in (ZarrFormat(), WebDatasetFormat())}


def get_format(name: str) -> StoreFormat:
    """Look a store format up by name.

    Raises:
        PlanError: no such format.
    """
    if name not in FORMATS:
        raise PlanError(f"Unknown store format {name!r}. Known: {', '.join(sorted(FORMATS))}.")
    return FORMATS[name]
