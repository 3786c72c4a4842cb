"""Where to compute."""

import time

import torch

from viral.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """`auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1` -> a device that exists.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"Device {name!r} is not available here ({reason}); use cpu, or auto.") from error
    return device


def matmul_rate(device: torch.device, dtype: str, seconds: float = 0.5) -> float:
    """Floating-point operations a second of a large matrix product; takes about `seconds`."""
    side = 8192 if device.type == "cuda" else 1024
    matrix = torch.ones(side, side, device=device, dtype=getattr(torch, dtype))
    matrix @ matrix  # the first one sets up
    count, start = 0, _finished(device)
    while (now := _finished(device)) - start < seconds or not count:
        matrix @ matrix
        count += 1
    return 2 * side**3 * count / (now - start)


def _finished(device: torch.device) -> float:
    """Time, in seconds, when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
