"""What's Up: the traps of the release's rule, controlled pairs and sets, names of splits, files that are missing."""

import pytest

from tests.benchmarks import worlds
from viral.benchmarks import BENCHMARKS, get_benchmark, load_items, summarise
from viral.errors import DataError

WHATSUP = get_benchmark("whatsup")
SIZES = {
    "coco_one": {"Bottom": 744, "Left": 576, "Right": 564, "Top": 363},
    "coco_two": {"Left": 150, "Right": 129, "Above": 86, "Below": 75},
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The two COCO splits in full, with their published answers."""
    data = tmp_path_factory.mktemp("data")
    golds = {split: [word for word, n in words.items() for _ in range(n)] for split, words in SIZES.items()}
    return load_items(WHATSUP, worlds.write_whatsup(data / "AdaptVis", golds))


@pytest.mark.parametrize(
    ("reply", "one", "two"),
    [
        ("", 100, 100),
        ("t", 100, 100 * (150 + 129) / 440),
        ("left, right, top, or bottom", 100, 100 * 279 / 440),
        ("Bottom", 100 * 744 / 2247, 0),
        ("left", 100 * 576 / 2247, 100 * 150 / 440),
    ],
)
def test_constant_replies_under_the_releases_rule(published, reply, one, two):
    scores = summarise(WHATSUP, published, {item.id: reply for item in published}, "paper")
    assert scores["splits"]["coco_one"]["accuracy"] == pytest.approx(one)
    assert scores["splits"]["coco_two"]["accuracy"] == pytest.approx(two)
    assert scores["headline"]["value"] == pytest.approx((one + two) / 2)
    assert scores["published_size"]


def test_the_traps_do_not_fool_the_strict_variant(published):
    for reply in ("", "t", "left, right, top, or bottom", "upright"):
        scores = summarise(WHATSUP, published, {item.id: reply for item in published}, "paper")
        assert scores["diagnostic"]["strict"] == 0.0


def test_replies_are_not_stripped(published):
    first = published[0]
    assert WHATSUP.rules["viral"](" ", first) != first.answer
    assert WHATSUP.rules["viral"]("", first) == first.answer


@pytest.mark.parametrize(
    ("gold", "reply", "viral", "adaptvis", "strict", "lenient"),
    [
        ("above", "On top", None, None, None, "above"),
        ("below", "Beneath it.", None, None, None, "below"),
        ("left", "left or right", "left", "left", None, None),
        ("above", "left", "left", "left", "left", "left"),
    ],
)
def test_rules_on_two_objects(published, gold, reply, viral, adaptvis, strict, lenient):
    item = next(item for item in published if item.group == "coco_two" and item.answer == gold)
    found = {name: rule(reply, item) for name, rule in WHATSUP.rules.items()}
    assert found == {"viral": viral, "adaptvis": adaptvis, "strict": strict, "lenient": lenient}


def controlled(
    tmp_path, said: list[str], golds: list[str], split: str = "controlled_a", profile: str = "clean"
):
    golds_of = {"coco_one": ["Left"], "coco_two": ["Left"], split: golds}
    items = load_items(WHATSUP, worlds.write_whatsup(tmp_path / "AdaptVis", golds_of), partial=True)
    replies = {f"{split}/{row}": reply for row, reply in enumerate(said)}
    return summarise(WHATSUP, items, replies, profile, partial=True)["controlled"][split]


SET = ["Left", "Right", "On", "Under"]


def test_individual_pair_and_set(tmp_path):
    said = ["left", "right", "on", "under", "left", "left", "on", "below"]
    assert controlled(tmp_path, said, SET * 2) == {"individual": 75.0, "pair": 50.0, "set": 50.0}


def test_sets_are_told_by_names_not_by_place(tmp_path):
    golds = ["Behind", "Left", "Front", "Right"]
    said = ["behind", "left", "front", "left"]
    found = controlled(tmp_path, said, golds, "controlled_b")
    assert found == {"individual": 75.0, "pair": 50.0, "set": 0.0}


def test_gold_on_is_not_on_if_front_is_said(tmp_path):
    said = ["left", "right", "on the front", "under"]
    assert controlled(tmp_path, said, SET)["individual"] == 75.0
    assert controlled(tmp_path, said, SET, profile="paper")["individual"] == 100.0


def test_controlled_splits_are_optional_and_whole(tmp_path):
    golds = {split: [w for w, n in words.items() for _ in range(n)] for split, words in SIZES.items()}
    data = worlds.write_whatsup(tmp_path / "AdaptVis", golds | {"controlled_a": SET * 103})
    items = load_items(WHATSUP, data)
    assert len(items) == 2247 + 440 + 412
    assert len({item.cluster for item in items if item.group == "controlled_a"}) == 103
    worlds.write_whatsup(tmp_path / "AdaptVis", {"controlled_b": ["Left"] * 4})
    with pytest.raises(DataError, match="4 items in group 'controlled_b', expected 408"):
        load_items(WHATSUP, data)


@pytest.mark.parametrize("spelling", ["coco_one", "one", "COCO_QA_one_obj", "coco-qa-one-obj", "whatsup_one"])
def test_names_of_a_split_in_ids(tmp_path, spelling):
    data = worlds.write_whatsup(tmp_path / "AdaptVis", {"coco_one": ["Left", "Top"]})
    replies = worlds.write_replies(tmp_path / "r.jsonl", {f"{spelling}/0": "left", "coco_one/1": "left"})
    assert worlds.viral_score("WhatsUp", data, replies, "--partial")["overall"]["correct"] == 1


def test_two_spellings_are_one_item(tmp_path):
    items = load_items(
        WHATSUP, worlds.write_whatsup(tmp_path / "AdaptVis", {"coco_one": ["Left"]}), partial=True
    )
    with pytest.raises(DataError, match="answered twice, under two spellings"):
        summarise(WHATSUP, items, {"one/0": "left", "coco_one/0": "left"}, "paper", partial=True)


@pytest.mark.parametrize(
    "question",
    [
        "<image>\nUSER: Where is the cat in the photo? Answer with left,right, top or bottom.\nASSISTANT:",
        "<image>\nUSER:   Where is the cat in the photo?\nAnswer  with left.\n\nASSISTANT:",
    ],
)
def test_only_the_part_up_to_the_question_mark_is_asked(tmp_path, question):
    data = worlds.write_whatsup(tmp_path / "AdaptVis", {"coco_one": ["Left"]}, question)
    (item,) = load_items(WHATSUP, data, partial=True)
    assert WHATSUP.protocols["paper"].ask(item) == (
        "Where is the cat in the photo?Answer with a single word from left, right, top, or bottom."
    )


def test_captions_alone_do_not_do_for_coco(tmp_path):
    data = worlds.write_whatsup(tmp_path / "AdaptVis", {"coco_one": ["Left"], "coco_two": ["Left"]})
    (tmp_path / "AdaptVis/prompts/COCO_QA_one_obj_with_answer_four_options.jsonl").unlink()
    with pytest.raises(
        DataError, match=r"coco_qa_one_obj\.json holds only captions.*prompts/COCO_QA_one_obj"
    ):
        load_items(WHATSUP, data)


def test_controlled_questions_can_be_made_from_names(tmp_path):
    golds = {"controlled_b": ["Left", "Right", "Front", "Behind"]}
    data = worlds.write_whatsup(tmp_path / "AdaptVis", golds)
    whole = load_items(WHATSUP, data, partial=True)
    (tmp_path / "AdaptVis/prompts/Controlled_Images_B_with_answer_four_options.jsonl").unlink()
    made = load_items(WHATSUP, data, partial=True)
    assert [item.answer for item in made] == [item.answer for item in whole]
    assert [item.cluster for item in made] == [item.cluster for item in whole]
    assert made[0].question == (
        "Where is the drum0 in relation to the kite? Answer with left, right, front or behind."
    )


def test_rows_of_both_files_must_belong_together(tmp_path):
    data = worlds.write_whatsup(tmp_path / "AdaptVis", {"coco_one": ["Left", "Top"]})
    (tmp_path / "AdaptVis/data/coco_qa_one_obj.json").write_text('[[1, "a", "b"]]')
    with pytest.raises(DataError, match=r"has 2 rows, .* has 1; row i of one"):
        load_items(WHATSUP, data, partial=True)


def test_only_this_benchmarks_replies_keep_their_blanks():
    assert {name: spec.kept(" left\n") for name, spec in BENCHMARKS.items()} == {
        name: " left\n" if name == "whatsup" else "left" for name in BENCHMARKS
    }
