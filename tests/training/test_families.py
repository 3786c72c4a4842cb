"""Both stages with parts of each family: what is trained, what comes out, and what does not fit together."""

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
from pipelines.training.folder import read_metrics
from pipelines.training.loop import train
from pipelines.training.optim import trainable
from pipelines.training.setup import build_run
from tests import families
from viral.errors import CacheMismatchError, ConfigError, WeightsError
from viral.mllm.lora import PROJECTOR

PAIRS = [("llama", "clip"), ("qwen2", "clip"), ("qwen2-tied", "siglip")]


@pytest.fixture(scope="module", params=PAIRS, ids="+".join)
def aligned(request, config, world, tmp_path_factory) -> tuple[TrainConfig, Path]:
    """A short run with LoRA and alignment, rates high enough to change every weight."""
    llm, tower = request.param
    root = tmp_path_factory.mktemp("run")
    made = with_overrides(with_parts(config, root, llm, tower), {"optim.lr": 0.02, "optim.max_steps": 2})
    train(made, cache=world["cache"], output=root / "run")
    return made, root / "run"


def with_parts(config: TrainConfig, root: Path, llm: str, tower: str) -> TrainConfig:
    return with_overrides(
        config,
        {
            "model.llava": None,
            "model.llm": families.save_llm(root / "llm", llm),
            "model.tower": families.save_tower(root / "tower", tower),
            "model.projector": families.save_projector(root / "mm_projector.bin"),
            "data.template": families.TEMPLATES[llm.split("-")[0]],
        },
    )


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
    load_checkpoint(latest_checkpoint(run / "checkpoints"), trained.module, trained.optimizer)
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


@pytest.fixture(scope="module")
def stage_one(config, tmp_path_factory) -> tuple[TrainConfig, Path]:
    root = tmp_path_factory.mktemp("pretrain")
    made = with_overrides(
        with_parts(config, root, "qwen2", "siglip"),
        {
            "model.projector": "random", "lora": None, "align.objective": "none", "data.template": "plain",
            "data.image_mode": "crop", "optim.projector_lr": 0.01,
        },
    )  # fmt: skip
    train(made, cache=None, output=root / "run")
    return made, root / "run"


def test_stage_one_trains_the_projector_and_nothing_else(stage_one):
    config, run = stage_one
    fresh = build_run(config, None)
    assert all(PROJECTOR in name for name in trainable(fresh.module))
    assert len(trainable(fresh.module)) == 4
    (group,) = fresh.optimizer.param_groups
    assert (len(group["params"]), group["base_lr"]) == (4, 0.01)
    start = {
        name: tensor.clone() for name, tensor in fresh.module.core.multi_modal_projector.named_parameters()
    }
    frozen = {n: p.clone() for n, p in fresh.module.named_parameters() if PROJECTOR not in n}
    checkpoint = latest_checkpoint(run / "checkpoints")
    assert load_checkpoint(checkpoint, fresh.module, fresh.optimizer) == 6
    trained = load_file(checkpoint / "projector.safetensors")
    assert {name for name in trained if not torch.equal(trained[name], start[name])} == start.keys()
    assert all(torch.equal(frozen[n], p) for n, p in fresh.module.named_parameters() if PROJECTOR not in n)
    assert fresh.dataset.encoding.image_mode == "crop"
    assert read_metrics(run)[0]["lr"] < 0.01 == max(line["lr"] for line in read_metrics(run))


def test_stage_one_resumes_exactly(stage_one, tmp_path: Path):
    config, run = stage_one
    shutil.copytree(run, tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "LATEST").write_text("step-000004")
    train(config, cache=None, output=tmp_path / "run", resume=True)
    first, second = (
        load_file(root / "checkpoints" / "step-000006" / "projector.safetensors")
        for root in (run, tmp_path / "run")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    losses = [[line["loss"] for line in read_metrics(root)] for root in (run, tmp_path / "run")]
    assert losses[0] == losses[1]


def test_stage_two_starts_from_stage_ones_projector(stage_one, config, world):
    one, run = stage_one
    projector = latest_checkpoint(run / "checkpoints") / "projector.safetensors"
    for source in (projector, projector.parent):
        two = with_overrides(one, {"model.projector": str(source), "lora": {"rank": 4, "alpha": 8}})
        started = build_run(with_overrides(two, {"data.template": "qwen_2"}), None)
        weight = started.module.core.multi_modal_projector.linear_1.weight
        assert torch.equal(weight, load_file(projector)["linear_1.weight"])
        assert [group["base_lr"] for group in started.optimizer.param_groups] == [1e-3, 0.01]


def test_stage_one_is_exported_too(stage_one, tmp_path: Path):
    _, run = stage_one
    exported = export_run(run, tmp_path / "model")
    plain = LlavaForConditionalGeneration.from_pretrained(exported).eval()
    trained = load_file(latest_checkpoint(run / "checkpoints") / "projector.safetensors")
    assert torch.equal(plain.model.multi_modal_projector.linear_2.weight, trained["linear_2.weight"])
    assert not (exported / "chat_template.jinja").exists()
    assert json.loads((exported / "processor_config.json").read_text())["image_processor"]["do_pad"] is False


def test_a_random_projector_is_that_of_the_runs_seed(stage_one):
    config, _ = stage_one
    weights = [
        build_run(
            with_overrides(config, {"seed": seed}), None
        ).module.core.multi_modal_projector.linear_1.weight
        for seed in (1, 1, 2)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


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
    made = with_parts(config, tmp_path, "llama", "clip")
    message = spoil({name: getattr(made.model, name) for name in ("llm", "tower", "projector")})
    with pytest.raises(WeightsError, match=message) as caught:
        train(made, cache=world["cache"], output=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_layer_that_this_llm_has_not(config, world, tmp_path: Path):
    made = with_overrides(with_parts(config, tmp_path, "qwen2", "clip"), {"align.layer": 16})
    with pytest.raises(ConfigError, match=r"align\.layer=16 is out of range; this LLM has layers 0 .* to 3"):
        train(made, cache=world["cache"], output=tmp_path / "run")


def test_a_tower_without_preprocessor_gets_the_statistics_of_its_kind(config, tmp_path: Path, caplog):
    made = with_overrides(with_parts(config, tmp_path, "llama", "siglip"), {"align.objective": "none"})
    (Path(made.model.tower) / "preprocessor_config.json").unlink()
    pixels = build_run(made, None).dataset.encoding.pixels
    assert (pixels.size, pixels.mean, pixels.std) == (families.SIGLIP_SIZE, (0.5,) * 3, (0.5,) * 3)
    assert "pixels get the statistics of siglip" in caplog.text
