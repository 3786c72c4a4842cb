"""Appending: new images become a part; what was there is not touched, and is read as before, at any moment."""

from dataclasses import replace

import numpy as np
import pytest

from stores import combine_stores, new_images, open_store, repair_store, verify_store
from stores.errors import (
    FingerprintError,
    IncompleteStoreError,
    NothingToAppendError,
    PlanError,
    UnknownKeyError,
)
from stores.parts import next_part
from stores.report import StoredReport
from tests.stores.builder import build, features, key, make_plan, snapshot
from tests.stores.servers import http_server


def append(root, plan, reject=frozenset()):
    """What `viral cache append` does."""
    part = next_part(root)
    build(part, new_images(root, part, plan), reject)
    return part


@pytest.fixture(params=["zarr", "webdataset"])
def root(request, tmp_path):
    build(tmp_path / "store", make_plan(6, store=request.param), frozenset({2}))
    return tmp_path / "store"


@pytest.fixture
def plan(root):
    """Of 10 images, of which the store has 6."""
    return make_plan(10, store=open_store(root).manifest.spec.store)


def test_new_images_are_read_beside_the_old_which_are_not_touched(root, plan):
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in root.rglob("*.*")}
    append(root, plan, frozenset({1}))  # row 1 of the part: image 7
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in before}
    store = open_store(root)
    readable = [0, 1, 3, 4, 5, 6, 8, 9]
    assert list(store.keys()) == [key(row) for row in readable]
    assert len(store) == 8
    assert set(store.rejects) == {key(2), key(7)}
    assert key(8) in store
    assert key(7) not in store
    assert (store.manifest.num_images, store.manifest.num_records, store.manifest.num_rejects) == (10, 8, 3)
    shuffled = [9, 0, 8, 3, 9]
    expected = store.codec.encode(features([key(row) for row in shuffled]), store.tables)
    assert (store.read_many([key(row) for row in shuffled]) == expected).all()
    assert (store.read(key(9)) == expected[0]).all()
    with pytest.raises(UnknownKeyError):
        store.read(key(99))


def test_appending_again_finds_nothing_to_do(root, plan):
    append(root, plan)
    whole = snapshot(root)
    with pytest.raises(NothingToAppendError, match="has all of these 10 images; nothing was written"):
        append(root, plan)
    assert snapshot(root) == whole
    append(root, make_plan(13, store=plan.spec.store))
    assert len(open_store(root)) == 12


def test_an_interrupted_append_leaves_the_store_readable_and_resumes_to_the_same_bytes(root, plan, tmp_path):
    from stores import build_lock, create_store, write_shard
    from tests.stores.builder import make_shard

    part = next_part(root)
    new = new_images(root, part, replace(plan, spec=replace(plan.spec)))
    with build_lock(part):
        create_store(part, new)
        write_shard(part, new, 0, *make_shard(part, new, 0))
    assert len(open_store(root)) == 5
    report = verify_store(root)
    assert (report.ok, report.num_images, report.unfinished_part) == (True, 6, "parts/1")
    assert next_part(root) == part
    before = snapshot(root)
    with pytest.raises(PlanError, match=rf"Repeat .* that was interrupted, or delete {part} to give it up"):
        append(root, make_plan(20, store=plan.spec.store))
    assert snapshot(root) == before
    append(root, plan)
    resumed = snapshot(root)
    build(tmp_path / "again", make_plan(6, store=plan.spec.store), frozenset({2}))
    append(tmp_path / "again", plan)
    assert snapshot(tmp_path / "again") == resumed


def test_a_part_is_made_with_the_tables_of_its_store(root, plan):
    from stores.arrays import read_tables

    part = append(root, plan)
    tables = open_store(root).tables
    assert all(np.array_equal(table, tables[name]) for name, table in read_tables(part, plan.codec).items())


def test_another_fingerprint_is_refused_by_the_field(root, plan):
    before = snapshot(root)
    other = make_plan(10, store=plan.spec.store, dtype="bfloat16")
    with pytest.raises(FingerprintError, match=r"fingerprint.dtype: found 'bfloat16', expected None"):
        append(root, other)
    assert snapshot(root) == before


def test_verify_and_repair_reach_the_parts(root, plan):
    append(root, plan)
    append(root, make_plan(20, store=plan.spec.store))
    whole = snapshot(root)
    report = verify_store(root)
    assert report.ok
    assert (report.num_images, report.num_shards, report.unfinished_part) == (20, 6, None)
    name = f"parts/1/{plan.spec.shard_file(0)}"
    flipped = bytearray(whole[name])
    flipped[700] ^= 1
    (root / name).write_bytes(flipped)
    report = verify_store(root)
    assert report.bad_shards == [2], "numbered on: two shards of the store, then the part's"
    assert all(problem.startswith(name) for problem in report.problems)
    repair_store(root)
    with pytest.raises(IncompleteStoreError, match=r"parts/1 is unfinished, but a later part is there"):
        open_store(root)
    append(root, plan)
    assert snapshot(root) == whole


def test_a_store_with_parts_exports_as_one(root, plan, tmp_path):
    append(root, plan)
    combine_stores([root], tmp_path / "flat")
    flat, parted = open_store(tmp_path / "flat"), open_store(root)
    assert list(flat.keys()) == list(parted.keys())
    assert not (tmp_path / "flat" / "parts").exists()
    assert (flat.read_many(list(flat.keys())) == parted.read_many(list(flat.keys()))).all()


def test_parts_are_found_behind_a_url(root, plan, tmp_path, monkeypatch):
    monkeypatch.setenv("VIRAL_STORE_CACHE", str(tmp_path / "cache"))
    append(root, plan)
    with http_server(root.parent) as server:
        store = open_store(f"{server.url}/store")
        assert list(store.keys()) == list(open_store(root).keys())
        assert (store.read(key(9)) == open_store(root).read(key(9))).all()


def test_a_folder_that_merely_looks_like_a_part_has_tables_of_its_own(tmp_path):
    build(tmp_path / "parts" / "1", make_plan())
    assert StoredReport.read(tmp_path / "parts" / "1", 0).report.num_images == 4
