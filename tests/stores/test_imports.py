"""Reading needs neither zarr nor torch; the error classes need nothing at all."""

import subprocess
import sys

import pytest

import stores


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("stores.errors", {"numpy", "zarr", "torch", "viral"}),
        ("stores.reader", {"zarr", "torch", "viral"}),
        ("stores.verify", {"zarr", "torch", "viral"}),
    ],
)
def test_imports_stay_light(module, unwanted):
    code = f"import sys, {module}; print(*({unwanted!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_public_name_is_there():
    for name in stores._HOME:
        assert getattr(stores, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        stores.nonsense  # noqa: B018
