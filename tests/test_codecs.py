"""The torch codecs against the numpy reference of `stores`."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stores.codecs import CODECS, TABLE_SEED, get_codec
from stores.codecs.packing import unpack
from tests.tiny import SIZE, llava
from viral.codecs import TORCH_CODECS, decode, device_tables, encode
from viral.errors import UnknownNameError

NUM_TOKENS = 24


def _features(seed=0, num_images=40, dim=48):
    """Heavy-tailed channels around a shared mean, as patch features have."""
    rng = np.random.default_rng(seed)
    mean_D = rng.standard_normal(dim) * 3
    scale_D = np.exp(rng.standard_normal(dim))
    return (mean_D + rng.standard_normal((num_images, NUM_TOKENS, dim)) * scale_D).astype(np.float32)


def _cosine(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def _ranks(codec, codes, dim):
    """Codes as integers whose neighbours are neighbouring levels."""
    if codec.name in ("fp16", "bf16", "int8"):
        return codes.view({"int8": np.int8}.get(codec.name, np.int16)).astype(int)
    return unpack(codes, codec.bits, dim).astype(int) ^ 1 << codec.bits - 1


@pytest.fixture(params=sorted(CODECS))
def codec(request):
    return get_codec(request.param)


def test_both_sides_know_the_same_codecs():
    assert set(TORCH_CODECS) == set(CODECS)
    with pytest.raises(UnknownNameError, match="Known: bf16, fp16, int8, lm2, lm3, lm4"):
        decode("int7", torch.zeros(1), {})


@pytest.mark.parametrize("dim", [48, 51])
def test_codes_equal_the_reference_but_for_rounding_ties(codec, dim):
    tables, features = codec.make_tables(NUM_TOKENS, dim, TABLE_SEED), _features(dim=dim)
    expected = codec.encode(features, tables)
    codes = encode(codec.name, torch.from_numpy(features), device_tables(tables, "cpu")).numpy()
    assert codes.dtype == expected.dtype
    assert codes.shape == expected.shape
    steps = np.abs(_ranks(codec, codes, dim) - _ranks(codec, expected, dim))
    assert steps.max() <= 1, "a tie falls to the one side or to the other"
    assert (steps > 0).mean() < (1e-4 if codec.tables else 1e-9)
    cosine, reference = (_cosine(features, codec.decode(found, tables)) for found in (codes, expected))
    assert np.abs(cosine - reference).max() < 1e-4
    assert cosine.mean() == pytest.approx(reference.mean(), abs=1e-7)


def test_codes_are_the_same_each_time_on_one_device(codec):
    tables = device_tables(codec.make_tables(NUM_TOKENS, 51, TABLE_SEED), "cpu")
    features = torch.from_numpy(_features(3, dim=51))
    first, again = (encode(codec.name, features.clone(), tables) for _ in range(2))
    assert torch.equal(first.view(torch.uint8), again.view(torch.uint8))


@pytest.mark.gpu
def test_codes_on_a_gpu_differ_at_rounding_ties_only(codec):
    tables, features = codec.make_tables(NUM_TOKENS, 384, TABLE_SEED), _features(4, dim=384)
    codes = [
        encode(codec.name, torch.from_numpy(features).cuda(), device_tables(tables, "cuda")) for _ in range(2)
    ]
    assert torch.equal(codes[0].view(torch.uint8), codes[1].view(torch.uint8))
    expected = codec.encode(features, tables)
    steps = np.abs(_ranks(codec, codes[0].cpu().numpy(), 384) - _ranks(codec, expected, 384))
    assert steps.max() <= 1
    assert (steps > 0).mean() < 1e-4
    decoded = decode(codec.name, codes[0], device_tables(tables, "cuda")).cpu().numpy()
    reference = _cosine(features, codec.decode(expected, tables)).mean()
    assert _cosine(features, decoded).mean() == pytest.approx(reference, abs=1e-6)


@pytest.mark.parametrize("dim", [48, 51])
def test_decoded_directions_equal_the_reference(codec, dim):
    tables, features = codec.make_tables(NUM_TOKENS, dim, TABLE_SEED), _features(1, dim=dim)
    codes = codec.encode(features, tables)
    decoded = decode(codec.name, torch.from_numpy(codes), device_tables(tables, "cpu"))
    assert decoded.dtype == torch.float32
    np.testing.assert_allclose(decoded.numpy(), codec.decode(codes, tables), rtol=1e-4, atol=1e-3)
    assert np.quantile(_cosine(decoded.numpy(), features), 0.001) > codec.cosine_floor


def test_decode_takes_any_leading_axes(codec):
    tables = device_tables(codec.make_tables(NUM_TOKENS, 51, TABLE_SEED), "cpu")
    codes = encode(codec.name, torch.from_numpy(_features(2, 6, dim=51)), tables)
    whole = decode(codec.name, codes, tables)
    torch.testing.assert_close(decode(codec.name, codes[0], tables), whole[0])
    torch.testing.assert_close(
        decode(codec.name, codes.reshape(2, 3, *codes.shape[1:]), tables)[1, 2], whole[5]
    )


@pytest.mark.parametrize("name", sorted(CODECS))
@settings(max_examples=50, deadline=None)
@given(
    features=arrays(np.float32, (1, 3, 5), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False)),
    seed=st.integers(0, 9),
)
def test_any_finite_features_give_the_codes_of_the_reference(name, features, seed):
    codec = get_codec(name)
    tables = codec.make_tables(3, 5, seed)
    codes = encode(name, torch.from_numpy(features), device_tables(tables, "cpu")).numpy()
    expected = codec.encode(features, tables)
    assert np.abs(_ranks(codec, codes, 5) - _ranks(codec, expected, 5)).max() <= 1
    zeros = (features == 0).all(-1)
    assert not codes.view(np.uint8)[zeros].any() or name in ("fp16", "bf16"), "those keep the sign of a zero"
    assert not decode(name, torch.from_numpy(codes), device_tables(tables, "cpu"))[
        torch.from_numpy(zeros)
    ].any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 3e38])
def test_what_cannot_be_encoded_shows_in_the_cosine(codec, bad):
    """The device raises nothing; the build looks at the cosines it reports, and has to see it there."""
    tables = device_tables(codec.make_tables(NUM_TOKENS, 48, TABLE_SEED), "cpu")
    features = torch.from_numpy(_features(5, 1))
    features[0, 7] *= bad
    decoded = decode(codec.name, encode(codec.name, features, tables), tables)
    cosine = F.cosine_similarity(features, decoded, dim=-1)[0]
    assert not cosine[7] >= codec.cosine_floor
    others = torch.arange(NUM_TOKENS) != 7
    assert (cosine[others] > 0.85).all()


def test_bf16_keeps_the_features_of_a_bfloat16_tower_bit_by_bit():
    """So a frozen tower's output can be cached without any loss, norms included."""
    tower = llava().model.vision_tower.bfloat16()
    pixels = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.inference_mode():
        hidden = tower(pixels, output_hidden_states=True).hidden_states[-2]
    codes = encode("bf16", hidden.float(), {})
    np.testing.assert_array_equal(codes.numpy(), get_codec("bf16").encode(hidden.float().numpy(), {}))
    assert torch.equal(decode("bf16", codes, {}).bfloat16(), hidden)
