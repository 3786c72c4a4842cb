"""Which items the page holds, and what it says about them."""

import base64
import io
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.report.evaluations import read_evaluations
from pipelines.report.items import Answered, answered_items, order, pack
from viral.benchmarks import Item, Verdict

LABELS = ["baseline", "viral"]


@pytest.fixture(scope="module")
def items(results, world) -> list[Answered]:
    return answered_items(read_evaluations({label: results / label for label in LABELS}, world), world)


def test_every_item_with_both_replies(items):
    assert Counter(entry.benchmark for entry in items) == {"cvbench": 24, "pope": 72}
    # Item 0 is wrong in both, 3 in the baseline only, 10 in the other only, 1 in none; one more period to 30.
    assert [index for index, entry in enumerate(items[:24]) if entry.changed] == [
        3,
        6,
        9,
        10,
        12,
        15,
        18,
        20,
        21,
    ]


def test_all_of_it_packed(items):
    packed = pack(items, LABELS, max_items=1000, max_bytes=10**7)
    data = json.loads(packed.json)
    assert (packed.held, packed.total, packed.unreadable, packed.full) == (96, 96, 0, False)
    assert packed.changed_held == packed.changed_total == sum(entry.changed for entry in items)
    assert data["models"] == LABELS
    assert data["benchmarks"] == {"cvbench": "CV-Bench 2D", "pope": "POPE"}
    assert [item["id"] for item in data["items"]] == [entry.item.id for entry in items]
    assert len(data["pictures"]) == 24 + 4  # one a picture, not one a question
    first = data["items"][0]
    assert first["replies"] == [["dunno", None, 0], ["Z", None, 0]]
    letter, _, text = first["gold"].partition(": ")
    assert text == items[0].item.options["ABCDE".index(letter)]
    assert data["items"][-1]["gold"] in ("yes", "no")
    with Image.open(io.BytesIO(base64.b64decode(data["pictures"][0].split(",")[1]))) as picture:
        assert picture.format == "WEBP"
        assert max(picture.size) <= 256


@pytest.mark.parametrize("limit", [0, 1, 7, 40, 60])
def test_changed_items_come_first_and_tasks_take_turns(items, limit):
    packed = pack(items, LABELS, max_items=limit, max_bytes=10**7)
    kept = json.loads(packed.json)["items"]
    assert packed.held == len(kept) == limit
    assert packed.changed_held == min(limit, packed.changed_total)
    positions = [[entry.item.id for entry in items].index(item["id"]) for item in kept]
    assert positions == sorted(positions)
    if limit == 60:
        unchanged = Counter(item["task"] for item in kept if item["replies"][0][2] == item["replies"][1][2])
        assert max(unchanged.values()) - min(unchanged.values()) <= 1


def test_bytes_are_a_limit_too(items):
    whole = pack(items, LABELS, max_items=1000, max_bytes=10**7)
    packed = pack(items, LABELS, max_items=1000, max_bytes=30_000)
    assert packed.full
    assert 0 < packed.held < whole.held
    assert len(packed.json.encode()) < 31_000
    assert pack(items, LABELS, max_items=5, max_bytes=-1).held == 0


def test_pictures_that_are_gone_or_broken_are_counted(results, world, tmp_path: Path):
    copy = shutil.copytree(world, tmp_path / "benchmarks")
    victims = sorted((copy / "cvbench/img/2D").rglob("*.jpg"))[:2]
    victims[0].unlink()
    victims[1].write_bytes(b"no picture")
    read = read_evaluations({label: results / label for label in LABELS}, copy)
    packed = pack(answered_items(read, copy), LABELS, max_items=1000, max_bytes=10**7)
    assert packed.unreadable == 2
    assert sum(item["picture"] == -1 for item in json.loads(packed.json)["items"]) == 2


def answered(id_: str, group: str, marks: list[bool]) -> Answered:
    item = Item(id=id_, group=group, image=Path("x"), question="?", answer="yes", options=("yes", "no"))
    replies = [("r", Verdict(item, "yes" if mark else None)) for mark in marks]
    return Answered(benchmark="pope", item=item, replies=list(replies))


ROWS = st.tuples(st.integers(0, 60), st.sampled_from("ab"), st.booleans(), st.booleans())


@given(st.lists(ROWS, unique_by=lambda row: row[0]))
def test_order_takes_every_item_once_whatever_order_they_come_in(rows):
    items = [answered(str(number), group, [first, second]) for number, group, first, second in rows]
    there = [items[index] for index in order(items)]
    assert sorted(entry.item.id for entry in there) == sorted(entry.item.id for entry in items)
    changed = [entry.changed for entry in there]
    assert changed == sorted(changed, reverse=True)
    back = items[::-1]
    assert [back[index] for index in order(back)] == there
