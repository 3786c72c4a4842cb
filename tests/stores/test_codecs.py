"""Codecs keep directions of any data, refuse what they cannot hold, and their tables are what they claim."""

import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.codecs import CODECS, TABLE_SEED, get_codec
from stores.codecs.rotated import LLOYD_MAX
from stores.errors import CodecError, StoreError, UnknownCodecError

TOKENS = 6
EXACT, ROTATED = ("fp16", "bf16"), ("int8", "lm4", "lm3", "lm2")


@cache
def tables_of(name, dim):
    return get_codec(name).make_tables(TOKENS, dim, TABLE_SEED)


def round_trip(name, features):
    codec, tables = get_codec(name), tables_of(name, features.shape[-1])
    codes = codec.encode(features, tables)
    assert codes.dtype == codec.dtype
    assert codes.shape == (*features.shape[:-1], codec.width(features.shape[-1]))
    decoded = codec.decode(codes, tables)
    assert decoded.dtype == np.float32
    assert decoded.shape == features.shape
    return decoded


def cosines(a_nTD, b_nTD):
    a_nTD, b_nTD = a_nTD.astype(np.float64), b_nTD.astype(np.float64)
    return (a_nTD * b_nTD).sum(-1) / np.linalg.norm(a_nTD, axis=-1) / np.linalg.norm(b_nTD, axis=-1)


KINDS = {
    "gaussian": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails": lambda rng, shape: rng.standard_t(1.5, shape),
    "constant": lambda rng, shape: np.full(shape, rng.choice([-1, 1])),
    "sparse": lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) < 2 / shape[-1]),
    "one outlier": lambda rng, shape: np.where(np.arange(shape[-1]) == 3, 1e4, rng.standard_normal(shape)),
    "common mean": lambda rng, shape: 100 * rng.standard_normal(shape[-1]) + rng.standard_normal(shape),
    "massive channels": lambda rng, shape: rng.standard_normal(shape) * np.where(np.arange(shape[-1]) < 8, 50, 1),
    "one sign": lambda rng, shape: np.abs(rng.standard_normal(shape)),
}  # fmt: skip


@st.composite
def any_features(draw):
    """Tokens of one kind, odd numbers of channels among them; each token's largest magnitude is the drawn size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (draw(st.integers(1, 3)), TOKENS, draw(st.sampled_from([192, 385, 768])))
    features = KINDS[draw(st.sampled_from(sorted(KINDS)))](rng, shape)
    features[..., 0] += ~features.any(-1)  # a sparse token may have come out empty
    size = draw(st.sampled_from([1e-2, 1.0, 3e4]))
    return (features / np.abs(features).max(-1, keepdims=True) * size).astype(np.float32)


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=200, deadline=None)
@given(features=any_features())
def test_directions_of_any_data_survive(name, features):
    """The floor is promised for a 0.1-percentile; at this many channels even the worst of thousands is above."""
    assert cosines(features, round_trip(name, features)).min() >= get_codec(name).cosine_floor


@pytest.mark.parametrize(
    ("name", "mean"), [("int8", 0.99997), ("lm4", 0.9952), ("lm3", 0.9825), ("lm2", 0.9394)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_rotated_codecs_lose_the_same_whatever_the_data(name, mean, kind):
    features = KINDS[kind](np.random.default_rng(1), (8, TOKENS, 768)).astype(np.float32)
    features[..., 0] += ~features.any(-1)
    assert cosines(features, round_trip(name, features)).mean() == pytest.approx(mean, abs=(1 - mean) / 3)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("dim", [32, 33, 128])
def test_the_floor_holds_from_32_channels_on(name, dim):
    features = np.random.default_rng(dim).standard_normal((1000, TOKENS, dim)).astype(np.float32)
    assert np.quantile(cosines(features, round_trip(name, features)), 0.001) >= get_codec(name).cosine_floor


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1))
def test_int8_has_a_bound_even_against_data_made_from_its_rotation(seed, small):
    """An error of at most 1/254 of the peak per channel turns a token by at most asin(sqrt(D) / 254)."""
    rng, dim = np.random.default_rng(seed), 64
    rotated = rng.uniform(-1, 1, (1, TOKENS, dim)) * small
    rotated[..., 0] = 1
    tables = tables_of("int8", dim)
    features = ((rotated @ tables["rotation"].T) * tables["signs"]).astype(np.float32)
    assert cosines(features, round_trip("int8", features)).min() >= math.sqrt(1 - dim / 254**2) - 1e-6


def test_lloyd_max_codecs_have_no_such_bound():
    """The one direction that becomes a single channel is held badly: docs/codecs.md says so."""
    tables = tables_of("lm4", 768)
    features = tables["rotation"].T[:1] * tables["signs"]
    assert cosines(features[None], round_trip("lm4", features[None])).max() < 0.7


@pytest.mark.parametrize(("name", "bits"), [("fp16", 11), ("bf16", 8)])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.sampled_from([1e-2, 1.0, 1e3]))
def test_exact_codecs_round_each_value_to_their_bits(name, bits, seed, size):
    features = (np.random.default_rng(seed).standard_normal((2, TOKENS, 64)) * size).astype(np.float32)
    np.testing.assert_allclose(round_trip(name, features), features, rtol=2.0**-bits, atol=2**-25)
    again = round_trip(name, round_trip(name, features))
    np.testing.assert_array_equal(again, round_trip(name, features), err_msg="what fits is kept bit by bit")


def test_bf16_rounds_ties_to_even_and_keeps_the_range_of_float32():
    values = np.array([[[1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 1e-38, 3e38, 0, -0.0]]], np.float32)
    decoded = get_codec("bf16").decode(get_codec("bf16").encode(values, {}), {})
    assert decoded[0, 0, :3].tolist() == [1, 1 + 2**-6, -1]
    np.testing.assert_allclose(decoded, values, rtol=2.0**-8)
    with pytest.raises(CodecError, match=r"finite values up to 3\.39e38"):
        get_codec("bf16").encode(np.full((1, 1, 1), 3.4e38, np.float32), {})


@pytest.mark.parametrize("name", CODECS)
def test_tokens_of_zeros_and_no_others_have_codes_of_zeros(name):
    features = np.random.default_rng(0).standard_normal((1, TOKENS, 63)).astype(np.float32)
    features[0, 2] = 0
    codec, tables = get_codec(name), tables_of(name, 63)
    codes = codec.encode(features, tables)
    assert codes.any(-1)[0].tolist() == [True, True, False, True, True, True]
    assert not codec.decode(codes, tables)[0, 2].any()


@pytest.mark.parametrize("name", ["lm4", "lm3", "lm2"])
@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(-1, 1, width=16), min_size=5, max_size=5), flat=st.booleans())
def test_no_token_but_zeros_packs_to_zeros(name, values, flat):
    """All channels alike is the worst case: each then lies at exactly one root mean square."""
    tables = {"rotation": np.eye(5, dtype=np.float32), "signs": np.ones((1, 5), np.int8)}
    tables["codebook"] = tables_of(name, 64)["codebook"]
    token = np.full((1, 1, 5), values[0], np.float32) if flat else np.array([[values]], np.float32)
    assert get_codec(name).encode(token, tables).any() == token.any()


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused(name, bad):
    features = np.ones((1, TOKENS, 64), np.float32)
    features[0, 1, 5] = bad
    with pytest.raises(CodecError, match="finite"):
        get_codec(name).encode(features, tables_of(name, 64))


def test_fp16_overflow_names_the_way_out():
    with pytest.raises(CodecError, match=r"70000.*65504.*bf16 or int8"):
        get_codec("fp16").encode(np.full((1, 1, 1), 70000, np.float32), {})


@pytest.mark.parametrize(
    ("name", "token", "codes"),
    [
        # Peak to 127, half to even.
        ("int8", [254, 1, 3, -5], [127, 0, 2, 0xFE]),
        # Root mean square 1: codes 3 (0.94), 0xC (-0.94), 3, 0xC; the first of two in the low half of a byte.
        ("lm4", [1, -1, 1, -1], [0xC3, 0xC3]),
        # 1.41, 0, -1.41, 0 are 2 (1.34), 0, 5 (-1.34), 0: 2 + (5 << 6) = 0x142, in 12 bits.
        ("lm3", [1, 0, -1, 0], [0x42, 0x01]),
        # 1.41, 0, -1.41, 0 are 1 (1.51), 0, 2 (-1.51), 0: 1 + (2 << 4).
        ("lm2", [1, 0, -1, 0], [0x21]),
    ],
)
def test_codes_are_those_worked_out_by_hand(name, token, codes):
    tables = tables_of(name, 4) | {
        "rotation": np.eye(4, dtype=np.float32),
        "signs": np.ones((1, 4), np.int8),
    }
    assert get_codec(name).encode(np.array([[token]], np.float32), tables).tobytes() == bytes(codes)


@pytest.mark.parametrize("bits", LLOYD_MAX)
def test_levels_are_the_centres_of_mass_of_their_cells(bits):
    """Lloyd's and Max's condition: borders half-way, each level the mean of a Gaussian between its borders."""
    levels = LLOYD_MAX[bits]
    borders = [0, *((a + b) / 2 for a, b in pairwise(levels)), math.inf]
    density, below = (
        lambda x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
        lambda x: math.erf(x / 2**0.5) / 2,
    )
    for level, low, high in zip(levels, borders[:-1], borders[1:], strict=True):
        centre = (density(low) - density(high)) / (below(high) - below(low))
        assert level == pytest.approx(centre, abs=1e-6)


@pytest.mark.parametrize("name", ROTATED)
def test_tables_are_orthogonal_signs_and_reproducible(name):
    codec = get_codec(name)
    tables, again = (codec.make_tables(TOKENS, 96, 7) for _ in range(2))
    rotation, signs = tables["rotation"], tables["signs"]
    assert sorted(tables) == sorted(codec.tables)
    assert codec.table_bytes(TOKENS, 96) == sum(table.nbytes for table in tables.values())
    assert rotation.dtype == np.float32
    assert signs.dtype == np.int8
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(96), atol=1e-5)
    assert set(np.unique(signs)) == {-1, 1}
    assert all((tables[name] == again[name]).all() for name in tables)
    assert (codec.make_tables(TOKENS, 96, 8)["signs"] != signs).any()


@pytest.mark.parametrize("name", EXACT)
def test_exact_codecs_need_no_tables(name):
    assert get_codec(name).tables == ()
    assert get_codec(name).make_tables(TOKENS, 8, 0) == {}
    assert get_codec(name).table_bytes(TOKENS, 8) == 0


@pytest.mark.parametrize("name", ROTATED)
def test_position_signs_take_the_shared_bias_out_of_the_error(name):
    """With one mean in all tokens, errors must not point the same way in all of them."""
    codec = get_codec(name)
    rng = np.random.default_rng(0)
    mean = 20 * rng.standard_normal(64)
    features = (mean + 0.01 * rng.standard_normal((1, 256, 64))).astype(np.float32)
    tables = codec.make_tables(256, 64, TABLE_SEED)

    def shared_error(tables):
        decoded = codec.decode(codec.encode(features, tables), tables)[0]
        norms = (np.linalg.norm(features[0], axis=-1), np.linalg.norm(decoded, axis=-1))
        decoded *= (norms[0] / norms[1] * cosines(features[0], decoded))[:, None]
        error = decoded - features[0] * np.square(cosines(features[0], decoded))[:, None]
        return np.square(error.mean(0)).sum() / np.square(error).sum(-1).mean()

    plain = tables | {"signs": np.ones_like(tables["signs"])}
    assert shared_error(tables) < 0.05 < 0.5 < shared_error(plain)


def test_unknown_codec_lists_the_known():
    with pytest.raises(
        UnknownCodecError, match=r"Unknown codec 'jpeg'. Known: bf16, fp16, int8, lm2, lm3, lm4"
    ):
        get_codec("jpeg")
    assert issubclass(UnknownCodecError, StoreError)
