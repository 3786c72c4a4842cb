"""The shipped parts: complete, small, documented, loadable by their own libraries."""

from pathlib import Path

import pytest
import torch

from viral.data.conversation import TEMPLATES, with_image
from viral.data.tokens import encode_prompt
from viral.microworld.models import GRID, LLM_WIDTH
from viral.microworld.parts import PROJECTOR_FILE, TEACHER_FILE, WEIGHTS, parts
from viral.microworld.prompts import CV_BENCH_SUFFIX
from viral.microworld.teacher import MICRO_TEACHER
from viral.mllm.assemble import assemble_student
from viral.mllm.student import Student
from viral.teachers.load import load_teacher
from viral.teachers.registry import TEACHERS

MAX_BYTES = 7_000_000


@pytest.fixture(scope="module")
def student() -> Student:
    paths = parts()
    return assemble_student(paths["llm"], paths["tower"], paths["projector"])


def test_files_are_complete_and_small() -> None:
    files = {str(path.relative_to(WEIGHTS)) for path in WEIGHTS.rglob("*") if path.is_file()}
    assert files == {
        "README.md",
        "llm/config.json",
        "llm/generation_config.json",
        "llm/model.safetensors",
        "llm/tokenizer.json",
        "llm/tokenizer_config.json",
        "tower/config.json",
        "tower/model.safetensors",
        "tower/preprocessor_config.json",
        PROJECTOR_FILE,
        TEACHER_FILE,
    }
    assert sum((WEIGHTS / file).stat().st_size for file in files) < MAX_BYTES


def test_paths_exist() -> None:
    assert all(Path(path).exists() for path in parts().values())


def test_the_student_loads_strictly_in_fp32(student: Student) -> None:
    assert {parameter.dtype for parameter in student.model.parameters()} == {torch.float32}
    assert student.image.count == GRID * GRID
    assert student.model.config.text_config.hidden_size == LLM_WIDTH


def test_configs_ask_for_fp32_although_files_are_fp16() -> None:
    from transformers import AutoModelForCausalLM, CLIPVisionModel

    assert AutoModelForCausalLM.from_pretrained(parts()["llm"]).dtype == torch.float32
    assert CLIPVisionModel.from_pretrained(parts()["tower"]).dtype == torch.float32


def test_the_teacher_loads_strictly_and_sees_the_students_grid(student: Student) -> None:
    assert TEACHERS["micro"] is MICRO_TEACHER
    teacher = load_teacher(MICRO_TEACHER)
    assert teacher.fingerprint()["weights"] == "pretrained"
    assert MICRO_TEACHER.grid == (GRID, GRID)
    assert student.pixels.size == MICRO_TEACHER.image_size


def test_the_tokenizer_round_trips_and_knows_the_image(student: Student) -> None:
    tokenizer = student.tokenizer
    assert tokenizer.convert_tokens_to_ids("<image>") == student.image.id
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<s>", "</s>", "<pad>")
    texts = [
        "Wie viele Sterne? \u00e4\u00f6 \u2605",
        *(t.prompt("Is there a star?" + CV_BENCH_SUFFIX) for t in TEMPLATES.values()),
    ]
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_a_prompt_holds_one_bos_and_the_image_block(student: Student) -> None:
    prompt = TEMPLATES["vicuna_v1"].prompt(with_image("Is there a star in the image?"))
    ids = encode_prompt(prompt, student.tokenizer, student.image)
    assert ids.count(student.tokenizer.bos_token_id) == 1
    assert ids.count(student.image.id) == student.image.count


def test_the_card_says_how_they_were_made() -> None:
    card = (WEIGHTS / "README.md").read_text()
    for word in ("python -m viral.microworld.pretrain", "seed", "loss", "probe", "fp16", "licence"):
        assert word in card.lower() or word in card, word
