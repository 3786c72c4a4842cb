"""Plans: row arithmetic, refusals, sizes, and the JSON they travel in."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores import Plan, Reject, StoreSpec, build_lock, check_space, create_store, load_plan
from stores.errors import FormatVersionError, MissingStoreError, PlanError, UnknownCodecError
from stores.space import format_bytes
from stores.spec import differences, spec_from_json
from tests.stores.builder import build, key, make_plan, snapshot


@given(st.integers(1, 300), st.integers(1, 40))
def test_shards_partition_the_rows(num_images, shard_size):
    plan = make_plan(num_images, shard_size=shard_size)
    rows = [row for shard in range(plan.num_shards) for row in plan.rows(shard)]
    assert rows == list(range(num_images))
    assert all(len(plan.rows(shard)) == shard_size for shard in range(plan.num_shards - 1))
    assert len(plan.rows(plan.num_shards - 1)) >= 1
    for outside in (-1, plan.num_shards):
        with pytest.raises(IndexError):
            plan.rows(outside)


@given(st.integers(1, 30), st.text(max_size=8))
def test_json_round_trip(num_images, name):
    plan = replace(make_plan(num_images, note=name), rejects=(Reject(path=name, reason="no such file"),))
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.digest == plan.digest
    assert replace(plan, rejects=()).digest != plan.digest


def test_surrogate_escaped_paths_survive_the_disk(tmp_path):
    plan = replace(make_plan(1), paths=("caf\udce9.jpg",))
    with build_lock(tmp_path):
        create_store(tmp_path, plan)
    assert load_plan(tmp_path) == plan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": (), "paths": ()}, "No usable image.*1 rejected"),
        ({"keys": (key(1),), "paths": ()}, "1 keys but 0 paths"),
        ({"keys": (key(1), key(1)), "paths": ("a", "b")}, "1 keys are repeated"),
        ({"keys": (key(1).upper(),), "paths": ("a",)}, "64 lower-case hex"),
    ],
)
def test_nonsense_plans_are_refused(changes, message):
    with pytest.raises(PlanError, match=message):
        replace(make_plan(), **changes)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"codec": "jpeg"}, UnknownCodecError, "Known: bf16, fp16, int8, lm2, lm3, lm4"),
        ({"store": "tar"}, PlanError, "Unknown store format 'tar'. Known: webdataset, zarr"),
        ({"grid": (0, 4)}, PlanError, r"grid=\(0, 4\).*positive"),
        ({"shard_size": -1}, PlanError, "shard_size=-1.*positive"),
    ],
)
def test_nonsense_specs_are_refused(changes, error, message):
    spec = {"codec": "int8", "grid": (2, 2), "dim": 8, "fingerprint": {}} | changes
    with pytest.raises(error, match=message):
        StoreSpec(**spec)


def test_a_newer_format_is_refused_before_its_fields_are_looked_at():
    with pytest.raises(FormatVersionError, match=r"format 99.*up to 1.*Upgrade"):
        spec_from_json({"format_version": 99, "unheard": "of"})


def test_differences_name_nested_fields():
    found = {"grid": (2, 2), "fingerprint": {"teacher": {"name": "a", "size": 1}}}
    expected = {"grid": [2, 2], "fingerprint": {"teacher": {"name": "b", "size": 1}, "seed": 0}}
    assert differences(found, expected) == [
        "fingerprint.seed: found None, expected 0",
        "fingerprint.teacher.name: found 'a', expected 'b'",
    ]
    assert differences(found, found) == []


@pytest.mark.parametrize("codec", ["fp16", "int8"])
def test_total_bytes_foretells_the_size_of_a_large_store(codec, tmp_path):
    plan = make_plan(200, codec=codec, shard_size=64)
    build(tmp_path / "store", plan)
    files = snapshot(tmp_path / "store")
    shards = sum(len(data) for name, data in files.items() if name.startswith("codes/c."))
    assert shards == 200 * (plan.record_bytes + 4) + 4 * (64 * 16 + 4)
    assert 0 <= plan.total_bytes - sum(map(len, files.values())) < 12_000


def test_check_space_counts_only_what_is_missing(tmp_path, monkeypatch):
    plan, root = make_plan(100, shard_size=10), tmp_path / "not" / "yet"
    free = plan.total_bytes - 1
    monkeypatch.setattr("stores.space.free_bytes", lambda path: free)
    with pytest.raises(PlanError, match=r"needs 48.5 kB more, but only 48.5 kB are free; free 1 B"):
        check_space(root, plan)
    build(root, plan)
    free = 0
    check_space(root, plan)


def test_load_plan_of_nothing_says_what_to_run(tmp_path):
    with pytest.raises(MissingStoreError, match="does not exist; build one with `viral cache build"):
        load_plan(tmp_path / "typo")
    with pytest.raises(MissingStoreError, match="holds no feature store"):
        load_plan(tmp_path)


def test_sizes_read_like_sizes():
    sizes = [0, 999, 1000, 309_657_600_000, 999_600]
    assert [format_bytes(size) for size in sizes] == ["0 B", "999 B", "1 kB", "310 GB", "1 MB"]
