"""Questions: each answer is what an independent reading of the question gives, each name means one thing."""

from collections import Counter

import pytest

from tests.microworld.solver import chosen, solve
from viral.microworld.descriptions import dialogue, global_caption, listing
from viral.microworld.prompts import LETTERS, choices_of, put
from viral.microworld.questions import ASKERS
from viral.microworld.scenes import COLOURS, sample_scene, scene_rng


@pytest.mark.parametrize("skill", ASKERS)
def test_answers_agree_with_an_independent_solver(skill: str) -> None:
    answers = Counter()
    for index in range(250):
        rng = scene_rng(5, index)
        scene = sample_scene(rng)
        question = ASKERS[skill](scene, rng)
        if question is not None:
            assert solve(question.text, scene) == question.answer, (question, scene)
            assert question.answer not in question.wrong
            answers[question.answer] += 1
    assert sum(answers.values()) > 100
    assert max(answers.values()) < 0.65 * sum(answers.values())


def test_letters_point_at_the_right_option() -> None:
    letters = Counter()
    for index in range(400):
        rng = scene_rng(6, index)
        question = ASKERS[("count", "colour")[index % 2]](sample_scene(rng), rng)
        if question is None:
            continue
        prompt, answer = put(question, rng)
        if answer in LETTERS:
            assert chosen(prompt, answer) == question.answer
            letters[answer] += 1
    assert set(letters) == set(LETTERS)


def test_options_are_always_listed_in_the_same_order() -> None:
    orders = {"count": set(), "relation": set(), "colour": set()}
    for index in range(200):
        rng = scene_rng(10, index)
        scene = sample_scene(rng)
        for skill, seen in orders.items():
            if question := ASKERS[skill](scene, rng):
                seen.add(choices_of(question).options)
    assert orders["count"] == {("1", "2", "3", "4", "5")}
    assert orders["relation"] == {("left", "right"), ("above", "below")}
    assert orders["colour"] == {tuple(COLOURS)}


def test_no_two_turns_ask_about_the_same_things() -> None:
    for index in range(50):
        rng = scene_rng(8, index)
        turns = dialogue(sample_scene(rng), rng, 5)
        assert len({question for question, _ in turns}) == len(turns)


def test_a_global_caption_tells_neither_number_nor_place_nor_binding() -> None:
    for index in range(100):
        rng = scene_rng(9, index)
        scene = sample_scene(rng)
        words = global_caption(scene, rng).replace(",", "").split()
        assert not set(words) & {
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "left",
            "right",
            "above",
            "below",
        }
        named = set(words) & set(COLOURS)
        assert named in (
            set(),
            {thing.colour for thing in scene.things},
        )  # all together or none, after the shapes
        assert not named or words.index("in") < min(words.index(colour) for colour in named)
        assert scene.ground in listing(scene)
