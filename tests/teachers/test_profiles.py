"""What a teacher is fed, and what is kept: the release's pixels, the order of tokens, grids, precision."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.teachers.ports import (
    CLIP,
    CLIP_TIMM,
    DEPTH_ANYTHING,
    DINOV2,
    DINOV2_PORT,
    RADIO,
    RADIO_V2,
    SAM,
    shake,
)
from viral.data.images import CLIP_MEAN, CLIP_STD
from viral.errors import ConfigError
from viral.teachers.load import load_teacher
from viral.teachers.profiles import Profile, get_profile
from viral.teachers.teacher import resample_tokens

TEACHERS = (DINOV2, DINOV2_PORT, CLIP, CLIP_TIMM, SAM, DEPTH_ANYTHING, RADIO, RADIO_V2)
every_teacher = pytest.mark.parametrize("spec", TEACHERS, ids=lambda spec: spec.name)


def random_squares(side, count=1):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def pixels_seen(teacher, squares):
    """What reaches the first layer of the backbone."""
    seen = []
    stem = teacher.backbone.patch_embed.proj
    hook = stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    teacher(squares)
    hook.remove()
    return seen[0].float().numpy()[0]


def enlarged(picture_CSS, size):
    """Bilinear by the textbook: pixel centres, edges repeated, no antialias.."""
    old = picture_CSS.shape[-1]
    position = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
    low = np.floor(position).astype(int)
    high, share = np.minimum(low + 1, old - 1), position - low
    rows = picture_CSS[:, low] * (1 - share)[:, None] + picture_CSS[:, high] * share[:, None]
    return rows[..., low] * (1 - share) + rows[..., high] * share


def clip_pixels(squares):
    """CLIP's pixels as the student's loader hands them over, in bfloat16."""
    exact = (squares[0].numpy().transpose(2, 0, 1) / 255 - np.reshape(CLIP_MEAN, (3, 1, 1))) / np.reshape(
        CLIP_STD, (3, 1, 1)
    )
    return torch.from_numpy(exact).bfloat16().double().numpy()


STEP = 2**-7
"""Of bfloat16 between 1 and 2: values reach about 2.7, a few operations follow each other."""


def test_release_enlarges_clip_pixels_and_centres_them_on_sams_canvas():
    teacher = load_teacher(SAM, "random", "release")
    assert (teacher.square_size, teacher.dtype) == (56, torch.bfloat16)
    squares = random_squares(56)
    seen = pixels_seen(teacher, squares)
    expected = np.zeros((3, 128, 128))
    expected[:, 32:96, 32:96] = enlarged(clip_pixels(squares), 64)
    np.testing.assert_allclose(seen, expected, rtol=0, atol=2 * STEP)
    assert not seen[:, :32].any()


def test_release_undoes_clips_statistics_for_radio_which_does_them_again():
    teacher = load_teacher(RADIO, "random", "release")
    squares = random_squares(56)
    mean, std = (np.reshape(values, (3, 1, 1)) for values in (CLIP_MEAN, CLIP_STD))
    zero_to_one = np.clip(enlarged(clip_pixels(squares), 64) * std + mean, 0, 1)
    np.testing.assert_allclose(
        pixels_seen(teacher, squares), (zero_to_one - mean) / std, rtol=0, atol=4 * STEP
    )


def test_radio_is_fed_clip_statistics_of_its_own_size_otherwise():
    seen = pixels_seen(load_teacher(RADIO, "random"), random_squares(64))
    exact = (random_squares(64)[0].numpy().transpose(2, 0, 1) / 255 - np.reshape(CLIP_MEAN, (3, 1, 1))) / (
        np.reshape(CLIP_STD, (3, 1, 1))
    )
    np.testing.assert_allclose(seen, exact, rtol=0, atol=1e-5)


def test_sams_own_statistics_are_those_of_values_from_0_to_255():
    seen = pixels_seen(load_teacher(SAM, "random", "native"), random_squares(64))
    values = random_squares(64)[0].numpy().transpose(2, 0, 1).astype(float)
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    expected = np.zeros((3, 128, 128))
    expected[:, :64, :64] = (values - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-5)


def test_release_scrambles_what_is_linear_there_and_spares_clip():
    radio = load_teacher(RADIO, "random", "release")
    stem = radio.backbone.patch_embed.proj
    assert not stem.bias.any()
    assert stem.weight.float().std() == pytest.approx(0.02, rel=0.1)
    sam, kept = load_teacher(SAM, "random", "release"), load_teacher(SAM, "random", dtype="bfloat16")
    assert torch.equal(sam.backbone.patch_embed.proj.weight, kept.backbone.patch_embed.proj.weight)
    assert torch.equal(sam.backbone.neck[0].weight, kept.backbone.neck[0].weight)
    assert not torch.equal(sam.backbone.blocks[0].attn.qkv.weight, kept.backbone.blocks[0].attn.qkv.weight)
    clip = load_teacher(CLIP, "random", "release").fingerprint()
    assert (
        clip["weights_sha256"]
        == load_teacher(CLIP, "random", dtype="bfloat16").fingerprint()["weights_sha256"]
    )
    assert clip["scramble_seed"] is None


@every_teacher
def test_a_patch_that_moves_moves_its_token(spec):
    """The token that notices a spot most is the one where the spot is: row by row, one step for one patch."""
    teacher = load_teacher(spec, "random")
    shake(teacher.backbone, scale=0.05)
    if spec is SAM:  # a random 3 x 3 convolution may peak one token off: let it pass its middle
        torch.nn.init.dirac_(teacher.backbone.neck[2].weight)
    side, patch = spec.grid[0], spec.patch_size
    spots = [(1, 1), (1, 2), (2, 1), (3, 0)]
    pictures = np.full((len(spots) + 1, spec.image_size, spec.image_size, 3), 110, dtype=np.uint8)
    for picture, (row, column) in zip(pictures, spots, strict=False):
        noise = np.random.default_rng(2).integers(0, 256, (patch, patch, 3))
        picture[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] = noise
    tokens = teacher(torch.from_numpy(pictures))
    change = (tokens[:-1] - tokens[-1]).norm(dim=-1)
    assert change.argmax(dim=1).tolist() == [row * side + column for row, column in spots]


@every_teacher
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_points_the_same_way(spec, dtype):
    squares = random_squares(spec.image_size)
    exact, half = load_teacher(spec, "random"), load_teacher(spec, "random", dtype=dtype)
    cosine = torch.nn.functional.cosine_similarity(exact(squares), half(squares), dim=-1)
    assert half(squares).dtype == torch.float32
    assert cosine.min() > 0.999
    assert half.fingerprint()["dtype"] == dtype


@pytest.mark.parametrize("side", [3, 6, 8])
def test_any_grid_can_be_asked_for(side):
    own, other = load_teacher(DINOV2, "random"), load_teacher(DINOV2, "random", grid=side)
    tokens = other(random_squares(84, 2))
    assert tokens.shape == (2, side * side, 48)
    assert other.grid == (side, side)
    if side == 6:
        assert torch.equal(tokens, own(random_squares(84, 2)))
        assert other.fingerprint() == own.fingerprint()
    else:
        assert other.fingerprint() == {**own.fingerprint(), "grid": [side, side]}


def test_resampling_keeps_order_means_and_ramps():
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
    ramp = torch.stack([rows, columns, torch.ones(6, 6)], dim=-1).flatten(0, 1)[None]
    half = resample_tokens(ramp, (6, 6), (3, 3)).unflatten(1, (3, 3))[0]
    torch.testing.assert_close(half[1, 1], torch.tensor([2.5, 2.5, 1]))
    assert (half[1:, :, 0] > half[:-1, :, 0]).all()
    assert (half[:, 1:, 1] > half[:, :-1, 1]).all()
    double = resample_tokens(ramp, (6, 6), (12, 12)).unflatten(1, (12, 12))[0]
    torch.testing.assert_close(double[3, 4], torch.tensor([1.25, 1.75, 1]))


def test_a_grid_without_tokens_is_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        load_teacher(DINOV2, "random", grid=0)


def test_every_knob_is_in_the_fingerprint_of_those_it_changes():
    knobs = {"placement": ("corner", SAM), "resize": ("tensor", SAM), "pos_embed": ("dinov2", DINOV2)}
    for knob, (value, spec) in knobs.items():
        plain = load_teacher(spec, "random", Profile(name="paper")).fingerprint()
        changed = load_teacher(spec, "random", replace(Profile(name="paper"), **{knob: value})).fingerprint()
        assert changed[knob] == value
        assert plain[knob] != value
    assert not {"placement", "resize"} & load_teacher(DINOV2, "random").fingerprint().keys()


def test_profiles_hold_the_option_matrix():
    knobs = ("normalisation", "resize", "pos_embed", "placement", "scramble_seed", "dtype")
    found = {
        name: tuple(getattr(get_profile(name), knob) for knob in knobs)
        for name in ("paper", "release", "native")
    }
    assert found == {
        "paper": ("own", "picture", "timm", "centre", None, "auto"),
        "release": ("clip", "tensor", "timm", "centre", 0, "bfloat16"),
        "native": ("own", "picture", "dinov2", "corner", None, "auto"),
    }
