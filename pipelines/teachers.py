"""The teachers as a table: what each gives, costs and stores, and where its weights come from."""

from dataclasses import dataclass

from stores import CODECS, StoreSpec
from viral.teachers.registry import ALIASES, TEACHERS
from viral.teachers.spec import TeacherSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherRow:
    """One teacher in numbers; nothing of it has to be loaded for them."""

    name: str
    aliases: tuple[str, ...]
    dim: int
    grid: tuple[int, int]
    image_size: int
    gflops: float | None
    bytes_by_codec: dict[str, int]
    """Of one image's record."""
    licence: str
    hub: str | None
    """Repository of the weights on the Hugging Face hub, and the file in it."""
    hub_file: str
    url: str | None
    packaged: bool
    """Whether the weights come with this package."""


def list_teachers() -> list[TeacherRow]:
    """All teachers, in the order of the registry."""
    return [_row(spec) for name, spec in TEACHERS.items() if name == spec.name]


def _row(spec: TeacherSpec) -> TeacherRow:
    return TeacherRow(
        name=spec.name,
        aliases=tuple(alias for alias, name in ALIASES.items() if name == spec.name),
        dim=spec.dim,
        grid=spec.grid,
        image_size=spec.image_size,
        gflops=spec.gflops,
        bytes_by_codec={
            codec: StoreSpec(codec=codec, grid=spec.grid, dim=spec.dim, fingerprint={}).record_bytes
            for codec in sorted(CODECS)
        },
        licence=spec.licence,
        hub=spec.hub,
        hub_file=spec.hub_file,
        url=spec.url,
        packaged=spec.weights_file is not None,
    )
