"""Reading: every record, every refusal, in any process or thread."""

import multiprocessing
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import stores.reader
from stores import CODECS, open_store
from stores.canonical import read_sealed, seal
from stores.errors import (
    DamagedStoreError,
    FormatVersionError,
    MissingStoreError,
    RejectedImageError,
    StoreError,
    UnknownKeyError,
)
from stores.index import KeyIndex
from stores.publish import write_json
from tests.stores.builder import build, features, key, make_plan


@pytest.fixture(params=CODECS)
def store(request, tmp_path):
    build(tmp_path, make_plan(codec=request.param), frozenset({2}))
    return open_store(tmp_path)


@pytest.fixture
def folder(tmp_path):
    build(tmp_path, make_plan(), frozenset({2}))
    return tmp_path


READABLE = [row for row in range(10) if row != 2]


def test_every_record_decodes_to_its_features(store):
    expected = features(map(key, READABLE))
    decoded = store.codec.decode(store.read_many([key(row) for row in READABLE]), store.tables)
    cosines = (
        (decoded * expected).sum(-1) / np.linalg.norm(decoded, axis=-1) / np.linalg.norm(expected, axis=-1)
    )
    assert cosines.mean() > store.codec.cosine_floor


def test_a_store_counts_and_lists_what_can_be_read(store):
    assert len(store) == 9
    assert list(store.keys()) == [key(row) for row in READABLE]
    assert key(1) in store
    assert key(99) not in store
    assert 7 not in store
    assert store.manifest.num_images == 10


def test_read_many_keeps_order_and_repeats(store):
    rows = [9, 0, 5, 0, 4]
    codes = store.read_many([key(row) for row in rows])
    assert codes.shape == (5, 12, store.codec.width(16))
    assert all((codes[place] == store.read(key(row))).all() for place, row in enumerate(rows))
    assert store.read_many([]).shape == (0, 12, store.codec.width(16))


def test_codes_belong_to_the_caller(store):
    codes = store.read(key(0))
    before = codes.copy()
    codes[:] = 0
    assert (store.read(key(0)) == before).all()


def test_a_rejected_image_says_why(store):
    assert key(2) not in store
    assert dict(store.rejects) == {key(2): "truncated"}
    with pytest.raises(
        RejectedImageError, match=f"^Image {key(2)} has no record in .*: truncated$"
    ) as caught:
        store.read(key(2))
    assert isinstance(caught.value, KeyError)


@pytest.mark.parametrize("unknown", [key(99), "", "zz", "0" * 63, key(1)[:16] + "0" * 48])
def test_an_unknown_image_says_so(store, unknown):
    with pytest.raises(UnknownKeyError, match=r"has no image .*its file has changed since"):
        store.read_many([key(0), unknown])


def test_what_is_not_a_store_says_what_to_run(tmp_path):
    (tmp_path / "file").write_text("")
    for path, found in [
        ("typo", "does not exist"),
        (".", "holds no feature store"),
        ("file", "holds no feature"),
    ]:
        with pytest.raises(MissingStoreError, match=f"{found}.*viral cache build") as caught:
            open_store(tmp_path / path)
        assert "\n" not in str(caught.value)


def test_a_newer_format_is_refused(folder):
    manifest = read_sealed(folder / "manifest.json")
    manifest["spec"] |= {"format_version": 2, "unheard": "of"}
    write_json(folder / "manifest.json", seal(manifest))
    with pytest.raises(FormatVersionError, match=r"Store format 2, but this version knows up to 1. Upgrade"):
        open_store(folder)


@pytest.mark.parametrize(
    "name", ["manifest.json", "keys/c.0.0", "rotation/c.0.0", "signs/zarr.json", "rejects.jsonl"]
)
def test_damage_that_would_change_every_record_is_found_on_opening(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 16
    (folder / name).write_bytes(data)
    with pytest.raises(DamagedStoreError, match=rf"{name} is damaged.*cache verify --repair"):
        open_store(folder)
    if name != "manifest.json":
        (folder / name).unlink()
        with pytest.raises(DamagedStoreError, match=f"{name} is missing"):
            open_store(folder)


def test_damage_of_a_record_is_found_on_reading_it(folder):
    path = folder / "codes" / "c.1.0.0"
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    store = open_store(folder)
    store.read(key(4))
    with pytest.raises(DamagedStoreError, match=rf"record {key(5)} \(shard 1, slot 1\) is damaged"):
        store.read(key(5))
    path.write_bytes(data[:300])
    with pytest.raises(DamagedStoreError, match="slot 3"):
        open_store(folder).read(key(7))
    path.unlink()
    with pytest.raises(DamagedStoreError, match="shard 1 is missing"):
        open_store(folder).read(key(4))


def _read_rows(store, rows):
    return store.read_many([key(row) for row in rows])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_after_their_parent_did(folder, method):
    store = open_store(folder)
    expected = _read_rows(store, READABLE)
    with multiprocessing.get_context(method).Pool(2) as pool:
        results = pool.starmap(_read_rows, [(store, READABLE)] * 4)
    assert all((result == expected).all() for result in results)
    assert (_read_rows(store, READABLE) == expected).all()


def _send_rows(store, rows, pipe):
    pipe.send(_read_rows(store, rows))


def test_a_forked_worker_shares_its_parents_open_files_safely(folder):
    store = open_store(folder)
    expected = _read_rows(store, READABLE)
    ours, theirs = multiprocessing.Pipe()
    worker = multiprocessing.get_context("fork").Process(target=_send_rows, args=(store, READABLE, theirs))
    worker.start()
    assert all((_read_rows(store, READABLE) == expected).all() for _ in range(50))
    assert (ours.recv() == expected).all()
    worker.join()
    assert worker.exitcode == 0


def test_a_pickled_store_carries_no_open_file(folder):
    store = open_store(folder)
    store.read(key(0))
    copy = pickle.loads(pickle.dumps(store))
    assert copy._files == {}
    assert (copy.read(key(0)) == store.read(key(0))).all()


def test_threads_share_a_store_with_few_open_files(tmp_path, monkeypatch):
    """Files are dropped and their descriptors reused under the readers; nobody may read from a stranger's."""
    monkeypatch.setattr(stores.reader, "MAX_OPEN_SHARDS", 8)
    build(tmp_path, make_plan(40, shard_size=1))
    store = open_store(tmp_path)
    expected = store.read_many([key(row) for row in range(40)])

    def read(number):
        row = number * 7 % 40
        return (store.read(key(row)) == expected[row]).all()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(read, range(2000)))
    finally:
        sys.setswitchinterval(interval)
    assert len(store._files) < 8 + 4


def test_keys_that_share_a_prefix_are_told_apart():
    keys = np.zeros((50, 32), np.uint8)
    keys[:, 8] = np.arange(50)
    index = KeyIndex(keys)
    assert [index.find(bytes(stored).hex()) for stored in keys] == list(range(50))
    assert index.find("00" * 9 + "01" * 23) is None


def test_store_errors_print_without_quotes():
    assert str(UnknownKeyError("no image")) == "no image"
    assert issubclass(UnknownKeyError, StoreError)
