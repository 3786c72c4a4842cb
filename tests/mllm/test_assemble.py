"""Parts joined give the model they came from; every way they may not fit is one line."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlavaForConditionalGeneration

from tests import families, tiny
from viral.data.conversation import get_template
from viral.data.tokens import encode_dialogue
from viral.errors import WeightsError
from viral.mllm.assemble import add_image_token, assemble_student
from viral.mllm.student import load_student


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> dict[str, str]:
    """The tiny LLaVA taken apart into the folders a user starts from."""
    from transformers import LlamaForCausalLM

    folder = tmp_path_factory.mktemp("parts")
    whole = tiny.llava()
    llm = LlamaForCausalLM(whole.config.text_config)
    llm.model, llm.lm_head = whole.model.language_model, whole.lm_head
    llm.save_pretrained(folder / "llm")
    tiny.tokenizer().save_pretrained(folder / "llm")
    whole.model.vision_tower.save_pretrained(folder / "tower")
    tiny.image_processor().save_pretrained(folder / "tower")
    save_file(whole.model.multi_modal_projector.state_dict(), folder / "projector.safetensors")
    return {
        "llm": str(folder / "llm"),
        "tower": str(folder / "tower"),
        "projector": str(folder / "projector.safetensors"),
    }


def logits(model: LlavaForConditionalGeneration) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor([[1, 50, *[3] * 16, 60, 61]])
    pixels = torch.randn(1, 3, tiny.SIZE, tiny.SIZE, generator=generator)
    with torch.no_grad():
        return model(input_ids=ids, pixel_values=pixels).logits


def test_parts_give_back_the_whole(parts):
    student = assemble_student(**parts)
    assert torch.equal(logits(student.model), logits(tiny.llava()))
    assert student.image.count == 16
    assert student.image.id == 3
    assert not any(p.is_meta for p in student.model.parameters())
    assert not any(b.is_meta for b in student.model.buffers())


def test_llavas_own_projector_file_is_read(parts, tmp_path: Path):
    projector = tiny.llava().model.multi_modal_projector.state_dict()
    names = {"linear_1": "model.mm_projector.0", "linear_2": "model.mm_projector.2"}
    renamed = {f"{names[key.split('.')[0]]}.{key.split('.')[1]}": tensor for key, tensor in projector.items()}
    torch.save(renamed, tmp_path / "mm_projector.bin")
    student = assemble_student(parts["llm"], parts["tower"], str(tmp_path))
    assert torch.equal(logits(student.model), logits(tiny.llava()))


def test_saved_and_loaded_by_plain_transformers(parts, tmp_path: Path):
    assemble_student(**parts).model.save_pretrained(tmp_path)
    assert torch.equal(
        logits(LlavaForConditionalGeneration.from_pretrained(tmp_path).eval()), logits(tiny.llava())
    )


def test_a_vocabulary_without_image_token_keeps_its_logits(parts):
    student = assemble_student(**parts)
    student.tokenizer = tiny.tokenizer_without_image()
    before = student.model.lm_head.weight.detach().clone()
    add_image_token(student)
    assert (
        student.image.id
        == student.model.config.image_token_id
        == student.tokenizer.convert_tokens_to_ids("<image>")
    )
    assert torch.equal(student.model.lm_head.weight[: len(before)], before)


@pytest.mark.parametrize("missing", ["llm", "tower", "projector"])
def test_a_missing_part_is_named(parts, missing):
    with pytest.raises(WeightsError, match="/nowhere"):
        assemble_student(**{**parts, missing: "/nowhere"})


def test_a_projector_of_another_width(parts, tmp_path: Path):
    save_file({"linear_1.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(
        WeightsError,
        match=r"linear_1\.bias is missing.*linear_1\.weight has shape \[2, 2\], expected \[48, 32\]",
    ) as caught:
        assemble_student(parts["llm"], parts["tower"], str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_projector_that_the_hub_does_not_have(parts, monkeypatch, tmp_path: Path):
    """The repository is known, the file in it is not, and nobody may ask the hub."""
    (tmp_path / "models--somebody--llava" / "snapshots").mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        WeightsError, match=r"No projector at 'somebody/llava': its mm_projector\.bin"
    ) as caught:
        assemble_student(parts["llm"], parts["tower"], "somebody/llava")
    assert "\n" not in str(caught.value)


def test_damaged_and_empty_projector(parts, tmp_path: Path):
    with pytest.raises(
        WeightsError, match=r"expected projector.safetensors, model.safetensors or mm_projector.bin"
    ):
        assemble_student(parts["llm"], parts["tower"], str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        assemble_student(parts["llm"], parts["tower"], str(tmp_path))


def test_a_missing_weight_is_an_error_not_random(llava_dir: Path, tmp_path: Path):
    from safetensors.torch import load_file

    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((llava_dir / name).read_bytes())
    tensors = load_file(llava_dir / "model.safetensors")
    dropped = sorted(tensors)[5]
    save_file(
        {k: t for k, t in tensors.items() if k != dropped}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(WeightsError, match="1 missing keys"):
        load_student(str(tmp_path))


@pytest.mark.parametrize("part", ["whole", "tower"])
def test_a_preprocessor_of_another_tower_is_refused(llava_dir: Path, parts, tmp_path: Path, part):
    for file in (llava_dir if part == "whole" else Path(parts["tower"])).iterdir():
        (tmp_path / file.name).symlink_to(file)
    path = tmp_path / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    path.unlink()
    path.write_text(json.dumps(settings | {"size": {"shortest_edge": 35}}))
    load = load_student if part == "whole" else lambda tower: assemble_student(**parts | {"tower": tower})
    with pytest.raises(WeightsError, match=r"squares of 35 pixels, its vision tower takes 28"):
        load(str(tmp_path))


def test_vicuna_as_the_hub_holds_it(tmp_path: Path):
    """Old buffers among its weights are no error; its tokenizer starts a text, pads with <unk>, stops at </s>."""
    pytest.importorskip("google.protobuf")
    llm = families.save_llm(tmp_path / "llm", "llama")
    tower = families.save_tower(tmp_path / "tower", "clip")
    before = assemble_student(llm, tower, "random").model
    families.make_like_vicunas(Path(llm))
    student = assemble_student(llm, tower, "random")
    assert torch.equal(student.model.lm_head.weight, before.lm_head.weight)
    tokenizer, image = student.tokenizer, student.image
    assert (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id) == (1, 0, 2)
    ids, labels = encode_dialogue([("<image>\nIs it?", "a cat")], tokenizer, get_template("plain"), image)
    assert ids[: 1 + image.count] == [1] + [image.id] * image.count
    assert tokenizer.convert_ids_to_tokens(ids[-1]) == "\n"
    assert labels[1 + image.count :] == ids[1 + image.count :]
    assert student.model.generation_config.eos_token_id == 2
    add_image_token(student)
    assert tokenizer("<image>", add_special_tokens=False)["input_ids"] == [student.image.id]


def test_random_projector_only_when_asked(parts):
    student = assemble_student(parts["llm"], parts["tower"], "random")
    assert not torch.equal(logits(student.model), logits(tiny.llava()))
