"""POPE's confusion matrix, its two headlines, and the published numbers."""

from pathlib import Path

import pytest

from viral.benchmarks import Item, get_benchmark, summarise

POPE = get_benchmark("pope")


def items_of(split: str, labels: str) -> list[Item]:
    """One item per character: y or n."""
    return [
        Item(
            id=f"{split}/{index}", group=split, image=Path("x"), question="?",
            answer="yes" if label == "y" else "no", options=("yes", "no"),
        )
        for index, label in enumerate(labels)
    ]  # fmt: skip


def test_the_published_llava_confusion_matrix():
    # LLaVA-1.5-7B on the 2,910-item random file: TP 1183, FP 31, TN 1379, FN 317 -> accuracy 88.04, F1 87.18.
    items = items_of("random", "y" * 1500 + "n" * 1410)
    said = ["yes"] * 1183 + ["no"] * 317 + ["yes"] * 31 + ["no"] * 1379
    scores = summarise(
        POPE, items, {item.id: reply for item, reply in zip(items, said, strict=True)}, "clean"
    )
    split = scores["splits"]["random"]
    assert [split[cell] for cell in ("tp", "fp", "tn", "fn")] == [1183, 31, 1379, 317]
    assert split["accuracy"] == pytest.approx(88.04, abs=0.005)
    assert split["f1"] == pytest.approx(87.18, abs=0.005)
    assert split["precision"] == pytest.approx(100 * 1183 / 1214)
    assert split["recall"] == pytest.approx(100 * 1183 / 1500)
    assert split["yes_ratio"] == pytest.approx(100 * 1214 / 2910)


def test_headlines_are_means_of_splits_not_pooled():
    items = items_of("random", "yyyy") + items_of("popular", "nn") + items_of("adversarial", "yn")
    replies = {item.id: "yes" for item in items}
    paper = summarise(POPE, items, replies, "paper")
    assert paper["headline"] == {
        "name": "mean accuracy",
        "value": pytest.approx((100 + 0) / 2),
        "maximum": 100,
    }
    assert paper["overall"]["accuracy"] == pytest.approx(100 * 5 / 8)
    clean = summarise(POPE, items, replies, "clean")
    assert clean["headline"] == {
        "name": "mean F1",
        "value": pytest.approx((100 + 0 + 200 / 3) / 3),
        "maximum": 100,
    }


def test_an_unread_reply_is_wrong_and_counted_but_never_a_no():
    items = items_of("random", "yn")
    scores = summarise(POPE, items, {"random/0": "maybe", "random/1": "maybe"}, "paper")
    assert scores["unparsed"] == {"count": 2, "percent": 100.0}
    split = scores["splits"]["random"]
    assert [split[cell] for cell in ("tp", "fp", "tn", "fn")] == [0, 0, 0, 0]
    assert split["accuracy"] == split["recall"] == split["f1"] == split["yes_ratio"] == 0.0
    assert split["precision"] is None


def test_the_official_rule_turns_silence_into_yes():
    items = items_of("random", "yn")
    scores = summarise(POPE, items, {"random/0": "", "random/1": ""}, "clean")
    assert scores["unparsed"]["count"] == 0
    assert scores["splits"]["random"]["yes_ratio"] == 100.0


def test_yes_ratio_is_a_property_of_the_replies_not_of_the_labels():
    items = items_of("random", "ynyn")
    for said, ratio in (("yes", 100.0), ("no", 0.0)):
        scores = summarise(POPE, items, dict.fromkeys((item.id for item in items), said), "paper")
        assert scores["splits"]["random"]["yes_ratio"] == ratio
        assert scores["groups"]["random"]["accuracy"] == scores["groups"]["random"]["chance"] == 50.0


def test_a_headline_over_splits_needs_them_all():
    items = items_of("random", "yn") + items_of("popular", "yn")
    scores = summarise(POPE, items, {"random/0": "yes"}, "paper", partial=True)
    assert scores["headline"]["value"] is None
    assert scores["scored"] == 1
    assert scores["items"] == 4


@pytest.mark.parametrize(
    ("rule", "f1", "f1_of_read"),
    [
        ("viral", 200 * 2 / 7, 200 * 2 / 6),
        ("official", 200 * 3 / 8, 200 * 3 / 8),
        ("lmms_eval", 200 * 1 / 5, 200 * 1 / 3),
        ("vlmevalkit", 200 * 2 / 6, 200 * 2 / 5),
    ],
)
def test_the_tools_f1(rule, f1, f1_of_read):
    """Yes-items: yes, "Yes, one.", maybe. No-items: "Incorrect.", no., "yes"."""
    items = items_of("random", "yyynnn")
    said = ["yes", "Yes, one.", "maybe", "Incorrect.", "no.", "yes"]
    scores = summarise(POPE, items, {i.id: reply for i, reply in zip(items, said, strict=True)}, "paper")
    split = scores["rules"][rule]["splits"]["random"]
    assert (split["f1"], split["f1_of_read"]) == (pytest.approx(f1), pytest.approx(f1_of_read))
    assert split["label_yes_ratio"] == 50.0


def test_a_mean_of_unequal_splits_is_not_the_pooled_accuracy():
    items = items_of("random", "yynnn") + items_of("popular", "yyyynn")
    scores = summarise(POPE, items, {item.id: "yes" for item in items}, "paper")
    assert scores["headline"]["value"] == pytest.approx((40 + 200 / 3) / 2)
    assert scores["pooled_accuracy_random_popular"] == pytest.approx(100 * 6 / 11)
