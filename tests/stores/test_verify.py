"""Verify finds every damaged bit, lost file and stranger; repair and a rebuild give the same bytes back."""

import os
import random
import shutil

import numpy as np
import pytest

from stores import (
    CODECS,
    build_lock,
    create_store,
    finish_store,
    open_store,
    repair_store,
    verify_store,
    write_shard,
)
from stores.canonical import read_sealed, seal
from stores.errors import IncompleteStoreError, MissingStoreError, StoreError
from stores.formats import FORMATS
from stores.publish import write_json
from tests.stores.builder import build, make_plan, make_shard, snapshot

PLAN = make_plan()
REJECTED = frozenset({2})
FILES = sorted(
    [
        *(f"{name}/zarr.json" for name in ("codes", "keys", "rotation", "signs")),
        *(f"{name}/c.0.0" for name in ("keys", "rotation", "signs")),
        *(f"codes/c.{shard}.0.0" for shard in range(3)),
        *(f"reports/{shard}.json" for shard in range(3)),
        *("zarr.json", "plan.json", "rejects.jsonl", "manifest.json"),
    ]
)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = tmp_path_factory.mktemp("pristine") / "store"
    build(root, PLAN, REJECTED)
    return root


@pytest.fixture
def root(pristine, tmp_path):
    shutil.copytree(pristine, tmp_path / "store")
    return tmp_path / "store"


def found_anything(root):
    """Verify may report or refuse; a crash is a failure of the test."""
    try:
        return not verify_store(root).ok
    except StoreError:
        return True


def rebuild(root):
    """Repair, then what `viral cache build` does."""
    repair_store(root)
    build(root, PLAN, REJECTED)


def test_a_sound_store_is_sound(root):
    steps = []
    report = verify_store(root, lambda done, total: steps.append((done, total)))
    assert report.ok
    assert (report.num_images, report.num_rejects, report.num_shards) == (10, 1, 3)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    files = snapshot(root)
    assert sorted(files) == FILES
    assert report.bytes_read == sum(map(len, files.values())) - len(files["manifest.json"])
    (root / "logs" / "anything.txt").write_text("not ours to judge")
    assert verify_store(root).ok


def test_any_flipped_bit_is_found(root):
    rng = random.Random(0)
    missed = []
    for _ in range(300):
        path = root / rng.choice(FILES)
        whole = path.read_bytes()
        bit = rng.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        if not found_anything(root):
            missed.append((path.name, bit))
        path.write_bytes(whole)
    assert not missed
    assert verify_store(root).ok


@pytest.mark.slow
def test_flipped_bits_all_over_every_file_are_found(root):
    for name in FILES:
        whole = (root / name).read_bytes()
        for bit in range(0, 8 * len(whole), 7):  # coprime to eight: every place in a byte has its turn
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            (root / name).write_bytes(flipped)
            assert found_anything(root), (name, bit)
        (root / name).write_bytes(whole)


@pytest.mark.parametrize("name", FILES)
def test_a_lost_cut_or_longer_file_is_found_and_repaired(root, name):
    whole = snapshot(root)
    for damage in ("lost", "cut", "longer", "empty", "flipped"):
        path = root / name
        data = whole[name]
        if damage == "lost":
            path.unlink()
        else:
            damaged = {
                "cut": data[:-1],
                "longer": data + b"\0",
                "empty": b"",
                "flipped": bytes([data[0] ^ 1]) + data[1:],
            }
            path.write_bytes(damaged[damage])
        assert found_anything(root), damage
        if (root / "manifest.json").exists():
            repair_store(root)
            with pytest.raises(StoreError, match=r"viral cache build"):
                open_store(root)
        build(root, PLAN, REJECTED)
        assert snapshot(root) == whole, damage


def test_repair_drops_only_what_is_bad(root):
    whole = snapshot(root)
    os.truncate(root / "codes" / "c.1.0.0", 50)
    report = repair_store(root)
    assert report.bad_shards == [1]
    assert report.problems == ["codes/c.1.0.0: 50 bytes, expected 852"]
    assert sorted(whole.keys() - snapshot(root).keys()) == [
        "codes/c.1.0.0",
        "manifest.json",
        "reports/1.json",
    ]
    rebuild_kept = (root / "codes" / "c.0.0.0").stat().st_ino
    build(root, PLAN, REJECTED)
    assert (root / "codes" / "c.0.0.0").stat().st_ino == rebuild_kept
    assert snapshot(root) == whole


def test_repair_of_a_sound_store_touches_nothing(root):
    whole = snapshot(root)
    assert repair_store(root).ok
    assert snapshot(root) == whole


def test_damage_in_many_places_at_once_is_repaired(root):
    whole = snapshot(root)
    for name in (
        "plan.json",
        "codes/c.0.0.0",
        "reports/2.json",
        "signs/c.0.0",
        "codes/zarr.json",
        "zarr.json",
    ):
        flipped = bytearray(whole[name])
        flipped[len(flipped) // 2] ^= 8
        (root / name).write_bytes(flipped)
    rebuild(root)
    assert snapshot(root) == whole
    for name in ("manifest.json", "codes/zarr.json", "keys/c.0.0", "rejects.jsonl"):
        flipped = bytearray(whole[name])
        flipped[len(flipped) // 2] ^= 8
        (root / name).write_bytes(flipped)
    rebuild(root)
    assert snapshot(root) == whole


@pytest.mark.parametrize("store", sorted(FORMATS))
@pytest.mark.parametrize("table", ["rotation", "signs", "codebook"])
@pytest.mark.parametrize("file", ["zarr.json", "c.0.0"])
def test_a_table_that_nothing_vouches_for_is_made_again(tmp_path, store, table, file):
    """The manifest alone has the hashes of the tables; without it, the reports still know which ones they go with."""
    plan = make_plan(store=store, codec="lm4")
    build(tmp_path, plan, REJECTED)
    whole = snapshot(tmp_path)
    for name in ("manifest.json", f"{table}/{file}"):
        flipped = bytearray(whole[name])
        flipped[len(flipped) // 2] ^= 1
        (tmp_path / name).write_bytes(flipped)
    repair_store(tmp_path)
    build(tmp_path, plan, REJECTED)
    assert snapshot(tmp_path) == whole


def test_without_a_manifest_tables_from_elsewhere_are_kept(tmp_path):
    """Copied from a store of another machine, which no build here could make again."""
    plan = make_plan()
    tables = plan.codec.make_tables(plan.spec.num_tokens, plan.spec.dim, seed=99)
    with build_lock(tmp_path):
        create_store(tmp_path, plan, tables)
    build(tmp_path, plan, REJECTED)
    whole = snapshot(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"")
    repair_store(tmp_path)
    build(tmp_path, plan, REJECTED)
    assert snapshot(tmp_path) == whole


@pytest.mark.parametrize("names", [("zarr.json", "plan.json"), ("zarr.json", "manifest.json")])
def test_a_repair_keeps_the_folder_recognisable(root, names):
    """Only the mark inside our files says that a folder is ours, so a repair must not drop the last one."""
    whole = snapshot(root)
    for name in names:
        (root / name).write_bytes(b"")
    repair_store(root)
    assert (root / "zarr.json").read_bytes() == whole["zarr.json"]
    for shard in range(3):
        (root / "reports" / f"{shard}.json").unlink()
    build(root, PLAN, REJECTED)
    assert snapshot(root) == whole


def test_strangers_are_named_and_left_alone(root):
    for name in ("notes.txt", "codes/c.3.0.0", "reports/thesis.pdf", "codes/c.1.0.0.1-2.partial"):
        (root / name).write_text("x")
    report = verify_store(root)
    assert report.foreign_files == [
        "codes/c.1.0.0.1-2.partial",
        "codes/c.3.0.0",
        "notes.txt",
        "reports/thesis.pdf",
    ]
    assert not report.bad_files
    assert not report.bad_shards
    repair_store(root)
    assert all((root / name).exists() for name in report.foreign_files)
    assert (root / "manifest.json").exists()


def lying_store(root, codec, spoil):
    """A store whose checksums all agree, but whose codes were wrong when it was written."""
    plan = make_plan(codec=codec)
    with build_lock(root):
        create_store(root, plan)
        for shard in range(plan.num_shards):
            codes, report = make_shard(root, plan, shard)
            if shard == 1:
                codes = spoil(codes)
            write_shard(root, plan, shard, codes, report)
        finish_store(root, plan)
    return verify_store(root)


def put(slot, value):
    def spoil(codes):
        codes = codes.copy()
        codes[slot] = value
        return codes

    return spoil


@pytest.mark.parametrize(
    ("codec", "value", "problem"),
    [
        *((codec, 0, "is all zeros, but no reject") for codec in CODECS),
        ("fp16", np.nan, "holds NaN or infinity"),
        ("fp16", np.inf, "holds NaN or infinity"),
        ("bf16", 0x7FC0, "holds NaN or infinity"),
        ("bf16", 0xFF80, "holds NaN or infinity"),
    ],
)
def test_empty_or_broken_records_are_found_under_valid_checksums(tmp_path, codec, value, problem):
    report = lying_store(tmp_path / "store", codec, put(3, value))
    assert report.problems == [f"codes/c.1.0.0: record 3 {problem}"]
    assert report.bad_shards == [1]


def test_records_in_each_others_place_are_found(root):
    """Each record still matches its own checksum; the shard does not match its hash."""
    path = root / "codes" / "c.2.0.0"
    data, stride = path.read_bytes(), 12 * 16 + 4
    path.write_bytes(data[stride : 2 * stride] + data[:stride] + data[2 * stride :])
    assert verify_store(root).problems == ["codes/c.2.0.0: its SHA-256 is not the one in its report"]


def test_counts_that_do_not_add_up_are_found_under_a_valid_seal(root):
    manifest = read_sealed(root / "manifest.json")
    write_json(root / "manifest.json", seal(manifest | {"num_records": 8}))
    assert verify_store(root).problems == ["manifest.json: its counts are not those of the reports"]


def test_verifying_nothing_or_half_a_store_says_what_to_run(root, tmp_path):
    with pytest.raises(MissingStoreError, match=r"does not exist; build one"):
        verify_store(tmp_path / "typo")
    (root / "manifest.json").unlink()
    with pytest.raises(
        IncompleteStoreError, match=r"unfinished \(3 of 3 shards\); run the same `viral cache build`"
    ):
        verify_store(root)
