"""Each format is what its name says: other people's tools open our shards, and the bytes depend on nothing else."""

import io
import json
import tarfile

import google_crc32c
import numpy as np
import pytest
import tensorstore
import webdataset

from stores import CODECS, StoreSpec, open_store, verify_store
from stores.errors import PlanError
from stores.formats import FORMATS, get_format
from stores.shard import shard_bytes, stride
from tests.stores.builder import build, key, make_plan, snapshot

REJECTED = frozenset({2, 4, 5, 6, 7})
KEPT = [row for row in range(10) if row not in REJECTED]


@pytest.fixture(params=CODECS)
def tars(request, tmp_path):
    """A store with a first shard that holds a reject, and a second one that holds nothing else."""
    build(tmp_path / "store", make_plan(codec=request.param, store="webdataset"), REJECTED)
    return tmp_path / "store"


def test_plain_webdataset_streams_the_records(tars):
    urls = [str(path) for path in sorted((tars / "codes").glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode())
    store = open_store(tars)
    assert [sample["__key__"] for sample in samples] == [key(row) for row in KEPT]
    for sample in samples:
        assert sample["npy"].dtype == store.manifest.spec.codes_dtype
        assert (sample["npy"] == store.read(sample["__key__"])).all()
        assert sample["json"] == {
            "codec": store.manifest.spec.codec,
            "crc32c": google_crc32c.value(sample["npy"].tobytes()),
            "grid": [3, 4],
            "key": sample["__key__"],
        }


def test_plain_tar_and_numpy_read_them_too(tars):
    with tarfile.open(tars / "codes" / "000000.tar") as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == [
            *(f"{key(0)}.{suffix}" for suffix in ("npy", "json")),
            *(f"{key(1)}.{suffix}" for suffix in ("npy", "json")),
            f"__rejected__/{key(2)}",
            *(f"{key(3)}.{suffix}" for suffix in ("npy", "json")),
        ]
        assert {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in members} == {
            (0, 0, 0, "", 0o644)
        }
        codes = np.load(io.BytesIO(archive.extractfile(f"{key(3)}.npy").read()))
        about = json.loads(archive.extractfile(f"{key(3)}.json").read())
    assert (codes == open_store(tars).read(key(3))).all()
    assert about["key"] == key(3)


@pytest.mark.parametrize("store", sorted(FORMATS))
def test_nothing_of_time_or_place_is_in_the_bytes(store, tmp_path):
    for name in ("a", "b/c"):
        build(tmp_path / name, make_plan(store=store), REJECTED)
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b/c")
    assert verify_store(tmp_path / "a").ok


@pytest.mark.parametrize("store", sorted(FORMATS))
@pytest.mark.parametrize("codec", ["fp16", "int8"])
@pytest.mark.parametrize("num_images", [1, 4, 10])
def test_sizes_are_known_before_anything_is_written(store, codec, num_images, tmp_path):
    plan = make_plan(num_images, codec=codec, store=store)
    build(tmp_path, plan)
    for shard_id in range(plan.num_shards):
        path = tmp_path / plan.spec.shard_file(shard_id)
        assert path.stat().st_size == shard_bytes(plan.spec, len(plan.rows(shard_id)))


def test_a_tar_of_any_record_is_made_of_whole_blocks():
    for dim in (1, 3, 64, 768):
        for codec in CODECS:
            spec = StoreSpec(codec=codec, grid=(24, 24), dim=dim, store="webdataset", fingerprint={})
            assert stride(spec) % 512 == 0
            assert spec.format.overhead(spec)[0] == len(spec.format.head(spec, key(0)))
            codes = np.ones(spec.record_shape, spec.codes_dtype)
            assert spec.format.overhead(spec)[1] == len(spec.format.tail(spec, key(0), codes))
            assert len(spec.format.blank(spec, key(0))) == stride(spec)


def test_tensorstore_alone_reads_zarr_and_notices_a_flipped_bit(tmp_path):
    build(tmp_path, make_plan(), frozenset({2}))
    source = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{tmp_path}/codes/"}}
    codes = tensorstore.open(source).result()
    store = open_store(tmp_path)
    assert codes.shape == (10, 12, 16)
    for row in (0, 5, 9):
        assert (np.asarray(codes[row].read().result()) == store.read(key(row))).all()
    assert not np.asarray(codes[2].read().result()).any()
    path = tmp_path / "codes" / "c.1.0.0"
    data = bytearray(path.read_bytes())
    data[200] ^= 4
    path.write_bytes(data)
    damaged = tensorstore.open(source, recheck_cached_data=True).result()
    with pytest.raises(ValueError, match="Digest mismatch"):
        damaged[5].read().result()


def test_an_unknown_format_lists_the_known_ones():
    with pytest.raises(PlanError, match=r"^Unknown store format 'lance'. Known: webdataset, zarr.$"):
        get_format("lance")
