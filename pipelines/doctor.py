"""What this machine has, and what is missing: packages, devices, memory, disk, weights and data."""

import platform
import shutil
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from pipelines.cache_request import DEFAULT_DATA, DEFAULT_IMAGES
from pipelines.workers import SHARED_MEMORY, usable_cores
from stores.space import format_bytes
from viral.hub import is_cached
from viral.teachers.registry import TEACHERS

EXTRAS = {
    "diffusers": "the teacher flux-vae",
    "log": "--log tensorboard and wandb",
    "ray": "--engine ray",
    "remote": "stores behind URLs",
}
"""Extras that users install, and what each is for."""
IMPORTED = ("torch", "timm", "transformers", "peft", "deepspeed", "zarr")
"""Packages that can be installed and yet fail to load: they depend on compiled parts of each other."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. A problem keeps part of `viral` from working; everything else is information."""

    topic: str
    text: str
    is_problem: bool = False


def examine() -> list[Finding]:
    """Look at everything; nothing is downloaded, nothing is written."""
    return [*_packages(), *_extras(), *_devices(), *_room(), *_weights(), *_data()]


def _packages() -> list[Finding]:
    found = [Finding("python", platform.python_version())]
    found += [_package(requirement) for requirement in _requirements("")]
    import viral.mllm  # noqa: F401 - keeps DeepSpeed from looking for a GPU that is not there

    for name in IMPORTED:
        try:
            import_module(name)
        except Exception as error:  # whatever a broken installation raises
            found.append(Finding(name, f"is installed but does not load: {error}; install it anew", True))
    return found


def _extras() -> list[Finding]:
    found = []
    for extra, use in EXTRAS.items():
        needs = _requirements(extra)
        if not needs:  # the code has been updated, what was installed with it has not
            found.append(
                Finding(f"viral[{extra}]", f"unknown to the installed package, for {use}; install it anew")
            )
            continue
        bad = [finding.topic for finding in map(_package, needs) if finding.is_problem]
        lacking = f"not installed ({', '.join(bad)}), only for {use}: pip install 'viral[{extra}]'"
        found.append(Finding(f"viral[{extra}]", lacking if bad else "installed"))
    return found


def _requirements(extra: str) -> list[Requirement]:
    """What the package needs for one extra, or always (``""``)."""
    declared = [Requirement(line) for line in requires("viral") or []]
    return [
        need
        for need in declared
        if (need.marker.evaluate({"extra": extra}) if need.marker else True)
        and (not extra or "extra" in str(need.marker))
    ]


def _package(need: Requirement) -> Finding:
    try:
        installed = version(need.name)
    except PackageNotFoundError:
        return Finding(need.name, f"missing; pip install '{need.name}{need.specifier}'", True)
    if not need.specifier.contains(installed, prereleases=True):
        return Finding(
            need.name,
            f"{installed}, needed {need.specifier}: pip install '{need.name}{need.specifier}'",
            True,
        )
    return Finding(need.name, installed)


def _devices() -> list[Finding]:
    try:
        import torch
    except Exception:  # reported with the packages
        return []
    found = [Finding("cpu", f"{platform.processor() or platform.machine()}, {usable_cores()} cores for us")]
    if not torch.cuda.is_available():
        built = torch.version.cuda
        reason = (
            f"torch is built for CUDA {built}, no driver or device"
            if built
            else "torch is built without CUDA"
        )
        return [*found, Finding("gpu", f"none ({reason}); everything runs on the CPU, slowly")]
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        bf16 = "bfloat16" if device.major >= 8 else "no bfloat16"  # Ampere
        found.append(Finding(f"cuda:{index}", f"{device.name}, {format_bytes(device.total_memory)}, {bf16}"))
    return found


def _room() -> list[Finding]:
    found = [Finding("disk", f"{format_bytes(shutil.disk_usage('.').free)} free here")]
    if SHARED_MEMORY.is_dir():
        free = shutil.disk_usage(SHARED_MEMORY).free
        note = "" if free >= 1 << 30 else "; small: batches travel through pipes. Containers: --shm-size=8g"
        found.append(Finding("shared memory", f"{format_bytes(free)}{note}"))
    return found


def _weights() -> list[Finding]:
    here = [
        name
        for name, spec in TEACHERS.items()
        if name == spec.name and (spec.weights_file or (spec.hub and is_cached(spec.hub, spec.hub_file)))
    ]
    return [
        Finding(
            "teacher weights", f"{', '.join(here)}; others come from the hub or a file (`viral teachers`)"
        )
    ]


def _data() -> list[Finding]:
    return [
        Finding(what, f"{path}{'' if path.exists() else ' is not here; give its place with ' + option}")
        for what, path, option in (
            ("annotations", Path(DEFAULT_DATA), "--data"),
            ("images", Path(DEFAULT_IMAGES), "--images"),
        )
    ]
