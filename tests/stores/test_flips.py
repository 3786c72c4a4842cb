"""A flipped bit anywhere in a store of any format, parts included, is found by verify, and repaired by a build."""

import random

import pytest

from stores import new_images, repair_store, verify_store
from stores.errors import StoreError
from stores.formats import FORMATS
from stores.parts import next_part
from tests.stores.builder import build, make_plan, snapshot

REJECTED = frozenset({2})


def flips(root, count, seed):
    """(file, its content, bit), every byte of the store being equally likely."""
    rng = random.Random(seed)
    files = snapshot(root)
    names = sorted(files)
    for _ in range(count):
        (name,) = rng.choices(names, [len(files[name]) for name in names])
        yield root / name, files[name], rng.randrange(8 * len(files[name]))


@pytest.mark.parametrize("count", [80, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("store", sorted(FORMATS))
def test_every_flipped_bit_is_found(tmp_path, store, count):
    build(tmp_path, make_plan(store=store), REJECTED)
    part = next_part(tmp_path)
    build(part, new_images(tmp_path, part, make_plan(16, store=store)), REJECTED)
    missed = []
    for path, whole, bit in flips(tmp_path, count, seed=count):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            if verify_store(tmp_path).ok:
                missed.append((path.name, bit))
        except StoreError:
            pass
        path.write_bytes(whole)
    assert not missed
    assert verify_store(tmp_path).ok


@pytest.mark.parametrize("store", sorted(FORMATS))
@pytest.mark.parametrize("damage", ["lost", "cut", "longer", "empty", "flipped"])
def test_a_damaged_shard_is_named_and_made_again(tmp_path, store, damage):
    plan = make_plan(store=store)
    build(tmp_path, plan, REJECTED)
    whole = snapshot(tmp_path)
    name = plan.spec.shard_file(1)
    data = whole[name]
    if damage == "lost":
        (tmp_path / name).unlink()
    else:
        spoilt = {
            "cut": data[:-1],
            "longer": data + b"\0",
            "empty": b"",
            "flipped": bytes([data[0] ^ 1]) + data[1:],
        }
        (tmp_path / name).write_bytes(spoilt[damage])
    report = repair_store(tmp_path)
    assert report.bad_shards == [1]
    assert report.problems[0].startswith(f"{name}: ")
    build(tmp_path, plan, REJECTED)
    assert snapshot(tmp_path) == whole
