"""The torch codecs against the numpy reference of `stores`."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stores.codecs import CODECS, TABLE_SEED, get_codec
from viral.codecs import TORCH_CODECS, decode, device_tables, encode
from viral.errors import UnknownNameError

NUM_TOKENS, DIM = 24, 48


def _features(seed=0, num_images=40):
    """Heavy-tailed channels around a shared mean, as patch features have."""
    rng = np.random.default_rng(seed)
    mean_D = rng.standard_normal(DIM) * 3
    scale_D = np.exp(rng.standard_normal(DIM))
    return (mean_D + rng.standard_normal((num_images, NUM_TOKENS, DIM)) * scale_D).astype(np.float32)


def _cosine(a, b):
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


@pytest.fixture(params=sorted(CODECS))
def codec(request):
    return get_codec(request.param)


def test_both_sides_know_the_same_codecs():
    assert set(TORCH_CODECS) == set(CODECS)
    with pytest.raises(UnknownNameError, match="Known: fp16, int8"):
        decode("int7", torch.zeros(1), {})


def test_codes_equal_the_reference_but_for_rounding_ties(codec):
    tables, features = codec.make_tables(NUM_TOKENS, DIM, TABLE_SEED), _features()
    expected = codec.encode(features, tables)
    codes = encode(codec.name, torch.from_numpy(features), device_tables(tables, "cpu")).numpy()
    assert codes.dtype == expected.dtype
    differing = codes != expected
    assert differing.mean() < 1e-4
    assert np.abs(codes.astype(np.float32) - expected.astype(np.float32)).max() <= 1


def test_decoded_directions_equal_the_reference(codec):
    tables, features = codec.make_tables(NUM_TOKENS, DIM, TABLE_SEED), _features(1)
    codes = codec.encode(features, tables)
    decoded = decode(codec.name, torch.from_numpy(codes), device_tables(tables, "cpu"))
    assert decoded.dtype == torch.float32
    np.testing.assert_allclose(decoded.numpy(), codec.decode(codes, tables), rtol=1e-4, atol=1e-3)
    assert np.quantile(_cosine(decoded.numpy(), features), 0.001) > codec.cosine_floor


def test_decode_takes_any_leading_axes(codec):
    tables = device_tables(codec.make_tables(NUM_TOKENS, DIM, TABLE_SEED), "cpu")
    codes = encode(codec.name, torch.from_numpy(_features(2, 6)), tables)
    whole = decode(codec.name, codes, tables)
    torch.testing.assert_close(decode(codec.name, codes[0], tables), whole[0])
    torch.testing.assert_close(
        decode(codec.name, codes.reshape(2, 3, NUM_TOKENS, DIM), tables)[1, 2], whole[5]
    )


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float32, (1, 3, 5), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False)),
    st.integers(0, 9),
)
def test_int8_survives_any_finite_features(features, seed):
    codec = get_codec("int8")
    tables = codec.make_tables(3, 5, seed)
    codes = encode("int8", torch.from_numpy(features), device_tables(tables, "cpu")).numpy()
    assert np.abs(codes.astype(int) - codec.encode(features, tables).astype(int)).max() <= 1
    assert not codes[(features == 0).all(-1)].any()
