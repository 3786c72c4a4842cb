"""Runs on parts of each family: what comes out of them, and what does not fit together."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel, LlavaForConditionalGeneration

from pipelines.training.checkpoint import latest_checkpoint, load_checkpoint
from pipelines.training.config import TrainConfig, with_overrides
from pipelines.training.export import export_run
from pipelines.training.loop import train
from pipelines.training.setup import build_run
from tests import families
from viral.errors import CacheMismatchError, ConfigError, WeightsError

PAIRS = [("llama", "clip"), ("qwen2", "clip"), ("qwen2-tied", "siglip")]


@pytest.fixture(scope="module", params=PAIRS, ids="+".join)
def aligned(request, config, world, tmp_path_factory) -> tuple[TrainConfig, Path]:
    """A short run with LoRA and alignment, rates high enough to change every weight."""
    llm, tower = request.param
    root = tmp_path_factory.mktemp("run")
    made = with_overrides(
        families.with_parts(config, root, llm, tower), {"optim.lr": 0.02, "optim.max_steps": 2}
    )
    train(made, cache=world["cache"], output=root / "run")
    return made, root / "run"


def logits(model, image_token: int, image_size: int) -> torch.Tensor:
    pixels = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[5, 50, *[image_token] * 16, 60, 61]])
    core = model.get_base_model().model if hasattr(model, "get_base_model") else model.model
    with torch.no_grad():
        embeds = core.get_input_embeddings()(ids.clamp(max=60))
        embeds[ids == image_token] = core.get_image_features(pixels).pooler_output[0].to(embeds)
        return model(inputs_embeds=embeds).logits


def test_an_export_has_the_logits_of_the_trained_module(aligned, world, tmp_path: Path):
    config, run = aligned
    trained = build_run(config, world["cache"])
    size, image_token = trained.dataset.encoding.pixels.size, trained.module.image_token_id
    before = logits(trained.module.mllm.eval(), image_token, size)
    load_checkpoint(latest_checkpoint(run / "checkpoints"), trained.module)
    mine = logits(trained.module.mllm.eval(), image_token, size)
    exported = export_run(run, tmp_path / "model")
    plain = LlavaForConditionalGeneration.from_pretrained(exported).eval()
    theirs = logits(plain, plain.config.image_token_id, size)[..., : mine.shape[-1]]
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    assert (mine - before).abs().max() > 0.02
    assert not [name for name in load_file(exported / "model.safetensors") if "lora" in name]


def test_a_run_of_one_base_does_not_load_onto_another(aligned, tmp_path: Path):
    config, run = aligned
    for name in ("config.yaml", "checkpoints"):
        (shutil.copytree if (run / name).is_dir() else shutil.copy)(run / name, tmp_path / name)
    other = families.save_llm(tmp_path / "other", "llama", width=40)
    projector = families.save_projector(tmp_path / "projector.bin", outputs=40)
    text = (tmp_path / "config.yaml").read_text()
    text = text.replace(config.model.llm, other).replace(config.model.projector, projector)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(WeightsError, match=r"does not load onto this base: .*size mismatch") as caught:
        export_run(tmp_path, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_squares_of_another_kind_than_the_caches_are_refused(config, world, tmp_path: Path):
    cropped = with_overrides(config, {"data.image_mode": "crop"})
    with pytest.raises(CacheMismatchError, match=r"built with square=pad.*set data\.image_mode=pad"):
        train(cropped, cache=world["cache"], output=tmp_path / "run")


def unknown_llm(parts: dict[str, str]) -> str:
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=10)).save_pretrained(parts["llm"])
    return r"llm is a gpt2 model, .* Known: llama, e\.g\. lmsys/vicuna-7b-v1\.5; qwen2"


def unknown_tower(parts: dict[str, str]) -> str:
    shutil.rmtree(parts["tower"])
    families.save_llm(Path(parts["tower"]), "llama")
    return r"tower is a llama model, .* Known: clip, e\.g\. openai/clip.*; siglip, e\.g\. google/siglip2"


def no_config(parts: dict[str, str]) -> str:
    (Path(parts["tower"]) / "config.json").unlink()
    return "Cannot load the vision tower from "


def broken_config(parts: dict[str, str]) -> str:
    (Path(parts["llm"]) / "config.json").write_text("{")
    return "Cannot load the language model from "


def odd_config(parts: dict[str, str]) -> str:
    path = Path(parts["llm"]) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_size": "wide"}))
    return "Cannot load the language model from .*hidden_size"


def no_tokenizer(parts: dict[str, str]) -> str:
    for path in Path(parts["llm"]).glob("tokenizer*"):
        path.unlink()
    return "Cannot load the tokenizer from "


def truncated_llm(parts: dict[str, str]) -> str:
    return truncate(parts["llm"], "Cannot load the Auto")


def truncated_tower(parts: dict[str, str]) -> str:
    return truncate(parts["tower"], "Cannot load the CLIPVisionModel")


def truncate(folder: str, message: str) -> str:
    path = Path(folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return message


def wider_tower(parts: dict[str, str]) -> str:
    shutil.rmtree(parts["tower"])
    families.save_tower(Path(parts["tower"]), "clip", width=64)
    return r"linear_1\.weight has shape \[48, 32\], expected \[48, 64\]"


def projector_with_more(parts: dict[str, str]) -> str:
    state = torch.load(parts["projector"])
    torch.save(state | {"model.mm_projector.4.weight": torch.zeros(2)}, parts["projector"])
    return r"mm_projector\.4\.weight is unexpected"


def truncated_projector(parts: dict[str, str]) -> str:
    path = Path(parts["projector"])
    path.write_bytes(path.read_bytes()[:200])
    return "cannot be read as weights"


@pytest.mark.parametrize(
    "spoil",
    [
        unknown_llm, unknown_tower, no_config, broken_config, odd_config, no_tokenizer, truncated_llm,
        truncated_tower, wider_tower, projector_with_more, truncated_projector,
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_one_line(config, world, tmp_path: Path, spoil):
    made = families.with_parts(config, tmp_path, "llama", "clip")
    message = spoil({name: getattr(made.model, name) for name in ("llm", "tower", "projector")})
    with pytest.raises(WeightsError, match=message) as caught:
        train(made, cache=world["cache"], output=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_layer_that_this_llm_has_not(config, world, tmp_path: Path):
    made = with_overrides(families.with_parts(config, tmp_path, "qwen2", "clip"), {"align.layer": 16})
    with pytest.raises(ConfigError, match=r"align: layer=16 is out of range; this LLM has layers 0 .* to 3"):
        train(made, cache=world["cache"], output=tmp_path / "run")


def test_a_tower_without_preprocessor_gets_the_statistics_of_its_kind(config, tmp_path: Path, caplog):
    made = with_overrides(
        families.with_parts(config, tmp_path, "llama", "siglip"), {"align.objective": "none"}
    )
    (Path(made.model.tower) / "preprocessor_config.json").unlink()
    pixels = build_run(made, None).dataset.encoding.pixels
    assert (pixels.size, pixels.mean, pixels.std) == (families.SIGLIP_SIZE, (0.5,) * 3, (0.5,) * 3)
    assert "pixels get the statistics of siglip" in caplog.text
