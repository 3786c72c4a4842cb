"""The engine `ray`: one builder per GPU of a Ray cluster, or per CPU where there is none.

The cluster may grow and shrink meanwhile: there is always one builder more than fits, for the next node to take, and
the shards of one that dies go to the others. Store, images and annotations lie on a file system that all nodes share.
"""

import logging
import secrets
import socket
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.cache_plan import PlannedCache, read_source
from pipelines.cache_request import DEFAULT_DATA, DEFAULT_IMAGES, CacheRequest
from pipelines.engines.share import Share, build_share
from pipelines.engines.world import World
from pipelines.interrupt import StopRequest
from pipelines.progress import bar
from stores import evict, load_plan
from stores.layout import PLAN, REPORTS
from viral.errors import ConfigError, DataError

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
LAST_SECONDS = 10.0
"""For builders to notice that the store is whole; then those that never started are called off."""
CONNECT_SECONDS = 10.0
MAX_CRASHES = 5
"""In a row, without a new shard: it is not the cluster then."""


def run(request: CacheRequest, show_progress: bool) -> tuple[PlannedCache, list[Share]]:
    """Build on a Ray cluster: `request.address`, else the one that Ray finds, else one on this machine.

    Raises:
        ViralError, StoreError: as `build_share`; the first builder to raise stops the others.
        ConfigError: Ray is not installed, not there, or has not the devices asked for.
        DataError: builders die again and again.
    """
    source = read_source(request.data, request.images)
    request = _everywhere(request)
    with _cluster(request.address) as ray, StopRequest() as stop:
        builders = _Builders(ray, request)
        with _progress(request.folder, show_progress) as refresh:
            while not (builders.shares or stop.requested):
                builders.top_up()
                builders.gather(POLL_SECONDS)
                refresh()
            if not stop.requested:
                builders.gather_all(LAST_SECONDS)
            builders.call_off()
    if not builders.shares:
        raise KeyboardInterrupt  # before anything was planned
    return PlannedCache(plan=load_plan(request.folder), source=source), builders.shares


@dataclass
class _Builders:
    """Ray tasks that build, by their reference; a task ends when the store is whole."""

    ray: Any
    request: CacheRequest
    shares: list[Share] = field(default_factory=list)
    _names: dict[Any, str] = field(default_factory=dict)
    _started: int = 0
    _crashes: int = 0
    _shards_at_crash: int = -1

    def __post_init__(self) -> None:
        self._request, self._needs = _one_builder(self.request, self.ray.cluster_resources())
        # No retries by Ray: the store has to hear of a death. One call per process: it takes its GPU memory along.
        self._task = self.ray.remote(max_retries=0, max_calls=1, **self._needs)(_build_there)

    def top_up(self) -> None:
        """As many tasks as the cluster has room for, and one that waits for more room."""
        resources = self.ray.cluster_resources()
        room = min(
            int(resources.get(name, 0) // needed)
            for name, needed in (("CPU", self._needs["num_cpus"]), ("GPU", self._needs["num_gpus"]))
            if needed
        )
        while len(self._names) < room + 1:
            name = f"ray-{secrets.token_hex(4)}-{self._started}"
            world = World(rank=self._started % (room + 1), size=room + 1)
            self._names[self._task.remote(self._request, world, name)] = name
            self._started += 1

    def gather(self, seconds: float) -> None:
        """Take what ended within that time.

        Raises:
            ViralError, StoreError: what a builder raised.
            DataError: builders die again and again.
        """
        from ray.exceptions import RayError, RayTaskError, TaskCancelledError

        ready, _ = self.ray.wait(list(self._names), num_returns=1, timeout=seconds)
        for task in ready:
            name = self._names.pop(task)
            try:
                self.shares.append(self.ray.get(task))
            except TaskCancelledError:
                pass
            except RayTaskError as error:
                raise error.cause from error
            except RayError as error:  # its process, its node, or its memory
                log.warning("A builder died (%s); others take over its shards.", type(error).__name__)
                evict(self.request.folder, name)
                self._count_crash(error)

    def gather_all(self, seconds: float) -> None:
        """Take what ends until everything has, or for that time nothing does."""
        before = -1
        while self._names and before != len(self._names):
            before = len(self._names)
            self.gather(seconds)

    def call_off(self) -> None:
        """Stop every task, between two batches, and wait for it."""
        for task in self._names:
            self.ray.cancel(task)
        self.gather_all(LAST_SECONDS)

    def _count_crash(self, error: Exception) -> None:
        shards = _num_shards(self.request.folder)
        self._crashes = 1 if shards > self._shards_at_crash else self._crashes + 1
        self._shards_at_crash = shards
        if self._crashes >= MAX_CRASHES:
            raise DataError(
                f"{self._crashes} builders died in a row and finished no shard ({type(error).__name__}); "
                "see Ray's logs. Fewer --workers or a smaller --batch-size need less memory; the same command resumes."
            ) from error


def _build_there(request: CacheRequest, world: World, name: str) -> Share:
    _, share = build_share(request, world, name=name)
    return share


def _one_builder(request: CacheRequest, cluster: dict[str, float]) -> tuple[CacheRequest, dict[str, float]]:
    """The request of one builder, and what of the cluster it needs."""
    if request.devices:
        raise ConfigError("--devices is for --engine local; Ray gives every builder a device.")
    gpus, cpus = cluster.get("GPU", 0), cluster.get("CPU", 0)
    on_gpu = bool(gpus) and request.device in (None, "auto", "cuda")
    if not on_gpu and request.device not in (None, "auto", "cpu"):
        raise ConfigError(
            f"--device {request.device}: the Ray cluster has {gpus:.0f} GPUs; use --device cuda, cpu or auto."
        )
    # Each builder decodes on its GPU's part of the cores, or where it encodes.
    workers = (max(1, int(cpus // gpus) - 1) if on_gpu else 0) if request.workers is None else request.workers
    here = replace(request, device="cuda" if on_gpu else "cpu", workers=workers)
    return here, {"num_cpus": 1 + workers, "num_gpus": 1 if on_gpu else 0}


def _everywhere(request: CacheRequest) -> CacheRequest:
    """The request with paths that mean the same in every process."""
    data, weights = request.data, request.weights
    if not data:
        data = [] if request.images else [DEFAULT_DATA]
    return replace(
        request,
        data=[path.absolute() for path in ([data] if isinstance(data, Path) else data)],
        images=(request.images or DEFAULT_IMAGES).absolute(),
        out=request.folder.absolute(),
        append_to=request.append_to and request.append_to.absolute(),
        weights=str(Path(weights).absolute()) if weights and Path(weights).is_file() else weights,
    )


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--engine ray needs Ray; install it with: pip install 'viral[ray]'") from error
    _require_answer(address)
    try:
        # Ray lets its processes import from the working directory first, where a folder may be called like ours.
        with chdir(Path(__file__).parents[2]):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise ConfigError(f"No Ray cluster at {address or 'hand'} ({error}); check --address.") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_answer(address: str | None) -> None:
    """Make sure that somebody listens at `host:port`: Ray itself would try for a quarter of an hour."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # `auto`, `local`: Ray finds its own
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"No Ray cluster at {address} ({error}); check --address.") from error


@contextmanager
def _progress(root: Path, show: bool) -> Iterator[Any]:
    """A bar over shards, whoever makes them: yields what to call now and then."""
    with bar(0, "build", show, unit="shard") as progress:

        def refresh() -> None:
            if not progress.total and (root / PLAN).is_file():
                progress.total = load_plan(root).num_shards
            progress.update(_num_shards(root) - progress.n)

        yield refresh


def _num_shards(root: Path) -> int:
    return len(list((root / REPORTS).glob("*.json")))
