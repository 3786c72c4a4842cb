"""Replies meet items: ids must match, and the order of lines never matters."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks import worlds
from viral.benchmarks import BENCHMARKS, get_benchmark, load_items, read_replies, summarise
from viral.errors import DataError

REPLIES = ("A", "b", "(C)", "left", "", "yes", "No.", "Incorrect", "the answer is A", "D", "on top", "Y")


@pytest.fixture(scope="module")
def worlds_data(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    for write in worlds.WRITERS.values():
        write(data)
    worlds.cvbench(data, 12, 8)
    worlds.pope(data, (8, 6, 6))
    return data


@pytest.fixture(scope="module")
def worlds_items(worlds_data):
    return {name: load_items(benchmark, worlds_data) for name, benchmark in BENCHMARKS.items()}


@settings(max_examples=90, deadline=None)
@given(
    name=st.sampled_from(list(BENCHMARKS)),
    profile=st.sampled_from(["paper", "clean"]),
    said=st.lists(st.sampled_from(REPLIES) | st.text(max_size=8), min_size=1, max_size=9),
    data=st.data(),
)
def test_permuting_items_and_replies_never_changes_a_score(worlds_items, name, profile, said, data):
    items = worlds_items[name]
    replies = {item.id: said[index * index % len(said)] for index, item in enumerate(items)}
    shuffled_items = data.draw(st.permutations(items))
    shuffled_replies = dict(data.draw(st.permutations(list(replies.items()))))
    benchmark = get_benchmark(name)
    assert summarise(benchmark, items, replies, profile) == summarise(
        benchmark, shuffled_items, shuffled_replies, profile
    )


@pytest.mark.parametrize(
    "file",
    [
        "cvbench/test_2d.jsonl",
        "MMVP/Questions.csv",
        "POPE/pope_random.jsonl",
        "AdaptVis/prompts/COCO_QA_one_obj_with_answer_four_options.jsonl",
    ],
)
def test_permuting_the_lines_of_a_file_never_changes_a_score(worlds_data, tmp_path, file):
    """What's Up's rows are told by their place, so that both of its files turn round, and the ids with them."""
    data = shutil.copytree(worlds_data, tmp_path / "data")
    name = get_benchmark(file.split("/")[0]).name
    ids = [item.id for item in load_items(get_benchmark(name), data)]
    said = {id_: REPLIES[index % len(REPLIES)] for index, id_ in enumerate(ids)}
    before = worlds.viral_score(name, data, worlds.write_replies(tmp_path / "a.jsonl", said))
    header, *lines = (data / file).read_text().splitlines(keepends=True)
    if not file.endswith("csv"):
        header, lines = "", [header, *lines]
    (data / file).write_text(header + "".join(reversed(lines)))
    if name == "whatsup":
        captions = data / "AdaptVis/data/coco_qa_one_obj.json"
        captions.write_text(json.dumps(json.loads(captions.read_text())[::-1]))
        said |= {f"coco_one/{row}": said[f"coco_one/{len(lines) - 1 - row}"] for row in range(len(lines))}
    replies = worlds.write_replies(tmp_path / "b.jsonl", reversed(said.items()))
    assert worlds.viral_score(name, data, replies) == before


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(list(BENCHMARKS)), reply=st.text() | st.sampled_from(REPLIES), data=st.data())
def test_every_rule_reads_every_text(worlds_items, name, reply, data):
    item = data.draw(st.sampled_from(worlds_items[name]))
    for rule in BENCHMARKS[name].rules.values():
        answer = rule(reply, item)
        assert answer is None or isinstance(answer, str)


def test_a_perfect_and_an_empty_model(worlds_items):
    for name, items in worlds_items.items():
        benchmark = get_benchmark(name)
        perfect = summarise(benchmark, items, {item.id: item.answer for item in items}, "paper")
        best = 600.0 if name == "mme" else 100.0  # three of its fourteen subtasks
        assert perfect["headline"]["value"] == best
        assert perfect["overall"]["accuracy"] == 100.0
        assert perfect["diagnostic"] == {"strict": best, "lenient": best}
        assert all(rule["accuracy"] == 100.0 for rule in perfect["rules"].values())
        assert not perfect["published_size"]
        assert not perfect["partial"]
        empty = summarise(benchmark, items, {item.id: "" for item in items}, "paper")
        assert empty["diagnostic"] == {"strict": 0.0, "lenient": 0.0}
        if name != "whatsup":  # where the release's rule takes silence for the right answer
            assert empty["headline"]["value"] == 0.0
            assert empty["unparsed"]["percent"] == 100.0


def test_items_of_a_cluster_are_judged_together(worlds_items):
    sizes = {"cvbench": 1, "mmvp": 2, "mmstar": 1, "mme": 2}
    for name, size in sizes.items():
        clusters = Counter(item.cluster for item in worlds_items[name])
        assert set(clusters.values()) == {size}
    photos = Counter(item.cluster for item in worlds_items["whatsup"])
    assert sorted(photos.values()) == [2, 4, 4, 4]  # a photo of both COCO splits, and two controlled sets
    assert {item.cluster for item in worlds_items["pope"]} == {
        Path(str(i.image)).name for i in worlds_items["pope"]
    }


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


def test_partial_takes_a_reply_said_twice_and_drops_contradictions(tmp_path):
    twice = [("1", "A"), ("2", "B"), ("1", "A"), ("2", "C"), ("3", "D")]
    for lines in (twice, twice[::-1]):
        path = worlds.write_replies(tmp_path / "r.jsonl", lines)
        assert read_replies(path, partial=True) == {"1": "A", "3": "D"}
        with pytest.raises(DataError, match=r"id \d has been answered before"):
            read_replies(path)
