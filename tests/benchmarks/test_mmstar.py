"""MMStar: two rules, categories and axes, and the three forms of its file."""

import base64
import csv

import pytest

from tests.benchmarks import worlds
from viral.benchmarks import get_benchmark, load_items, summarise
from viral.benchmarks.files import fingerprint
from viral.data.images import decode_image

MMSTAR = get_benchmark("mmstar")


def item(tmp_path, answer: str = "A"):
    row = worlds.mmstar_rows(1)[0] | {"answer": answer}
    worlds.write_parquet(tmp_path / "MMStar/mmstar.parquet", [row])
    return load_items(MMSTAR, tmp_path, partial=True)[0]


@pytest.mark.parametrize(
    ("reply", "viral", "official"),
    [
        ("A lamp is shown, so C", "A", "A"),
        ("Because", None, "B"),
        ("Answer: D", "D", "A"),
        ("(c)", "C", "C"),
        ("Option b", "B", "B"),
        ("The answer is D.", "D", "D"),
        ("the answer is (d)", "D", None),
        ("Z", None, None),
        ("", None, None),
        ("bed", None, "B"),
    ],
)
def test_rules(tmp_path, reply, viral, official):
    for gold in "ABCD":
        asked = item(tmp_path, gold)
        assert MMSTAR.rules["viral"](reply, asked) == viral
        assert MMSTAR.rules["official"](reply, asked) == official


def write_tsv(path, rows):
    """As VLMEvalKit has it: options in columns, a picture that comes twice named by its first index."""
    path.parent.mkdir(parents=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter="\t")
        table.writerow(
            ["index", "question", "image", "A", "B", "C", "D", "answer", "category", "l2_category"]
        )
        options = ["a red kite", "two drums", "a blue kite", "none of these"]
        for number, row in enumerate(rows):
            image = "0" if number == 1 else base64.b64encode(worlds.png(number % 256)).decode()
            question = row["question"].split("\n")[0]
            table.writerow(
                [row["index"], question, image, *options, row["answer"], row["category"], row["l2_category"]]
            )


@pytest.mark.parametrize(
    "layout",
    ["mmstar.parquet", "val/part.parquet", "val-00000-of-00001.parquet", "data/val-0.parquet", "MMStar.tsv"],
)
def test_layouts_hold_the_same_questions(tmp_path, layout):
    rows = worlds.mmstar_rows(250)
    path = tmp_path / "MMStar" / layout
    write_tsv(path, rows) if layout.endswith("tsv") else worlds.write_parquet(path, rows)
    items = load_items(MMSTAR, tmp_path)
    assert len(items) == 1500
    assert items[7].options == ("a red kite", "two drums", "a blue kite", "none of these")
    assert items[7].question == rows[7]["question"]
    assert decode_image(items[7].image).getpixel((0, 0)) == (7, 0, 0)
    other = tmp_path / "other"
    worlds.write_parquet(other / "MMStar/mmstar.parquet", rows)
    assert fingerprint(MMSTAR, items) == fingerprint(MMSTAR, load_items(MMSTAR, other))
    if layout.endswith("tsv"):
        assert decode_image(items[1].image).getpixel((0, 0)) == (0, 0, 0)


def test_parts_of_a_split_are_joined(tmp_path):
    rows = worlds.mmstar_rows(250)
    worlds.write_parquet(tmp_path / "MMStar/val/0.parquet", rows[:700])
    worlds.write_parquet(tmp_path / "MMStar/val/1.parquet", rows[700:])
    assert [item.id for item in load_items(MMSTAR, tmp_path)] == [str(row["index"]) for row in rows]


def test_sizes_count_not_the_names_of_categories(tmp_path):
    rows = [row | {"category": row["category"].upper()} for row in worlds.mmstar_rows(250)]
    worlds.write_parquet(tmp_path / "MMStar/mmstar.parquet", rows)
    items = load_items(MMSTAR, tmp_path)
    scores = summarise(MMSTAR, items, {item.id: "A" for item in items}, "paper")
    assert scores["published_size"]
    assert set(scores["by_category"]) == {name.upper() for name in worlds.CATEGORIES}


def test_the_axis_mean_is_not_the_pooled_accuracy(tmp_path):
    rows = [row | {"l2_category": "big" if i else "small"} for i, row in enumerate(worlds.mmstar_rows(2))]
    worlds.write_parquet(tmp_path / "MMStar/mmstar.parquet", rows)
    items = load_items(MMSTAR, tmp_path, partial=True)
    scores = summarise(MMSTAR, items, {item.id: "A" for item in items}, "paper")
    assert scores["headline"]["value"] == pytest.approx(100 * 3 / 12)
    assert scores["axis_mean"] == pytest.approx((100 + 100 * 2 / 11) / 2)
    assert not scores["published_size"]
