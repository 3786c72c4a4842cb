"""Teacher weights: find and read a checkpoint, and refuse whatever does not fit its architecture exactly."""

from pathlib import Path

from torch import Tensor, nn

from viral.errors import WeightsError, one_line
from viral.hub import fetch
from viral.teachers.families.family import Family
from viral.teachers.profiles import Profile
from viral.teachers.spec import TeacherSpec
from viral.tensors import read_tensors

REMEDY = "Give a local checkpoint of this teacher with --weights FILE (.safetensors or .pth)."
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def find_weights(spec: TeacherSpec, weights: str | None) -> Path:
    """The file that `weights` means: None (packaged, else hub), `hub`, a local file or folder, or a hub id.

    Raises:
        WeightsError: no such file, or a hub repository that is neither cached nor reachable.
    """
    if weights is None and spec.weights_file is not None:
        return spec.weights_file
    if weights in (None, "hub"):
        if spec.hub is None:
            raise WeightsError(f"No hub weights are known for teacher {spec.name!r}. {REMEDY}")
        return _fetch(spec.hub, spec.hub_file)
    path = Path(str(weights))
    if path.is_dir():
        return next(
            (file for file in (path / "model.safetensors", path / spec.hub_file) if file.is_file()), path
        )
    looks_like_a_hub_id = path.suffix not in _SUFFIXES and str(weights).count("/") == 1
    return _fetch(str(weights), spec.hub_file) if looks_like_a_hub_id and not path.exists() else path


def read_file(path: Path) -> dict[str, Tensor]:
    """Tensors of a teacher's checkpoint file; see `viral.tensors.read_tensors`.

    Raises:
        WeightsError: no such file, unknown suffix, truncated, or not a plain dictionary of tensors.
    """
    if not path.is_file():
        raise WeightsError(f"No teacher weights at {path}: no such file. {REMEDY}")
    if path.suffix not in _SUFFIXES:
        raise WeightsError(f"Teacher weights {path} have the unknown suffix {path.suffix!r}. {REMEDY}")
    try:
        return read_tensors(path)
    except WeightsError as error:
        raise WeightsError(f"{error} {REMEDY}") from error


def fit(
    family: Family, backbone: nn.Module, spec: TeacherSpec, profile: Profile, path: Path
) -> dict[str, Tensor]:
    """The checkpoint at `path` in the layout of `backbone`.

    Raises:
        WeightsError: unreadable, or a key is missing, left over or of another shape.
    """
    state = read_file(path)
    try:
        state = family.convert(state, backbone, spec, profile)
    except (RuntimeError, LookupError, ValueError, AttributeError, TypeError, AssertionError) as error:
        raise WeightsError(
            f"{path} is not a checkpoint of teacher {spec.name!r}: {one_line(error)}. {REMEDY}"
        ) from error
    wanted = {key: tuple(tensor.shape) for key, tensor in backbone.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in state.items()}
    if wanted != found:
        raise WeightsError(
            f"{path} is not a checkpoint of teacher {spec.name!r}: {_difference(wanted, found)}. {REMEDY}"
        )
    return state


def _fetch(repo: str, filename: str) -> Path:
    try:
        return fetch(repo, filename, "teacher weights")
    except WeightsError as error:
        raise WeightsError(f"{error} {REMEDY}") from error


def _difference(wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> str:
    parts = []
    for what, keys in (
        ("missing", wanted.keys() - found.keys()),
        ("unexpected", found.keys() - wanted.keys()),
    ):
        if keys:
            parts.append(f"{len(keys)} {what} keys (such as {min(keys)})")
    clashes = sorted(key for key in wanted.keys() & found.keys() if wanted[key] != found[key])
    if clashes:
        key = clashes[0]
        parts.append(f"{len(clashes)} tensors of another shape ({key}: {found[key]}, expected {wanted[key]})")
    return ", ".join(parts)
