"""Replies meet items: ids must match, and the order of lines never matters."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks import worlds
from viral.benchmarks import get_benchmark, load_items, read_replies, summarise
from viral.errors import DataError

REPLIES = ("A", "b", "(C)", "left", "", "yes", "No.", "Incorrect", "the answer is A", "D")


@pytest.fixture(scope="module")
def worlds_items(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    worlds.cvbench(data, 12, 8)
    worlds.pope(data, (8, 6, 6))
    return {name: load_items(get_benchmark(name), data) for name in ("cvbench", "pope")}


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["cvbench", "pope"]),
    profile=st.sampled_from(["paper", "clean"]),
    said=st.lists(st.sampled_from(REPLIES), min_size=20, max_size=20),
    data=st.data(),
)
def test_permuting_items_and_replies_never_changes_a_score(worlds_items, name, profile, said, data):
    items = worlds_items[name]
    replies = {item.id: reply for item, reply in zip(items, said, strict=True)}
    shuffled_items = data.draw(st.permutations(items))
    shuffled_replies = dict(data.draw(st.permutations(list(replies.items()))))
    benchmark = get_benchmark(name)
    assert summarise(benchmark, items, replies, profile) == summarise(
        benchmark, shuffled_items, shuffled_replies, profile
    )


def test_a_perfect_and_an_empty_model(worlds_items):
    for name, items in worlds_items.items():
        perfect = summarise(get_benchmark(name), items, {item.id: item.answer for item in items}, "paper")
        assert perfect["headline"]["value"] == perfect["overall"]["accuracy"] == 100.0
        assert perfect["diagnostic"] == {"strict": 100.0, "lenient": 100.0}
        assert perfect["overall"]["interval"][1] == 100.0
        assert not perfect["published_size"]
        empty = summarise(get_benchmark(name), items, {item.id: "" for item in items}, "paper")
        assert empty["headline"]["value"] == empty["diagnostic"]["lenient"] == 0.0
        assert empty["unparsed"]["percent"] == 100.0


def test_chance_is_the_mean_over_items(worlds_items):
    scores = summarise(
        get_benchmark("cvbench"),
        worlds_items["cvbench"],
        {i.id: "A" for i in worlds_items["cvbench"]},
        "paper",
    )
    assert scores["groups"]["count"]["chance"] == pytest.approx(100 * (1 / 4 + 1 / 3) / 2)
    assert scores["groups"]["relation"]["chance"] == 50.0


def test_missing_replies_are_refused_unless_partial(worlds_items):
    items = worlds_items["cvbench"]
    replies = {item.id: "A" for item in items[2:]}
    with pytest.raises(DataError, match=r"2 of 20 items of CV-Bench 2D have no reply, first '0'.*--partial"):
        summarise(get_benchmark("cvbench"), items, replies, "paper")
    assert summarise(get_benchmark("cvbench"), items, replies, "paper", partial=True)["scored"] == 18


@pytest.mark.parametrize("partial", [False, True])
def test_replies_of_another_benchmark_are_refused_even_if_partial(worlds_items, partial):
    replies = {item.id: "yes" for item in worlds_items["pope"]}
    with pytest.raises(
        DataError, match=r"20 of 20 replies answer no item of CV-Bench 2D, first id 'adversarial/1'"
    ):
        summarise(get_benchmark("cvbench"), worlds_items["cvbench"], replies, "paper", partial=partial)


def test_replies_are_read_whatever_else_a_line_holds(tmp_path):
    path = worlds.write_lines(
        tmp_path / "r.jsonl", [{"id": 3, "reply": "A", "note": 1}, {"id": "4", "reply": ""}]
    )
    assert read_replies(path) == {"3": "A", "4": ""}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "is empty"),
        ([{"id": 1, "reply": "A"}, {"id": "1", "reply": "B"}], r"line 2: id 1 has been answered before"),
        ([{"id": 1}], "no field 'reply'"),
        ([{"id": 1, "reply": None}], "reply is NoneType"),
        ([{"id": True, "reply": "A"}], "id is bool"),
    ],
)
def test_unusable_replies(tmp_path, lines, message):
    path = tmp_path / "replies.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(DataError, match=message):
        read_replies(path)


def test_a_missing_replies_file(tmp_path):
    with pytest.raises(DataError, match=r"No file .*nothing\.jsonl"):
        read_replies(tmp_path / "nothing.jsonl")
