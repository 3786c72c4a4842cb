"""MMVP: the release's cascade, pairs, and what other pairings would give."""

import pytest

from tests.benchmarks import worlds
from viral.benchmarks import get_benchmark, load_items, summarise

MMVP = get_benchmark("mmvp")


def item(options: str = "(a) Open (b) Closed", tmp_path=None):
    return MMVP.load(
        worlds.write_mmvp(tmp_path / "MMVP", [["1", "Is it open?", options, "(a)"]]) / "MMVP", []
    )[0]


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ("A", "A"),
        ("(b)", "B"),
        ("The answer is B", "B"),  # word b, no word a
        ("Standing", "A"),  # letter a before the full stop, whatever the options are
        ("Blue", "B"),
        ("a b", None),  # both words, both letters, no text, no phrase, as many a as b
        ("It is closed", "B"),  # neither letter a nor b; the option's text
        ("Closed, not open", "B"),  # both texts: the earlier one
        ("Open, not closed", "A"),
        ("a, b, a", "A"),  # the more frequent word
        ("b and a and b", "B"),
        ("the former, b or a", "A"),  # phrases for the first option are tried first
        ("the second, a or b", "B"),
        ("", None),
        ("No.", None),
        ("closed. a b", "B"),
    ],
)
def test_the_cascade(tmp_path, reply, read):
    assert MMVP.rules["viral"](reply, item(tmp_path=tmp_path)) == read


def test_options_with_parentheses_are_read_as_far_as_the_release_does(tmp_path):
    whole = item("(a) Up (left) (b) Down", tmp_path)
    assert whole.options == ("Up (left)", "Down")
    assert MMVP.rules["viral"]("down", whole) is None
    assert MMVP.rules["viral"]("down", item("(a) Up (b) Down (right)", tmp_path)) == "B"


def test_the_prompt_drops_one_blank_before_the_second_option(tmp_path):
    assert item("(a) Open  (b) Closed", tmp_path).question == "Is it open?\nA. Open \nB. Closed"


def test_the_prompt_keeps_the_blanks_of_the_file(tmp_path):
    rows = [["1 ", "Is it open? ", " (a) Open (b) Closed ", " (a)"]]
    (read,) = MMVP.load(worlds.write_mmvp(tmp_path / "MMVP", rows) / "MMVP", [])
    assert read.question == "Is it open? \n A. Open\nB. Closed "
    assert (read.id, read.options, read.answer) == ("1", ("Open", "Closed"), "A")


@pytest.mark.parametrize("header", ["Index", "lndex", "\ufeffIndex"])
def test_the_first_header_may_be_misspelt(tmp_path, header):
    data = worlds.write_mmvp(tmp_path / "MMVP", worlds.mmvp_rows(300), header)
    items = load_items(MMVP, data)
    assert [item.id for item in items] == [str(index) for index in range(1, 301)]
    assert [item.cluster for item in items[:4]] == ["pair 1", "pair 1", "pair 2", "pair 2"]
    assert str(items[9].image).endswith("MMVP/Images/10.jpg")


def test_pictures_as_downloaded(tmp_path):
    data = worlds.write_mmvp(tmp_path / "MMVP", worlds.mmvp_rows(300))
    (tmp_path / "MMVP/MMVP Images").mkdir()
    assert str(load_items(MMVP, data)[0].image).endswith("MMVP/MMVP Images/1.jpg")


def scores(tmp_path, wrong: set[int], rows=None, total: int = 300):
    rows = rows or worlds.mmvp_rows(total)
    data = worlds.write_mmvp(tmp_path / "MMVP", rows)
    items = load_items(MMVP, data, partial=True)
    turned = {"A": "B", "B": "A"}
    said = {i.id: turned[i.answer] if int(i.id) in wrong else i.answer for i in items}
    return summarise(MMVP, items, said, "paper")


def test_neighbours_are_a_pair_and_150_the_denominator(tmp_path):
    found = scores(tmp_path, {1, 4, 5, 6})
    assert found["headline"] == {
        "name": "pair accuracy",
        "value": pytest.approx(100 * 147 / 150),
        "maximum": 100,
    }
    assert found["pairs"] == [147, 150]
    assert found["item_accuracy"] == found["overall"]["accuracy"] == pytest.approx(100 * 296 / 300)


def test_a_constant_letter_scores_nothing(tmp_path):
    items = load_items(MMVP, worlds.write_mmvp(tmp_path / "MMVP", worlds.mmvp_rows(300)))
    for letter in "ab":
        found = summarise(MMVP, items, {item.id: letter for item in items}, "paper")
        assert found["headline"]["value"] == 0.0
        assert found["item_accuracy"] == 50.0


def test_other_pairings_are_told_beside_it(tmp_path):
    rows = worlds.mmvp_rows(12)
    rows[2][1] = rows[3][1] = rows[0][1]  # four rows of one question: the release drops them
    found = scores(tmp_path, {5, 10}, rows)
    assert found["pair_accuracy"] == pytest.approx(100 * 4 / 6)
    assert found["group_by_question"] == pytest.approx(100 * 2 / 4)
    # 1 10 | 11 12 | 2 3 | 4 5 | 6 7 | 8 9
    assert found["lexicographic_order"] == pytest.approx(100 * 4 / 6)


def test_what_the_corrected_labels_give(tmp_path):
    found = scores(tmp_path, {99, 100, 279, 280})
    assert found["pair_accuracy"] == pytest.approx(100 * 148 / 150)
    assert found["swapped_labels_corrected"] == {
        "rows": [99, 100, 279, 280],
        "pair_accuracy": 100.0,
        "item_accuracy": 100.0,
    }
    assert scores(tmp_path, set())["swapped_labels_corrected"]["pair_accuracy"] == pytest.approx(
        100 * 148 / 150
    )


def test_half_a_pair_is_not_right(tmp_path):
    items = load_items(MMVP, worlds.write_mmvp(tmp_path / "MMVP", worlds.mmvp_rows(4)), partial=True)
    said = {item.id: item.answer for item in items[:3]}
    found = summarise(MMVP, items, said, "paper", partial=True)
    assert found["pairs"] == [1, 2]
    assert found["partial"]
