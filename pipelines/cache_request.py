"""What a user asks of stage one, with the defaults of the release's folder layout."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.workers import usable_cores
from stores import StoreSpec, get_codec
from stores.errors import FingerprintError
from stores.formats import get_format
from viral.data.keys import PATH_AND_SIZE
from viral.data.tiles import Tiling, get_tiling, tiling_of_store
from viral.errors import ConfigError

if TYPE_CHECKING:
    from viral.teachers.teacher import Teacher

DEFAULT_DATA = Path("playground/llava_v1_5_mix665k.json")
DEFAULT_IMAGES = Path("playground/llava-665k")
CPU_BATCH, CUDA_BATCH = 8, 256
LEAST_REJECTS = 10
LEAST = {"grid": 1, "shard_size": 1, "batch_size": 1, "workers": 0, "max_rejects": 0}
MAX_CPU_WORKERS, MAX_CUDA_WORKERS = 8, 32


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheRequest:
    """One cache: whose features of which images, where to, and how fast.

    `data` may be several annotation files; None with `images` given means every image below that folder.
    `trust_paths` files images under name and size instead of their content (`viral.data.keys`). `weights` and
    `grid` None mean the teacher's own; `device`, `batch_size` and `workers` None are chosen for the machine;
    `max_rejects` None allows 1 % of the images, but at least 10.
    """

    vfm: str = "dinov2"
    weights: str | None = None
    profile: str = "paper"
    dtype: str | None = None
    grid: int | None = None
    square: str = "pad"
    """How pictures become squares: `pad`, or `crop` as stage one of LLaVA has it."""
    device: str | None = None
    data: Path | Sequence[Path] | None = None
    images: Path | None = None
    trust_paths: bool = False
    tiles: str | None = None
    """Encode every view of an image under this tiling (`viral.data.tiles`), instead of the whole alone."""
    out: Path | None = None
    codec: str = "int8"
    store: str = "zarr"
    shard_size: int = 512
    batch_size: int | None = None
    workers: int | None = None
    max_rejects: int | None = None
    devices: tuple[str, ...] = ()
    """Several devices of this machine, one encoder process on each."""
    engine: str = "local"
    address: str | None = None
    """Of a Ray cluster."""
    compile: bool = False
    """`torch.compile` the teacher; CUDA only."""
    append_to: Path | None = None
    """A finished store whose new part `out` is; images it has are left out."""

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag} {value} is too small; give a number of at least {least}.")
        get_codec(self.codec)
        get_format(self.store)
        if self.tiles is not None:
            get_tiling(self.tiles)
            if self.square != "pad":
                raise ConfigError(
                    f"--tiles cut the whole picture, --square {self.square} a part of it; leave one out."
                )
        if "" in self.devices:
            raise ConfigError(f"--devices {','.join(self.devices)!r}: expected names such as cuda:0,cuda:1.")
        if self.devices and self.device:
            raise ConfigError("--device names one device and --devices several; give one of the two.")

    @property
    def folder(self) -> Path:
        """Where the store goes; the default name says when the teacher is not fed as in the paper."""
        odd = [value for value, usual in ((self.profile, "paper"), (self.square, "pad")) if value != usual]
        odd += [self.tiles] if self.tiles else []
        suffix = "".join(f"-{value}" for value in odd)
        return self.out or Path("caches") / f"{self.vfm}{suffix}"

    @property
    def tiling(self) -> Tiling | None:
        """What `tiles` names."""
        return None if self.tiles is None else get_tiling(self.tiles)

    def load_teacher(self) -> "Teacher":
        """The teacher asked for, on its device.

        Raises:
            ViralError: unknown name, unusable weights or device.
        """
        from viral.teachers import get_teacher
        from viral.teachers.load import load_teacher

        spec = get_teacher(self.vfm)
        if spec.length_matters and get_codec(self.codec).tables:
            raise ConfigError(
                f"Teacher {spec.name!r} gives features whose length matters; codec {self.codec} keeps their direction "
                "only. Use --codec fp16 or bf16."
            )
        return load_teacher(
            spec, self.weights, self.profile, self.device or "auto", self.dtype, self.grid, self.square
        )

    def rejects_allowed(self, num_images: int) -> int:
        """How many of the images may be rejected before the build fails."""
        return max(LEAST_REJECTS, num_images // 100) if self.max_rejects is None else self.max_rejects

    def batch_size_on(self, device_type: str) -> int:
        """Images encoded at once; the encoder halves it where memory is short."""
        return self.batch_size or (CUDA_BATCH if device_type == "cuda" else CPU_BATCH)

    def workers_on(self, device_type: str) -> int:
        """Decoding processes: enough to feed a GPU; one core is left to the encoder."""
        if self.workers is not None:
            return self.workers
        most = MAX_CUDA_WORKERS if device_type == "cuda" else MAX_CPU_WORKERS
        return max(1, min(usable_cores() - 1, most))


def request_like(spec: StoreSpec, wanted: CacheRequest) -> CacheRequest:
    """`wanted` for a store that is there: teacher, profile, dtype, grid, square, keys, tiles, codec are its own.

    Weights stay those of `wanted`, but for random ones, which need not be named.

    Raises:
        FingerprintError: the store does not say how it was made.
    """
    made, tiling = spec.fingerprint, tiling_of_store(spec.fingerprint)
    if missing := [name for name in ("teacher", "profile", "dtype", "weights") if name not in made]:
        raise FingerprintError(
            f"The store does not say which teacher built it (no {missing[0]} in its fingerprint); "
            "only a store of `viral cache build` can be recomputed or appended to."
        )
    return replace(
        wanted,
        vfm=made["teacher"],
        profile=made["profile"],
        dtype=made["dtype"],
        grid=made["grid"][0] if "grid" in made else None,
        square=made.get("square", wanted.square),
        trust_paths=made.get("keys") == PATH_AND_SIZE,
        tiles=tiling.label if tiling else None,
        weights=wanted.weights or ("random" if made["weights"] == "random" else None),
        codec=spec.codec,
        store=spec.store,
        shard_size=spec.shard_size,
    )
