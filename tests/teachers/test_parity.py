"""Two libraries, the same random weights: the same features through the whole path, from squares to tokens."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPVisionModel, RadioConfig, RadioModel

from tests.teachers.ports import (
    CLIP,
    CLIP_TIMM,
    DEPTH,
    DEPTH_ANYTHING,
    DINOV2,
    DINOV2_PORT,
    RADIO,
    RADIO_V2,
    SAM,
    SAM_PORT,
    SIZE,
    as_dinov2_port,
    as_nvidia,
    as_sam_port,
    as_timm_clip,
    shake,
)
from viral.data.images import PixelSpec, normalise
from viral.teachers.families import get_family
from viral.teachers.load import load_teacher

TOLERANCE = 1e-4
"""Relative to the features' deviation. 5 % more in one block's queries alone changes each of them by more."""


def squares(side, count=2):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def weights_of(spec):
    return shake(get_family(spec.family).create(spec), scale=0.3).state_dict()


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE * float(expected.std()))


def loaded(spec, state, path, **options):
    save_file({name: value.contiguous().clone() for name, value in state.items()}, path)
    return load_teacher(spec, str(path), **options)


@pytest.mark.parametrize(
    ("ours", "other", "rename"),
    [(DINOV2, DINOV2_PORT, as_dinov2_port), (CLIP, CLIP_TIMM, as_timm_clip)],
    ids=["dinov2", "clip"],
)
def test_timm_and_transformers_give_the_same_features(ours, other, rename, tmp_path):
    state = weights_of(ours)
    first = loaded(ours, state, tmp_path / "ours.safetensors")
    second = loaded(other, rename(state), tmp_path / "other.safetensors")
    pictures = squares(ours.image_size)
    features = first(pictures)
    assert features.shape == (2, 36, 48)
    assert features.std() > 0.1
    assert_same(second(pictures), features)


def on_canvas(pictures, start, side=128):
    """The squares on a canvas that is zero once it is normalised; real pixels cannot be, hence by hand."""
    pixels = normalise(pictures, PixelSpec(size=side, mean=SAM.mean, std=SAM.std))
    canvas = torch.zeros(len(pictures), 3, side, side)
    canvas[..., start : start + 64, start : start + 64] = pixels
    return canvas


@pytest.mark.parametrize(("profile", "first"), [("paper", 2), ("native", 0)])
def test_sam_of_timm_and_transformers_agree_on_the_cut_of_the_canvas(profile, first, tmp_path):
    state = weights_of(SAM)
    ours = loaded(SAM, state, tmp_path / "ours.safetensors", profile=profile)
    port = loaded(SAM_PORT, as_sam_port(state), tmp_path / "port.safetensors")
    pictures = squares(64)
    with torch.no_grad():
        whole = port.family.tokens(port.backbone, on_canvas(pictures, 16 * first), SAM_PORT, port.profile)
    cut = whole.unflatten(1, (8, 8))[:, first : first + 4, first : first + 4]
    features = ours(pictures)
    assert features.shape == (2, 16, 32)
    assert_same(features, cut.flatten(1, 2))


def test_the_placement_of_sam_matters_and_is_in_its_fingerprint(tmp_path):
    state = weights_of(SAM)
    centre, corner = (
        loaded(SAM, state, tmp_path / f"{profile}.safetensors", profile=profile)
        for profile in ("paper", "native")
    )
    assert not torch.allclose(centre(squares(64)), corner(squares(64)), atol=0.05)
    assert (centre.fingerprint()["placement"], corner.fingerprint()["placement"]) == ("centre", "corner")


def test_sam_reads_the_authors_checkpoint(tmp_path):
    state = weights_of(SAM)
    original = {f"image_encoder.{name.replace('mlp.fc', 'mlp.lin')}": value for name, value in state.items()}
    torch.save({**original, "mask_decoder.iou_token.weight": torch.zeros(1)}, tmp_path / "sam.pth")
    expected = loaded(SAM, state, tmp_path / "timm.safetensors")
    assert load_teacher(SAM, str(tmp_path / "sam.pth")).fingerprint() == expected.fingerprint()


def test_clip_features_are_those_of_the_student_tower(tmp_path):
    """Also from a folder of the whole model, whose text half is left out."""
    state = weights_of(CLIP)
    whole = {f"vision_model.{name}": value for name, value in state.items()}
    whole |= {"text_model.final_layer_norm.bias": torch.zeros(2), "logit_scale": torch.zeros(1)}
    whole |= {"vision_model.embeddings.position_ids": torch.arange(37)[None]}
    save_file(whole, tmp_path / "model.safetensors")
    teacher = load_teacher(CLIP, str(tmp_path))
    tower = CLIPVisionModel(CLIPVisionModel.config_class(**CLIP.kwargs)).eval()
    tower.load_state_dict(state)
    pixels = normalise(squares(84), PixelSpec(size=84, mean=CLIP.mean, std=CLIP.std))
    with torch.no_grad():
        expected = tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    assert torch.equal(teacher(squares(84)), expected)
    assert len(teacher.backbone.encoder.layers) == DEPTH - 1


def test_depth_anything_is_the_dinov2_inside(tmp_path):
    state = weights_of(DINOV2)
    encoder = {**state, "mask_token": torch.zeros(1, 48)}
    original = {f"pretrained.{name}": value for name, value in encoder.items()}
    torch.save({**original, "depth_head.scratch.weight": torch.zeros(2)}, tmp_path / "depth.pth")
    teacher = load_teacher(DEPTH_ANYTHING, str(tmp_path / "depth.pth"))
    save_file(state, tmp_path / "dinov2.safetensors")
    same = load_teacher(
        replace(DEPTH_ANYTHING, family="timm"), str(tmp_path / "dinov2.safetensors"), "native"
    )
    assert torch.equal(teacher(squares(56)), same(squares(56)))
    assert teacher.fingerprint()["pos_embed"] == "dinov2"


@pytest.mark.parametrize("spec", [RADIO, RADIO_V2], ids=["v3", "v2.5"])
def test_radio_equals_transformers_on_a_checkpoint_with_nvidias_names(spec, tmp_path):
    state = as_nvidia(weights_of(spec), side=4)  # its own grid: see the next test for another
    teacher = loaded(spec, state, tmp_path / "model.safetensors")
    config = RadioConfig(**SIZE, max_img_size=64, num_cls_tokens=4, num_registers=4, summary_idxs=[0, 1, 2])
    config.save_pretrained(tmp_path)
    port = RadioModel.from_pretrained(tmp_path).eval()
    assert any("grandma" in name for name in state) == (spec is RADIO)
    for name, value in state.items():  # transformers' classes know no layer scale of NVIDIA's name
        if "grandma" in name:
            _, _, _, block, scale, _ = name.split(".")
            getattr(port.encoder.layer[int(block)], f"layer_scale{scale[-1]}").lambda1.data.copy_(value)
    pictures = squares(64)
    with torch.no_grad():
        expected = port(pictures.movedim(-1, 1) / 255).features
    features = teacher(pictures)
    assert features.shape == (2, 16, 48)
    assert_same(features, expected)


def test_radio_resamples_position_embeddings_from_corner_to_corner(tmp_path):
    state = as_nvidia(weights_of(RADIO), side=7)
    teacher = loaded(RADIO, state, tmp_path / "model.safetensors")
    old = state["radio_model.model.patch_generator.pos_embed"].reshape(7, 7, 48)
    new = teacher.backbone.pos_embed.reshape(4, 4, 48)
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        torch.testing.assert_close(new[corner], old[corner])
    torch.testing.assert_close(new[0, 1], old[0, 2])  # 1/3 of the way is 2 of 6 steps
    torch.testing.assert_close(new[1, 2], old[2, 4])
