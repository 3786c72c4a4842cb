"""Batched greedy decoding against one prompt at a time, against transformers, and against no cache at all."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import GenerationConfig

from tests import tiny
from tests.mllm.test_aligned import make
from viral.data.conversation import get_template
from viral.data.images import CLIP_MEAN, CLIP_STD, PixelSpec, decode_image, normalise
from viral.data.tokens import ImageTokens, encode_prompt
from viral.errors import ConfigError, DataError, ImageError
from viral.mllm import sight as sight_module
from viral.mllm.generate import Question, end_tokens, generate, greedy, left_pad, longest_first
from viral.mllm.sight import Sight
from viral.mllm.student import Student, load_student

NEW = 12
WORDS = [
    "how",
    "many",
    "red",
    "circles",
    "are",
    "there",
    "left",
    "of",
    "the",
    "cat",
    "and",
    "what",
    "is",
    "it",
    "doing",
    "in",
    "the",
    "picture",
    "today",
]


@pytest.fixture(scope="module")
def student(llava_dir: Path) -> Student:
    student = load_student(str(llava_dir))
    with (
        torch.no_grad()
    ):  # fresh weights attend to everything alike, and would forgive wrong positions and masks
        for name, weight in student.model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight", "o_proj.weight", "v_proj.weight")):
                weight.mul_(8)
    return student


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> list[Question]:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(3):
        pixels = rng.integers(0, 256, (40, 30 + 20 * index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    template = get_template("llava_v1")
    return [
        Question(
            str(index),
            template.prompt("<image>\n" + " ".join(WORDS[: 1 + (7 * index) % len(WORDS)])),
            folder / f"{index % 3}.png",
        )
        for index in range(11)
    ]


def replies(student, questions, batch_size, **changes) -> dict[str, str]:
    wanted = {"max_new_tokens": NEW, "image_mode": "pad"} | changes
    return dict(generate(student, questions, batch_size=batch_size, **wanted))


def tokens_of(student, questions, batch: list[int]) -> list[list[int]]:
    chosen = [questions[index] for index in batch]
    prompts = [encode_prompt(question.prompt, student.tokenizer, student.image) for question in chosen]
    images = [question.image for question in chosen]
    with Sight(student, "pad", images) as sight:
        return greedy(student, prompts, sight.features(images), NEW)


def pixels_of(student, question) -> torch.Tensor:
    return normalise(student.look(decode_image(question.image)).views, student.pixels)


def test_a_batch_gives_the_tokens_of_single_prompts(student, questions):
    everything = list(range(len(questions)))
    single = [tokens_of(student, questions, [index])[0] for index in everything]
    assert len({len(encode_prompt(q.prompt, student.tokenizer, student.image)) for q in questions}) > 5
    assert len({tuple(tokens) for tokens in single}) > 1
    assert tokens_of(student, questions, everything) == single


def test_generation_is_that_of_transformers(student, questions):
    for index, question in enumerate(questions[:4]):
        ids = torch.tensor([encode_prompt(question.prompt, student.tokenizer, student.image)])
        pixels = pixels_of(student, question)
        out = student.model.generate(
            input_ids=ids,
            pixel_values=pixels,
            generation_config=GenerationConfig(
                do_sample=False, max_new_tokens=NEW, eos_token_id=2, pad_token_id=0
            ),
        )
        expected = [token for token in out[0, ids.shape[1] :].tolist() if token != 2]
        assert tokens_of(student, questions, [index])[0] == expected


def test_the_cache_changes_nothing(student, questions):
    question = questions[0]
    ids = encode_prompt(question.prompt, student.tokenizer, student.image)
    pixels = pixels_of(student, question)
    expected: list[int] = []
    with torch.inference_mode():
        while len(expected) < NEW:
            input_ids = torch.tensor([ids + expected])
            logits = student.model(input_ids=input_ids, pixel_values=pixels, use_cache=False).logits
            token = int(logits[0, -1].argmax())
            if token == student.tokenizer.eos_token_id:
                break
            expected.append(token)
    assert len(expected) > 3
    assert tokens_of(student, questions, [0])[0] == expected


@pytest.mark.parametrize("batch_size", [1, 2, 4, 64])
def test_replies_do_not_depend_on_the_batch_size(student, questions, batch_size):
    assert replies(student, questions, batch_size) == replies(student, questions[::-1], 3)


def test_the_image_and_the_square_mode_matter(student, questions):
    oblong = [replace(question, image=questions[2].image) for question in questions]
    assert replies(student, oblong, 8) != replies(student, questions, 8)
    first, second = (student.look(decode_image(questions[2].image), mode).views for mode in ("pad", "crop"))
    assert not np.array_equal(first, second)


def test_a_reply_ends_at_the_end_token_even_if_others_go_on(student, questions):
    free = tokens_of(student, questions, [0, 5])
    assert len(free[0]) == NEW
    stop = free[0][3]
    student_stops = replace(student, tokenizer=tiny.tokenizer())
    student_stops.tokenizer.eos_token = student.tokenizer.convert_ids_to_tokens(stop)
    stopped = tokens_of(student_stops, questions, [0, 5])
    assert stopped[0] == free[0][: free[0].index(stop)]
    assert stopped[1] == (free[1][: free[1].index(stop)] if stop in free[1] else free[1])


def test_end_tokens_are_those_of_tokenizer_and_model(student):
    assert end_tokens(student).tolist() == [2]


def test_replies_hold_new_text_only(student, questions):
    for reply in replies(student, questions, 4).values():
        assert "USER" not in reply
        assert "<image>" not in reply


def test_left_padding_aligns_the_ends():
    ids, mask = left_pad([[5, 6, 7], [8]], torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [8, 8, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_the_order_holds_everything_once_with_little_padding(questions):
    lengths = [3, 9, 3, 8, 1, 9, 2, 2, 1, 8, 3]
    order = longest_first(questions, lengths)
    assert sorted(order) == list(range(len(questions)))
    assert [lengths[index] for index in order] == sorted(lengths, reverse=True)
    equal = [str(questions[index].image) for index in order if lengths[index] == 3]
    assert equal == sorted(equal)


class Looks:
    """Counts the pictures that a student's tower is shown."""

    def __init__(self, student) -> None:
        self.count = 0
        tower = student.model.model.vision_tower
        self.hook = tower.register_forward_hook(lambda _m, args, _out: self._add(len(args[0])))

    def _add(self, number: int) -> None:
        self.count += number


@pytest.mark.parametrize("batch_size", [1, 3, 11])
def test_the_tower_looks_at_each_picture_once_and_forgets_it_after_its_last_question(
    student, questions, batch_size, monkeypatch
):
    kept = []
    answered = Sight.answered
    monkeypatch.setattr(
        Sight, "answered", lambda self, images: (answered(self, images), kept.append(len(self._kept)))
    )
    looks = Looks(student)
    replies(student, questions, batch_size)
    looks.hook.remove()
    assert looks.count == 3
    assert kept[-1] == 0
    assert max(kept) <= 3


def test_without_room_pictures_are_looked_at_again_to_the_same_replies(student, questions, monkeypatch):
    expected = replies(student, questions, 2)
    monkeypatch.setattr(sight_module, "KEPT_BYTES", 0)
    looks = Looks(student)
    assert replies(student, questions, 2) == expected
    looks.hook.remove()
    assert looks.count > 3


def test_a_batch_too_large_for_the_memory_is_halved_until_it_fits(student, questions, caplog):
    def refuse(_module, _args, kwargs):
        if len(kwargs["input_ids"]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    expected = replies(student, questions, 4)
    hook = student.model.register_forward_pre_hook(refuse, with_kwargs=True)
    assert replies(student, questions, 11) == expected
    hook.remove()
    assert [record.getMessage() for record in caplog.records] == [
        "11 questions at a time do not fit into the memory of cpu; going on with 5",
        "5 questions at a time do not fit into the memory of cpu; going on with 2",
    ]


def test_a_memory_too_small_for_one_question_ends_in_one_line(student, questions):
    def refuse(_module, _args):
        raise torch.OutOfMemoryError("CUDA out of memory.\nDetails")

    hook = student.model.model.language_model.register_forward_pre_hook(refuse)
    with pytest.raises(
        ConfigError, match=r"memory of cpu does not hold one question \(CUDA out of memory.\)"
    ):
        replies(student, questions, 4)
    hook.remove()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["none", "reinject_post image", "reinject_post all", "reinject_pre image"]),
    asked=st.lists(st.tuples(st.integers(0, 2), st.text("abcdef ?", max_size=40)), min_size=2, max_size=7),
    batch_size=st.integers(2, 5),
    mode=st.sampled_from(["pad", "crop"]),
)
def test_any_batch_gives_the_replies_of_single_questions(questions, kind, asked, batch_size, mode):
    student = reinjecting(kind)
    some = [
        Question(str(index), f"USER: <image>\n{text} ASSISTANT:", questions[image].image)
        for index, (image, text) in enumerate(asked)
    ]
    single = {}
    for question in some:
        single |= replies(student, [question], 1, image_mode=mode)
    assert replies(student, some, batch_size, image_mode=mode) == single


@cache
def reinjecting(kind: str) -> Student:
    """A random student without objective, or with one that changes hidden states."""
    model = tiny.llava(seed=3)
    if kind != "none":
        objective, scope = kind.split()
        make(objective, scope=scope, layers=(2,), adapter_init="random").attach(model.model)
    pixels = PixelSpec(size=tiny.SIZE, mean=CLIP_MEAN, std=CLIP_STD)
    return Student(model, tiny.tokenizer(), pixels, ImageTokens(id=3, count=tiny.GRID**2))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("USER: no picture ASSISTANT:", "holds 0 image tags for one image"),
        ("USER: <image> and <image> ASSISTANT:", "holds 2 image tags"),
        ("USER: <image> " + "cat " * 600 + "ASSISTANT:", "more than the 512 positions of the model"),
    ],
)
def test_prompts_that_cannot_be_answered(student, questions, prompt, message):
    with pytest.raises(DataError, match=message):
        replies(student, [replace(questions[0], prompt=prompt)], 1)


def test_an_unreadable_image_is_named(student, questions, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"broken\.jpg: not a readable image"):
        replies(student, [replace(questions[0], image=broken)], 1)
