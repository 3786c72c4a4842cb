"""Engines: where the processes run that build a store. Each starts `build_share` once or many times, and waits."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from viral.errors import UnknownNameError

if TYPE_CHECKING:
    from pipelines.cache_plan import PlannedCache
    from pipelines.cache_request import CacheRequest
    from pipelines.engines.share import Share

Engine = Callable[["CacheRequest", bool], "tuple[PlannedCache, list[Share]]"]
"""`(request, show_progress)` -> the plan, and what each process did. Ends when the store is whole, or a stop was
requested; raises what `build_share` raises."""

# Loaded on demand: Ray is an extra, and the command line looks at the names.
ENGINES = {"local": "pipelines.engines.local", "ray": "pipelines.engines.ray_cluster"}


def get_engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        UnknownNameError: no such engine.
    """
    if name not in ENGINES:
        raise UnknownNameError("engine", name, list(ENGINES))
    engine: Engine = import_module(ENGINES[name]).run
    return engine
