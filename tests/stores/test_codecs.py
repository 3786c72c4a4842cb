"""Codecs keep directions, refuse what they cannot hold, and their tables are what they claim."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.codecs import CODECS, TABLE_SEED, get_codec
from stores.errors import CodecError, StoreError, UnknownCodecError

TOKENS = 6


@cache
def int8_tables(dim):
    return get_codec("int8").make_tables(TOKENS, dim, TABLE_SEED)


def cosines(a_nTD, b_nTD):
    a_nTD, b_nTD = a_nTD.astype(np.float64), b_nTD.astype(np.float64)
    return (a_nTD * b_nTD).sum(-1) / np.linalg.norm(a_nTD, axis=-1) / np.linalg.norm(b_nTD, axis=-1)


@st.composite
def nasty_features(draw):
    """Gaussian to very heavy-tailed, with a large shared mean, massive channels and any overall size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dim = draw(st.sampled_from([64, 192, 384]))
    shape = (draw(st.integers(1, 3)), TOKENS, dim)
    degrees = draw(st.sampled_from([1.5, 3.0, 1e6]))
    features = rng.standard_t(degrees, shape) + draw(st.floats(0, 100)) * rng.standard_normal(dim)
    features[..., rng.integers(0, dim, draw(st.integers(0, 8)))] *= draw(st.floats(1, 50))
    return (features * draw(st.sampled_from([1e-3, 1.0, 1e3]))).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(nasty_features())
def test_int8_keeps_directions_of_any_data(features):
    codec = get_codec("int8")
    tables = int8_tables(features.shape[-1])
    codes = codec.encode(features, tables)
    assert codes.dtype == np.int8
    assert np.abs(codes.astype(int)).max() == 127
    assert cosines(features, codec.decode(codes, tables)).min() >= 0.9995


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_fp16_is_the_cast(seed):
    features = (np.random.default_rng(seed).standard_normal((2, TOKENS, 64)) * 30).astype(np.float32)
    codec = get_codec("fp16")
    decoded = codec.decode(codec.encode(features, {}), {})
    np.testing.assert_allclose(decoded, features, rtol=2**-11, atol=2**-25)
    assert cosines(features, decoded).min() >= codec.cosine_floor


@pytest.mark.parametrize("name", sorted(CODECS))
def test_every_codec_meets_its_floor_on_gaussian_features(name):
    codec = get_codec(name)
    features = np.random.default_rng(0).standard_normal((4, TOKENS, 384)).astype(np.float32)
    tables = codec.make_tables(TOKENS, 384, TABLE_SEED)
    codes = codec.encode(features, tables)
    assert codes.dtype == codec.dtype
    assert codes.shape == features.shape
    assert sorted(tables) == sorted(codec.tables)
    decoded = codec.decode(codes, tables)
    assert decoded.dtype == np.float32
    assert np.quantile(cosines(features, decoded), 0.001) >= codec.cosine_floor


@pytest.mark.parametrize("name", sorted(CODECS))
def test_a_token_of_zeros_stays_zeros(name):
    codec = get_codec(name)
    features = np.random.default_rng(0).standard_normal((1, TOKENS, 64)).astype(np.float32)
    features[0, 2] = 0
    tables = codec.make_tables(TOKENS, 64, TABLE_SEED)
    codes = codec.encode(features, tables)
    assert not codes[0, 2].any()
    assert codes[0, 3].any()
    assert not codec.decode(codes, tables)[0, 2].any()


@pytest.mark.parametrize("name", sorted(CODECS))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused(name, bad):
    codec = get_codec(name)
    features = np.ones((1, TOKENS, 64), np.float32)
    features[0, 1, 5] = bad
    with pytest.raises(CodecError, match="finite"):
        codec.encode(features, codec.make_tables(TOKENS, 64, TABLE_SEED))


def test_fp16_overflow_names_the_way_out():
    with pytest.raises(CodecError, match=r"70000.*65504.*int8"):
        get_codec("fp16").encode(np.full((1, 1, 1), 70000, np.float32), {})


def test_int8_rounds_half_to_even_after_scaling_the_peak_to_127():
    codec = get_codec("int8")
    tables = {"rotation": np.eye(4, dtype=np.float32), "signs": np.ones((1, 4), np.int8)}
    codes = codec.encode(np.array([[[254, 1, 3, -5]]], np.float32), tables)
    assert codes.tolist() == [[[127, 0, 2, -2]]]


def test_tables_are_orthogonal_signs_and_reproducible():
    codec = get_codec("int8")
    tables, again = (codec.make_tables(TOKENS, 96, 7) for _ in range(2))
    rotation, signs = tables["rotation"], tables["signs"]
    assert rotation.dtype == np.float32
    assert signs.dtype == np.int8
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(96), atol=1e-5)
    assert set(np.unique(signs)) == {-1, 1}
    assert all((tables[name] == again[name]).all() for name in tables)
    assert (codec.make_tables(TOKENS, 96, 8)["signs"] != signs).any()


def test_position_signs_take_the_shared_bias_out_of_the_error():
    """With one mean in all tokens, errors must not point the same way in all of them."""
    codec = get_codec("int8")
    rng = np.random.default_rng(0)
    mean = 20 * rng.standard_normal(64)
    features = (mean + 0.01 * rng.standard_normal((1, 256, 64))).astype(np.float32)
    tables = codec.make_tables(256, 64, TABLE_SEED)

    def shared_error(tables):
        decoded = codec.decode(codec.encode(features, tables), tables)[0]
        decoded *= (np.linalg.norm(features[0], axis=-1) / np.linalg.norm(decoded, axis=-1))[:, None]
        error = decoded - features[0]
        return np.square(error.mean(0)).sum() / np.square(error).sum(-1).mean()

    plain = tables | {"signs": np.ones_like(tables["signs"])}
    assert shared_error(tables) < 0.05 < 0.5 < shared_error(plain)


def test_unknown_codec_lists_the_known():
    with pytest.raises(UnknownCodecError, match=r"Unknown codec 'jpeg'. Known: fp16, int8"):
        get_codec("jpeg")
    assert issubclass(UnknownCodecError, StoreError)
