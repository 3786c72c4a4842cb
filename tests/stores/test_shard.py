"""The shard's bytes: read back by us and by zarr-python alone, whole or partial, one flipped bit or none."""

import importlib
import os

import google_crc32c
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import stores.checksum
from stores import CODECS, StoreSpec
from stores.arrays import zarr_metadata
from stores.errors import StoreError
from stores.shard import Record, shard_buffers, shard_bytes, stride, write_buffers
from tests.stores.builder import key


def make_keys(num_records):
    return [key(number) for number in range(num_records)]


def read_record(descriptor, spec, slot, out):
    """Whether the record in `slot` is intact; its codes are then in `out`."""
    record = Record(spec, key(slot), out)
    size = os.preadv(descriptor, record.views, slot * stride(spec))
    return size == stride(spec) and record.is_intact


def make_spec(codec="int8", shard_size=8, store="zarr"):
    return StoreSpec(codec=codec, grid=(2, 3), dim=4, shard_size=shard_size, store=store, fingerprint={})


def make_codes(spec, num_records, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 120, (num_records, *spec.record_shape)).astype(spec.codes_dtype)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_round_trip_for_any_number_of_records(tmp_path_factory, data):
    spec = make_spec(data.draw(st.sampled_from(sorted(CODECS))), data.draw(st.integers(1, 40)))
    num_records = data.draw(st.integers(1, spec.shard_size))
    codes = make_codes(spec, num_records, data.draw(st.integers(0, 99)))
    blank = data.draw(st.sets(st.integers(0, num_records - 1)))
    root = tmp_path_factory.mktemp("shard")
    for name, content in zarr_metadata(spec, num_records, {}).items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    path = root / "codes" / "c.0.0.0"
    write_buffers(path, shard_buffers(spec, make_keys(num_records), codes, blank))
    assert path.stat().st_size == shard_bytes(spec, num_records)

    expected = codes.copy()
    expected[sorted(blank)] = 0
    descriptor = os.open(path, os.O_RDONLY)
    out = np.empty(spec.record_shape, spec.codes_dtype)
    for slot in range(num_records):
        assert read_record(descriptor, spec, slot, out)
        assert (out == expected[slot]).all()
    os.close(descriptor)
    array = zarr.open_array(root / "codes", mode="r")
    assert array.shape == expected.shape
    assert (array[:] == expected).all()


def test_more_buffers_than_one_call_takes(tmp_path):
    spec = make_spec(shard_size=1500)
    codes = make_codes(spec, 1500)
    buffers = shard_buffers(spec, make_keys(1500), codes)
    assert len(buffers) > os.sysconf("SC_IOV_MAX")
    write_buffers(tmp_path / "shard", buffers)
    assert (tmp_path / "shard").read_bytes() == b"".join(buffers)


def test_the_default_shard_is_one_system_call(tmp_path, monkeypatch):
    spec, calls, writev = make_spec(shard_size=512), [], os.writev
    monkeypatch.setattr(os, "writev", lambda fd, views: calls.append(len(views)) or writev(fd, views))
    write_buffers(tmp_path / "shard", shard_buffers(spec, make_keys(512), make_codes(spec, 512)))
    assert calls == [1024]


def test_short_writes_are_continued(tmp_path, monkeypatch):
    spec = make_spec()
    buffers = shard_buffers(spec, make_keys(8), make_codes(spec, 8))
    monkeypatch.setattr(os, "writev", lambda fd, views: os.write(fd, b"".join(views)[:5]))
    write_buffers(tmp_path / "shard", buffers)
    assert (tmp_path / "shard").read_bytes() == b"".join(buffers)


def test_an_existing_file_is_never_written_into(tmp_path):
    (tmp_path / "shard").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        write_buffers(tmp_path / "shard", [b"yours"])
    assert (tmp_path / "shard").read_bytes() == b"mine"


def test_empty_slots_are_marked_missing():
    spec = make_spec()
    index = np.frombuffer(spec.format.trailer(spec, 3)[:-4], "<u8").reshape(8, 2)
    assert index[:3].tolist() == [[slot * stride(spec), stride(spec)] for slot in range(3)]
    assert (index[3:] == 2**64 - 1).all()


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
@pytest.mark.parametrize("codec", CODECS)
def test_a_flipped_bit_anywhere_in_a_record_is_noticed(codec, store, tmp_path):
    spec = make_spec(codec, store=store)
    whole = b"".join(shard_buffers(spec, make_keys(2), make_codes(spec, 2)))
    out = np.empty(spec.record_shape, spec.codes_dtype)
    for bit in range(0, 8 * stride(spec), 3 if store == "zarr" else 53):
        damaged = bytearray(whole)
        damaged[stride(spec) + bit // 8] ^= 1 << bit % 8
        (tmp_path / "shard").write_bytes(damaged)
        descriptor = os.open(tmp_path / "shard", os.O_RDONLY)
        assert read_record(descriptor, spec, 0, out)
        assert not read_record(descriptor, spec, 1, out)
        os.close(descriptor)


def test_a_truncated_record_is_noticed(tmp_path):
    spec = make_spec()
    (tmp_path / "shard").write_bytes(
        b"".join(shard_buffers(spec, make_keys(2), make_codes(spec, 2)))[: stride(spec) + 3]
    )
    with (tmp_path / "shard").open("rb") as file:
        assert not read_record(file.fileno(), spec, 1, np.empty(spec.record_shape, spec.codes_dtype))


def test_the_slow_checksum_is_refused(monkeypatch):
    monkeypatch.setattr(google_crc32c, "implementation", "python")
    with pytest.raises(StoreError, match="'python' implementation, expected 'c'; reinstall"):
        importlib.reload(stores.checksum)
    monkeypatch.undo()
    importlib.reload(stores.checksum)
