"""Hand-made items with the scores every protocol must give, checked once against the upstream scorers."""

import json
from pathlib import Path

import pytest

from viral.benchmarks import Item, get_benchmark, prompt, summarise
from viral.benchmarks.parsers import lenient_letter, strict_letter

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "eval_golden.json").read_text())


def choice(options: list[str], answer: str = "A", **changes: str) -> Item:
    fields = {"id": "0", "group": "count", "question": "?", "source": ""} | changes
    return Item(image=Path("x.png"), options=tuple(options), answer=answer, **fields)


@pytest.mark.parametrize("case", GOLDEN["letter_parse"], ids=lambda case: repr(case["response"]))
def test_letters_are_read_as_the_release_and_the_lenient_rule_do(case):
    item = choice(case["options"])
    strict = strict_letter(case["response"], item)
    assert {letter: strict == letter for letter in "ABCD"} == case["cvbench_viral_correct_for"]
    assert lenient_letter(case["response"], item) == case["lenient"]


@pytest.fixture(scope="module")
def cvbench_scores():
    rows = GOLDEN["cvbench2d"]["items"]
    items = [
        choice(
            row["choices"],
            row["answer"].strip("()"),
            id=row["id"],
            group=row["task"].lower(),
            source=row["source"],
        )
        for row in rows
    ]
    return items, {row["id"]: row["response"] for row in rows}


def test_cvbench_release_rule(cvbench_scores):
    expected = GOLDEN["cvbench2d"]["expected"]["viral"]
    scores = summarise(get_benchmark("cvbench"), *cvbench_scores, "paper")
    assert scores["headline"] == {
        "name": "accuracy",
        "value": pytest.approx(expected["overall_micro"], abs=1e-4),
        "maximum": 100,
    }
    for task in ("count", "relation"):
        assert [scores["groups"][task]["correct"], scores["groups"][task]["total"]] == expected[task]
    assert scores["by_source"] == pytest.approx(expected["by_source"], abs=1e-4)
    assert scores["source_mean"] == pytest.approx(expected["source_mean"], abs=1e-4)


def test_cvbench_clean_headline_is_the_source_mean(cvbench_scores):
    expected = GOLDEN["cvbench2d"]["expected"]["viral"]["source_mean"]
    scores = summarise(get_benchmark("cvbench"), *cvbench_scores, "clean")
    assert scores["headline"] == {
        "name": "source mean",
        "value": pytest.approx(expected, abs=1e-4),
        "maximum": 100,
    }


def test_cvbench_lenient_is_a_diagnostic_beside_it(cvbench_scores):
    expected = GOLDEN["cvbench2d"]["expected"]["lenient"]
    scores = summarise(get_benchmark("cvbench"), *cvbench_scores, "paper")
    assert scores["diagnostic"]["lenient"] == pytest.approx(expected["overall_micro"], abs=1e-4)
    assert scores["diagnostic"]["strict"] == pytest.approx(37.5)
    assert scores["unparsed"] == {"count": 5, "percent": pytest.approx(62.5)}


@pytest.mark.parametrize("case", GOLDEN["cvbench2d"]["items"], ids=lambda case: case["id"])
def test_cvbench_items_one_by_one(case):
    item = choice(case["choices"], case["answer"].strip("()"))
    assert (strict_letter(case["response"], item) == item.answer) == case["expected"]["viral"]
    assert (lenient_letter(case["response"], item) == item.answer) == case["expected"]["lenient"]


PROFILE_OF = {("cvbench2d", "viral"): ("cvbench", "paper"), ("pope", "llava"): ("pope", "clean")}
PROMPTS = [case for case in GOLDEN["prompts"] if (case["benchmark"], case["profile"]) in PROFILE_OF]


@pytest.mark.parametrize("case", PROMPTS, ids=lambda case: case["benchmark"])
def test_prompts_byte_for_byte(case):
    name, profile = PROFILE_OF[case["benchmark"], case["profile"]]
    asked = choice(["yes", "no"], question=next(iter(case["item"].values())))
    assert prompt(get_benchmark(name), asked, profile) == case["expected"]


def test_both_golden_prompts_were_compared():
    assert len(PROMPTS) == 2


HUMAN = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions. USER: <image>\n"
)
USER = HUMAN.replace("human", "user")


@pytest.mark.parametrize(
    ("name", "profile", "expected"),
    [
        ("pope", "paper", HUMAN + "Is there a cat in the imange? Answer with only 'yes' or 'no'. ASSISTANT:"),
        (
            "cvbench",
            "clean",
            USER + "Is there a cat in the imange?\n"
            "Answer with the option's letter from the given choices directly. ASSISTANT:",
        ),
    ],
)
def test_the_other_two_prompts_byte_for_byte(name, profile, expected):
    asked = choice(["yes", "no"], question="Is there a cat in the imange?")
    assert prompt(get_benchmark(name), asked, profile) == expected
