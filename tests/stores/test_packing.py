"""Packing loses nothing, and lays bits as docs/format.md says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.codecs.packing import pack, unpack


@given(st.sampled_from([2, 3, 4]), st.integers(1, 40), st.integers(0, 2**32))
def test_round_trip_of_any_width(bits, dim, seed):
    codes = np.random.default_rng(seed).integers(0, 2**bits, (2, 3, dim), dtype=np.uint8)
    packed = pack(codes, bits)
    assert packed.dtype == np.uint8
    assert packed.shape == (2, 3, -(-dim * bits // 8))
    np.testing.assert_array_equal(unpack(packed, bits, dim), codes)
    np.testing.assert_array_equal(pack(unpack(packed, bits, dim), bits), packed)


@given(st.sampled_from([2, 3, 4]), st.integers(1, 40), st.integers(0, 2**32))
def test_a_token_is_one_little_endian_integer_of_its_codes(bits, dim, seed):
    codes = np.random.default_rng(seed).integers(0, 2**bits, dim, dtype=np.uint8)
    whole = sum(int(code) << bits * index for index, code in enumerate(codes))
    assert int.from_bytes(pack(codes, bits).tobytes(), "little") == whole


@pytest.mark.parametrize(("bits", "packed"), [(4, [0x21, 0x03]), (3, [0xD1, 0x00]), (2, [0x39])])
def test_one_two_three(bits, packed):
    assert pack(np.array([1, 2, 3], np.uint8), bits).tolist() == packed
