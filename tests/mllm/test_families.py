"""Every LLM family with every tower: assembled, fed, exported, loaded by plain transformers, asked a question."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForCausalLM,
    AutoProcessor,
    CLIPModel,
    CLIPVisionModel,
    LlavaForConditionalGeneration,
    SiglipModel,
    SiglipVisionModel,
)

from tests import families
from viral.data.conversation import get_template, with_image
from viral.data.images import mean_fill, normalise, to_square
from viral.data.tokens import encode_prompt
from viral.mllm.assemble import assemble_student
from viral.mllm.export import save_student
from viral.mllm.generate import Question, generate
from viral.mllm.load import load_tokenizer
from viral.mllm.student import Student, load_student
from viral.mllm.towers import patch_features

PAIRS = [*product(families.LLMS, ("clip", "siglip")), ("llama", "clip-whole"), ("qwen2", "siglip-whole")]
TOWER_CLASSES = {
    "clip": CLIPVisionModel, "clip-whole": CLIPModel, "siglip": SiglipVisionModel, "siglip-whole": SiglipModel
}  # fmt: skip


@dataclass
class Case:
    """One pair of families: where its parts lie, the student made of them, and where it was exported to."""

    llm: str
    tower: str
    template: str
    kind: str
    tied: bool
    student: Student
    folder: Path
    text_logits: torch.Tensor
    image_logits: torch.Tensor


@pytest.fixture(scope="module", params=PAIRS, ids="+".join)
def case(request, tmp_path_factory) -> Case:
    llm_kind, tower_kind = request.param
    root = tmp_path_factory.mktemp("family")
    llm = families.save_llm(root / "llm", llm_kind)
    tower = families.save_tower(root / "tower", tower_kind)
    student = assemble_student(llm, tower, families.save_projector(root / "mm_projector.bin"))
    template = families.TEMPLATES[llm_kind.split("-")[0]]
    logits = text_logits(student.model), image_logits(student.model, student)
    save_student(student, root / "out", get_template(template))
    return Case(llm, tower, template, tower_kind, llm_kind.endswith("tied"), student, root / "out", *logits)


def text_logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 50, 60, 61]])).logits


def image_logits(model, student: Student) -> torch.Tensor:
    """Logits of the text tokens around an image, whatever the id of the image token is."""
    pixels = torch.randn(1, 3, *2 * [student.pixels.size], generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[5, 50, *[model.config.image_token_id] * student.image.count, 60, 61]])
    # An id beyond the vocabulary cannot be looked up, so the embeddings are joined here, as training does.
    core = model.model
    with torch.no_grad():
        embeds = core.get_input_embeddings()(ids.clamp(max=60))
        visual = core.get_image_features(pixels).pooler_output[0]
        embeds[ids == model.config.image_token_id] = visual
        return model(inputs_embeds=embeds).logits


def test_text_alone_is_the_language_models_own(case):
    source = AutoModelForCausalLM.from_pretrained(case.llm).eval()
    assert torch.equal(case.text_logits, text_logits(source))


def test_the_vocabulary_stays_that_of_the_language_model(case):
    """No added token, no resized matrix; an exported model has its <image> token, and resizes only if it must."""
    tokenizer, source = load_tokenizer(case.llm), AutoModelForCausalLM.from_pretrained(case.llm)
    student = assemble_student(case.llm, case.tower, "random")
    assert student.model.get_input_embeddings().weight.shape == source.get_input_embeddings().weight.shape
    assert len(student.tokenizer) == len(tokenizer)
    assert student.image.id == source.config.vocab_size
    assert (tokenizer("no")["input_ids"][0] == tokenizer.bos_token_id) == (case.template == "vicuna_v1")
    assert tokenizer.pad_token_id is not None
    assert len(load_tokenizer(str(case.folder))) == len(tokenizer) + 1
    rows = case.student.model.get_input_embeddings().num_embeddings
    assert rows == max(source.config.vocab_size, len(tokenizer) + 1)


def test_the_visual_features_are_the_patches_of_the_last_block_but_one(case):
    """Computed here block by block, so that neither layer nor class token is taken on trust."""
    whole = TOWER_CLASSES[case.kind].from_pretrained(case.tower).eval()
    tower = getattr(whole, "vision_model", whole)
    pixels = torch.randn(2, 3, *2 * [case.student.pixels.size])
    with torch.no_grad():
        hidden = tower.embeddings(pixels)
        hidden = tower.pre_layrnorm(hidden) if case.kind.startswith("clip") else hidden
        for block in tower.encoder.layers[:-1]:
            hidden = block(hidden, attention_mask=None)
    expected = hidden[:, 1:] if case.kind.startswith("clip") else hidden
    mine = patch_features(case.student.model.model, pixels)
    assert mine.shape == (2, case.student.image.count, families.TOWER_WIDTH)
    torch.testing.assert_close(mine, expected)


def test_plain_transformers_loads_the_export_with_the_same_logits(case):
    plain, report = LlavaForConditionalGeneration.from_pretrained(case.folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    plain.eval()
    rows = case.text_logits.shape[-1]
    assert torch.equal(text_logits(plain)[..., :rows], case.text_logits)
    assert torch.equal(image_logits(plain, case.student)[..., :rows], case.image_logits)
    shared = plain.lm_head.weight.data_ptr() == plain.get_input_embeddings().weight.data_ptr()
    assert shared == case.tied


def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_its_processor_makes_the_tokens_and_pixels_of_training(case):
    processor = AutoProcessor.from_pretrained(case.folder, backend="pil")
    text = get_template(case.template).prompt("<image>\nHow many circles?")
    inputs = processor(images=picture(), text=text, return_tensors="pt")
    student = case.student
    assert inputs["input_ids"][0].tolist() == encode_prompt(text, student.tokenizer, student.image)
    fill = mean_fill(student.pixels.mean)
    assert fill == ((127, 127, 127) if case.kind.startswith("siglip") else (122, 116, 104))
    ours = normalise(to_square(picture(), student.pixels.size, "pad", fill), student.pixels)
    torch.testing.assert_close(inputs["pixel_values"][0], ours, atol=1e-5, rtol=0)
    plain = LlavaForConditionalGeneration.from_pretrained(case.folder).eval()
    with torch.no_grad():
        assert plain(**inputs).logits.isfinite().all()


def test_its_chat_template_speaks_as_the_training_template(case):
    processor = AutoProcessor.from_pretrained(case.folder, backend="pil")
    template = get_template(case.template)
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "How many?"}, {"type": "image"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "3"}]},
        {"role": "user", "content": "Is it?"},
    ]
    expected = (
        template.question(with_image("How many? <image>"), first=True)
        + template.answer("3")
        + template.question("Is it?", first=False)
    )
    assert processor.apply_chat_template(messages, add_generation_prompt=True) == expected
    assert processor.tokenizer.apply_chat_template(messages[2:], tokenize=False) == template.prompt("Is it?")


def test_it_answers_a_question_and_stops_at_the_templates_end(case, tmp_path: Path):
    picture().save(tmp_path / "picture.png")
    student = load_student(str(case.folder))
    template = get_template(case.template)
    question = Question("q", template.prompt("<image>\nHow many?"), tmp_path / "picture.png")
    ((_, reply),) = generate(student, [question], max_new_tokens=8, image_mode="pad", batch_size=1)
    plain = LlavaForConditionalGeneration.from_pretrained(case.folder).eval()
    inputs = AutoProcessor.from_pretrained(case.folder, backend="pil")(
        images=picture(), text=question.prompt, return_tensors="pt"
    )
    tokens = plain.generate(**inputs, do_sample=False, max_new_tokens=8)[0, inputs["input_ids"].shape[1] :]
    assert reply == student.tokenizer.decode(tokens, skip_special_tokens=True)
    ends = plain.generation_config.eos_token_id
    assert student.tokenizer.convert_tokens_to_ids(template.end) in (
        ends if isinstance(ends, list) else [ends]
    )


def test_older_names_of_the_towers_weights_load_too(case):
    """The hub's LLaVA folders were saved when the vision model was wrapped once more."""
    families.rename_weights(case.folder, "vision_tower.", "vision_tower.vision_model.")
    try:
        model = load_student(str(case.folder)).model
    finally:
        families.rename_weights(case.folder, "vision_tower.vision_model.", "vision_tower.")
    rows = case.image_logits.shape[-1]
    assert torch.equal(image_logits(model, case.student)[..., :rows], case.image_logits)
