"""Hand-made items with the scores every protocol must give, checked once against the upstream scorers.

They are written as files in the benchmarks' layouts and scored by `viral score`, as a user would.
"""

import json
from pathlib import Path

import pytest

from tests.benchmarks import worlds
from viral.benchmarks import Item, get_benchmark, load_items, prompt
from viral.benchmarks.parsers import lenient_letter

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "eval_golden.json").read_text())


def close(value):
    return pytest.approx(value, abs=1e-4)


@pytest.fixture(scope="module")
def cvbench(tmp_path_factory):
    """Scores by profile."""
    data = tmp_path_factory.mktemp("cvbench")
    rows = [
        {
            "idx": row["id"],
            "task": row["task"],
            "source": row["source"],
            "choices": row["choices"],
            "answer": row["answer"],
            "prompt": "?",
            "filename": "x.png",
        }
        for row in GOLDEN["cvbench2d"]["items"]
    ]
    worlds.write_lines(data / "cvbench/test_2d.jsonl", rows)
    replies = worlds.write_replies(
        data / "r.jsonl", {row["id"]: row["response"] for row in GOLDEN["cvbench2d"]["items"]}
    )
    return {
        profile: worlds.viral_score("cvbench2d", data, replies, "--partial", "--profile", profile)
        for profile in ("paper", "clean")
    }


@pytest.mark.parametrize("rule", ["viral", "lenient"])
def test_cvbench(cvbench, rule):
    expected, found = GOLDEN["cvbench2d"]["expected"][rule], cvbench["paper"]["rules"][rule]
    assert found["overall_micro"] == close(expected["overall_micro"])
    assert found["count"] == expected["count"]
    assert found["relation"] == expected["relation"]
    assert found["by_source"] == close(expected["by_source"])
    assert found["source_mean"] == close(expected["source_mean"])


def test_cvbench_headlines(cvbench):
    assert cvbench["paper"]["headline"] == {"name": "accuracy", "value": close(37.5), "maximum": 100}
    assert cvbench["clean"]["headline"] == {"name": "source mean", "value": close(36.666667), "maximum": 100}
    assert cvbench["paper"]["diagnostic"] == {"strict": close(37.5), "lenient": close(87.5)}
    assert cvbench["clean"]["diagnostic"]["lenient"] == close(90.0)
    assert cvbench["paper"]["unparsed"] == {"count": 5, "percent": close(62.5)}


@pytest.mark.parametrize("case", GOLDEN["cvbench2d"]["items"], ids=lambda case: case["id"])
def test_cvbench_items_one_by_one(case):
    asked = choice(case["choices"], case["answer"].strip("()"))
    rules = get_benchmark("cvbench").rules
    for rule, right in case["expected"].items():
        assert (rules[rule](case["response"], asked) == asked.answer) == right


def choice(options: list[str], answer: str = "A") -> Item:
    return Item(id="0", group="x", image=Path("x"), question="?", options=tuple(options), answer=answer)


@pytest.mark.parametrize("case", GOLDEN["letter_parse"], ids=lambda case: repr(case["response"]))
def test_letters(case):
    cvbench, mmstar = get_benchmark("cvbench").rules, get_benchmark("mmstar").rules

    def correct(rule, letter):
        return rule(case["response"], choice(case["options"], letter)) == letter

    letters = "ABCD"
    assert {x: correct(cvbench["viral"], x) for x in letters} == case["cvbench_viral_correct_for"]
    assert {x: correct(mmstar["official"], x) for x in letters} == case["mmstar_official_correct_for"]
    assert mmstar["viral"](case["response"], choice(case["options"])) == case["mmstar_viral"]
    assert lenient_letter(case["response"], choice(case["options"])) == case["lenient"]


@pytest.mark.parametrize("case", GOLDEN["letter_parse"], ids=lambda case: repr(case["response"]))
def test_letters_scored_from_a_table(case, tmp_path):
    """One reply to four items whose gold letters are A to D."""
    rows = [row | {"category": "math"} for row in worlds.mmstar_rows(1)[:4]]
    worlds.write_parquet(tmp_path / "MMStar/mmstar.parquet", rows)
    replies = worlds.write_replies(tmp_path / "r.jsonl", {str(i): case["response"] for i in range(4)})
    scores = worlds.viral_score("MMStar", tmp_path, replies, "--partial", "--profile", "clean")
    right = sum(case["mmstar_official_correct_for"].values())
    assert scores["overall"]["correct"] == right
    assert scores["rules"]["viral"]["accuracy"] == (25.0 if case["mmstar_viral"] else 0.0)
    assert scores["rules"]["lenient"]["accuracy"] == (25.0 if case["lenient"] else 0.0)


SPLITS = {"one": "coco_one", "two": "coco_two"}


@pytest.fixture(scope="module")
def whatsup(tmp_path_factory):
    """Scores of the twelve items in the profile of each rule."""
    data, cases = tmp_path_factory.mktemp("whatsup"), GOLDEN["whatsup_coco"]
    golds = {name: [case["gold"] for case in cases[short]["items"]] for short, name in SPLITS.items()}
    worlds.write_whatsup(data / "AdaptVis", golds)
    said = {
        f"{short}/{row}": case["response"]
        for short in SPLITS
        for row, case in enumerate(cases[short]["items"])
    }
    replies = worlds.write_replies(data / "r.jsonl", said)
    return {
        rule: worlds.viral_score("whats_up", data, replies, "--partial", "--profile", profile)
        for rule, profile in (("viral", "paper"), ("adaptvis", "clean"), ("strict", "paper"))
    }


@pytest.mark.parametrize("rule", ["viral", "adaptvis", "strict"])
def test_whatsup(whatsup, rule):
    found, expected = whatsup[rule]["rules"][rule], GOLDEN["whatsup_coco"]
    for short, name in SPLITS.items():
        assert found["splits"][name] == close(expected[short]["expected"][rule])
    means = expected["expected_average"][rule]
    assert found["mean_of_splits"] == close(means["mean_of_splits"])
    assert found["pooled"] == close(means["WRONG_pooled"])
    headline = (
        whatsup[rule]["diagnostic"]["strict"] if rule == "strict" else whatsup[rule]["headline"]["value"]
    )
    assert headline == close(means["mean_of_splits"])


@pytest.mark.parametrize("short", SPLITS)
def test_whatsup_items_one_by_one(short):
    rules = get_benchmark("whatsup").rules
    for case in GOLDEN["whatsup_coco"][short]["items"]:
        asked = choice(case["choices"], case["gold"].lower())
        found = {rule: rules[rule](case["response"], asked) == asked.answer for rule in case["expected"]}
        assert found == case["expected"], case["id"]


@pytest.fixture(scope="module")
def mme(tmp_path_factory):
    data, cases = tmp_path_factory.mktemp("mme"), GOLDEN["mme"]["items"]
    images = {
        subtask: sorted({case["image"] for case in cases if case["category"] == subtask})
        for subtask in ("existence", "code_reasoning")
    }
    worlds.write_mme(data / "MME_Benchmark_release_version", images)
    said = {
        f"{case['category']}/{case['image']}/{['Yes', 'No'].index(case['answer'])}": case["response"]
        for case in cases
    }
    replies = worlds.write_replies(data / "r.jsonl", said)
    return worlds.viral_score("mme", data, replies, "--partial")


@pytest.mark.parametrize("rule", ["official", "lmms_eval"])
def test_mme(mme, rule):
    found, expected = mme["rules"][rule], GOLDEN["mme"]["expected"][rule]
    for subtask, scores in expected["subtasks"].items():
        assert found["subtasks"][subtask] == close(scores)
    for part in ("perception", "cognition", "total"):
        assert found[part] == close(expected[part])


def test_mme_headline(mme):
    assert mme["headline"] == {"name": "perception + cognition", "value": close(175.0), "maximum": 2800}


def test_mme_replies_one_by_one():
    rules = get_benchmark("mme").rules
    for case in GOLDEN["mme"]["items"]:
        for rule, read in case["expected_pred"].items():
            assert (rules[rule](case["response"], choice(["yes", "no"])) or "other") == read, case


@pytest.mark.parametrize("constant", ["Yes", "No"])
def test_a_constant_answer_on_the_whole_mme(tmp_path, constant):
    benchmark = get_benchmark("mme")
    images = {
        name: [f"{n:04d}.png" for n in range(sizes[0] // 2)] for name, sizes in benchmark.counts.items()
    }
    data = worlds.write_mme(tmp_path / "MME_Benchmark_release_version", images, pictures=False)
    said = {
        f"{name}/{picture}/{number}": constant
        for name, pictures in images.items()
        for picture in pictures
        for number in (0, 1)
    }
    assert len(said) == 2374
    scores = worlds.viral_score("mme", data, worlds.write_replies(tmp_path / "r.jsonl", said))
    expected = GOLDEN["mme"]["constant_answer"]
    assert {part: scores[part] for part in ("perception", "cognition", "total")} == {
        part: expected[part] for part in ("perception", "cognition", "total")
    }
    assert all(entry == {"acc": 50, "acc_plus": 0, "score": 50} for entry in scores["subtasks"].values())
    assert scores["published_size"]


def written(case: dict, data: Path) -> str:
    """The golden prompt's item on disk; returns the name of its benchmark."""
    item = case["item"]
    if case["benchmark"] == "cvbench2d":
        row = worlds.cvbench_rows(1, 0)[0] | item | {"choices": ["2", "0"]}
        worlds.write_lines(data / "cvbench/test_2d.jsonl", [row])
    elif case["benchmark"] == "mmvp":
        worlds.write_mmvp(data / "MMVP", [["1", item["question"], item["options"], "(a)"]])
    elif case["benchmark"] == "whatsup_one":
        worlds.write_whatsup(data / "AdaptVis", {"coco_one": ["Left"]}, item["question"])
    else:
        row = worlds.pope_rows(1, "random")[0] | item
        worlds.write_lines(data / "POPE/pope_random.jsonl", [row])
    return case["benchmark"].removesuffix("_one")


PROFILE_OF = {"viral": "paper", "llava": "clean"}


@pytest.mark.parametrize("case", GOLDEN["prompts"], ids=lambda case: case["benchmark"])
def test_prompts_byte_for_byte(case, tmp_path):
    benchmark, profile = get_benchmark(written(case, tmp_path)), PROFILE_OF[case["profile"]]
    (item,) = load_items(benchmark, tmp_path, profile, partial=True)
    assert prompt(benchmark, item, profile) == case["expected"]


HUMAN = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions. USER: <image>\n"
)
USER = HUMAN.replace("human", "user")
DIRECTLY = "\nAnswer with the option's letter from the given choices directly. ASSISTANT:"
REASONING = (
    "\nBase your answer on reasoning. Your final answer must be only the single capital letter corresponding to "
    "the correct choice. ASSISTANT:"
)
WORD = "\nAnswer the question using a single word or phrase. ASSISTANT:"
STAR = f"What is shown in 0?\n{worlds.OPTIONS}"
WHERE = "Where is the drum in the photo? Answer with left, right, top or bottom."


@pytest.mark.parametrize(
    ("name", "profile", "expected"),
    [
        ("cvbench", "clean", USER + worlds.cvbench_rows(1, 0)[0]["prompt"] + DIRECTLY),
        ("mmvp", "clean", USER + "Is lantern 0 lit?\nA. Lit\nB. Unlit" + DIRECTLY),
        ("whatsup", "clean", USER + WHERE + " ASSISTANT:"),
        (
            "pope",
            "paper",
            HUMAN + "Is there a drum in the imange? Answer with only 'yes' or 'no'. ASSISTANT:",
        ),
        ("mmstar", "paper", HUMAN + STAR + REASONING),
        ("mmstar", "clean", USER + STAR + DIRECTLY),
        ("mme", "paper", HUMAN + "Is there a drum in this image?" + WORD),
        ("mme", "clean", USER + "Is there a drum in this image?" + WORD),
    ],
)
def test_the_other_prompts_byte_for_byte(name, profile, expected, tmp_path):
    benchmark = get_benchmark(name)
    item = load_items(benchmark, worlds.WRITERS[name](tmp_path), profile)[0]
    assert prompt(benchmark, item, profile) == expected


def test_the_second_coco_split_asks_for_its_own_words(tmp_path):
    items = load_items(get_benchmark("whatsup"), worlds.whatsup(tmp_path))
    endings = {item.group: prompt(get_benchmark("whatsup"), item, "paper")[len(HUMAN) :] for item in items}
    assert endings["coco_two"] == (
        "Where is the drum in relation to the kite?Answer with a single word from left, right, above, or below.\n "
        "ASSISTANT:"
    )
    assert (
        "?Answer with a single word from left, right, on, or under.\n ASSISTANT:" in endings["controlled_a"]
    )


@pytest.mark.parametrize("blanks", ["", " "])
def test_two_blanks_before_mmes_ending_leave_one(tmp_path, blanks):
    folder = tmp_path / "MME_Benchmark_release_version/existence"
    folder.mkdir(parents=True)
    ending = f"{blanks} Please answer yes or no."
    (folder / "1.txt").write_text(f"Is it red?{ending}\tYes\nIs it blue?{ending}\tNo\n")
    item = load_items(get_benchmark("mme"), tmp_path, partial=True)[0]
    assert prompt(get_benchmark("mme"), item, "clean") == USER + "Is it red?" + blanks + WORD
