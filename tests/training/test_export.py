"""A run handed over: plain transformers loads it, with the logits of the trained module (acceptance check 11)."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoProcessor, LlavaForConditionalGeneration

from pipelines.training.checkpoint import latest_checkpoint, load_checkpoint
from pipelines.training.config import with_overrides
from pipelines.training.export import export_run
from pipelines.training.loop import train
from pipelines.training.setup import build_run
from viral.data.images import normalise, to_square
from viral.data.tokens import encode_prompt
from viral.errors import ConfigError, WeightsError
from viral.mllm.student import load_student


@pytest.fixture(scope="module")
def run(config, world, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("export") / "run"
    train(with_overrides(config, {"optim.lr": 0.02}), cache=world["cache"], output=output)
    return output


@pytest.fixture(scope="module")
def exported(run) -> Path:
    return export_run(run, run.parent / "model")


def test_merged_logits_equal_the_trained_modules(config, world, run, exported):
    trained = build_run(with_overrides(config, {"optim.lr": 0.02}), world["cache"])
    load_checkpoint(latest_checkpoint(run / "checkpoints"), trained.module)
    trained.module.eval()
    plain = LlavaForConditionalGeneration.from_pretrained(exported).eval()
    inputs = {
        "input_ids": torch.tensor([[1, 50, *[3] * 16, 60, 61]]),
        "pixel_values": torch.randn(1, 3, 28, 28),
    }
    with torch.no_grad():
        mine, theirs = (model(**inputs).logits for model in (trained.module.mllm, plain))
        base = LlavaForConditionalGeneration.from_pretrained(world["llava"]).eval()(**inputs).logits
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    assert (theirs - base).abs().max() > 0.05


def test_neither_teacher_nor_head_nor_adapter_is_in_it(exported):
    names = load_file(exported / "model.safetensors")
    assert {name.split(".")[0] for name in names} == {
        "language_model",
        "multi_modal_projector",
        "vision_tower",
    }
    assert not [name for name in names if "lora" in name or "modules_to_save" in name]


def test_its_processor_feeds_what_training_fed(exported):
    image = Image.radial_gradient("L").resize((50, 30)).convert("RGB")
    text = "USER: <image>\nHow many? ASSISTANT:"
    inputs = AutoProcessor.from_pretrained(exported, backend="pil")(
        images=image, text=text, return_tensors="pt"
    )
    student = load_student(str(exported))
    ours = normalise(to_square(image, student.pixels.size), student.pixels)
    torch.testing.assert_close(inputs["pixel_values"][0], ours, atol=1e-5, rtol=0)
    assert int((inputs["input_ids"] == student.image.id).sum()) == student.image.count
    assert inputs["input_ids"][0].tolist() == encode_prompt(text, student.tokenizer, student.image)


def test_older_checkpoint_and_mistakes(run, exported, tmp_path: Path):
    export_run(run, tmp_path / "older", step=4)
    with pytest.raises(ConfigError, match="Saved: step-000004, step-000006"):
        export_run(run, tmp_path / "new", step=3)
    with pytest.raises(ConfigError, match="not empty"):
        export_run(run, exported)
    with pytest.raises(ConfigError, match="No configuration"):
        export_run(tmp_path / "nothing", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_damaged_adapter(run, tmp_path: Path):
    shutil.copytree(run, tmp_path / "run")
    latest = latest_checkpoint(tmp_path / "run" / "checkpoints")
    (latest / "adapter" / "adapter_model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(WeightsError, match=r"is damaged: adapter.adapter_model.safetensors changed"):
        export_run(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()
