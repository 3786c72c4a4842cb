"""The table of teachers: names, costs and sources that can be checked are."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.teachers.ports import CLIP, DINOV2, RADIO, SAM
from viral.teachers.families import FAMILIES, get_family
from viral.teachers.flops import count_flops
from viral.teachers.load import load_teacher
from viral.teachers.registry import ALIASES, TEACHERS

ENTRIES = [spec for name, spec in TEACHERS.items() if name == spec.name]
every_entry = pytest.mark.parametrize("spec", ENTRIES, ids=lambda spec: spec.name)


def test_names_are_unique_and_aliases_lead_somewhere():
    assert len({spec.name for spec in ENTRIES}) == len(ENTRIES)
    assert all(TEACHERS[alias] is TEACHERS[name] for alias, name in ALIASES.items())
    assert {spec.family for spec in ENTRIES} <= FAMILIES.keys()


@every_entry
def test_an_entry_says_what_a_user_needs_before_loading(spec):
    assert spec.licence != "unknown"
    assert spec.gflops is not None
    assert spec.weights_file or spec.hub or spec.url


@every_entry
def test_hub_ids_of_timm_are_timms_own(spec):
    import timm

    if not (spec.hub or "").startswith("timm/"):
        pytest.skip("not from timm's repositories")
    assert timm.get_pretrained_cfg(spec.architecture).hf_hub_id == spec.hub


def _vit_flops(tokens, patches, patch, width, depth, mlp):
    """Two for each multiply-add: patch embedding, then per block qkv, attention twice, projection, MLP."""
    block = tokens * width * (4 * width + 2 * mlp) + 2 * tokens * tokens * width
    return 2 * (patches * 3 * patch * patch * width + depth * block)


def test_counted_operations_are_those_of_the_formula():
    assert count_flops(DINOV2) == _vit_flops(37, 36, 14, 48, 3, 192)
    assert count_flops(CLIP) == _vit_flops(37, 36, 14, 48, 2, 192)
    assert count_flops(RADIO) == _vit_flops(16 + 8, 16, 16, 48, 3, 192)
    assert count_flops(SAM) > _vit_flops(64, 64, 16, 48, 3, 192)  # and its neck, and padded windows


def test_counted_operations_are_those_of_a_run_with_numbers():
    from torch.utils.flop_counter import FlopCounterMode

    for spec in (DINOV2, CLIP, SAM, RADIO):
        teacher = load_teacher(spec, "random")
        square = torch.zeros(1, spec.image_size, spec.image_size, 3, dtype=torch.uint8)
        with FlopCounterMode(display=False) as counter:
            teacher(square)
        assert counter.get_total_flops() == count_flops(spec), spec.name


def _require_its_library(spec):
    if spec.name == "flux-vae":
        pytest.importorskip("diffusers", reason="an extra of its own")


@pytest.mark.slow
@every_entry
def test_stated_operations_are_the_counted_ones(spec):
    """Also says that the real architecture gives the grid and the width of its entry."""
    _require_its_library(spec)
    assert count_flops(spec) / 1e9 == pytest.approx(spec.gflops, rel=1e-3)


@pytest.mark.slow
@every_entry
def test_real_size_on_a_cpu(spec):
    _require_its_library(spec)
    if spec.gflops > 500 and spec.family == "timm":
        pytest.skip("the giants need 6 GB and minutes")
    teacher = load_teacher(spec, "random")
    generator = torch.Generator().manual_seed(0)
    square = torch.randint(0, 256, (1, spec.image_size, spec.image_size, 3), generator=generator)
    tokens = teacher(square.to(torch.uint8))
    assert tokens.shape == (1, spec.grid[0] * spec.grid[1], spec.dim)
    assert tokens.isfinite().all()


def test_the_table_needs_nothing_heavy():
    heavy = {"torch", "timm", "transformers", "zarr", "peft", "scipy"}
    code = (
        "import sys; from pipelines.teachers import list_teachers; assert list_teachers();"
        f"sys.exit(', '.join(set(sys.modules) & {heavy!r}) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_unknown_families_list_the_known_ones():
    with pytest.raises(ValueError, match=r"Unknown teacher family 'vgg'.*clip.*timm"):
        get_family("vgg")


@every_entry
def test_the_guide_names_every_teacher(spec):
    guide = (Path(__file__).parents[2] / "docs" / "teachers.md").read_text()
    family, dash, size = spec.name.partition("-")
    assert f"`{spec.name}`" in guide or (dash and f"`-{size}`" in guide and f"`{family}-" in guide)
