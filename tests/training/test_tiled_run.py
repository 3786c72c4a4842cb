"""Both stages of a student that sees tiles: cache, train, resume, hand over; and what does not fit, in one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoProcessor, LlavaNextForConditionalGeneration

from pipelines.cache_build import build_cache
from pipelines.cache_request import CacheRequest
from pipelines.training.checkpoint import latest_checkpoint, load_checkpoint
from pipelines.training.config import parse_config, with_overrides
from pipelines.training.estimate import estimate
from pipelines.training.export import export_run
from pipelines.training.folder import read_metrics
from pipelines.training.load import load_model
from pipelines.training.loop import start, steps, train
from pipelines.training.optim import trainable
from pipelines.training.setup import build_run
from tests import tiny
from tests.training.conftest import turns
from tests.training.launch import launch
from viral.data.conversation import IMAGE_TAG
from viral.data.images import normalise
from viral.data.tokens import encode_prompt
from viral.errors import CacheMismatchError, ConfigError, DataError, UnknownNameError
from viral.mllm.student import load_student
from viral.teachers import get_teacher
from viral.teachers.flops import count_flops

SHAPES = [(57, 55), (20, 90), (64, 40), (28, 28), (30, 31), (90, 25)]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Pictures of several shapes, annotations with one, two and no pictures, a student, a cache of its views."""
    root = tmp_path_factory.mktemp("tiled")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    names = [f"{index}.png" for index in range(len(SHAPES))]
    for name, size in zip(names, SHAPES, strict=True):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / "images" / name)
    entries = [
        {"id": name, "image": name, "conversations": turns(f"{IMAGE_TAG}\nHow many {name}?", name[:1])}
        for name in names
    ]
    both = turns(f"{IMAGE_TAG} and {IMAGE_TAG}: same?", "no")
    entries.append({"id": "two", "image": names[:2], "conversations": both})
    entries += [{"id": f"text{i}", "conversations": turns("Is there a cat?", "no")} for i in range(3)]
    (root / "data.json").write_text(json.dumps(entries))
    tiny.save_llava_next(root / "student")
    build(root, "cache", tiles=tiny.TILING.label)
    return root


def build(root: Path, name: str, **settings) -> Path:
    request = CacheRequest(
        vfm="micro",
        images=root / "images",
        out=root / name,
        codec="fp16",
        device="cpu",
        workers=0,
        **settings,
    )
    return build_cache(request).root


@pytest.fixture(scope="module")
def config(place):
    return parse_config(
        {
            "name": "tiled",
            "model": {"llava": str(place / "student")},
            "data": {
                "annotations": str(place / "data.json"), "images": str(place / "images"), "max_length": 400,
                "batch_size": 4, "micro_batch_size": 2, "num_workers": 0,
            },
            "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
            "align": {"teacher": "micro", "layer": 2, "head_width": 16},
            "optim": {"lr": 0.02, "projector_lr": 0.01, "max_steps": 4},
            "precision": "fp32", "gradient_checkpointing": False, "device": "cpu", "save_every": 2, "keep_last": 3,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(config, place) -> Path:
    train(config, cache=place / "cache", output=place / "run")
    return place / "run"


def first_losses(config, cache, **settings):
    run = build_run(with_overrides(config, {"optim.max_steps": 2} | settings).resolved(), cache)
    backend, _ = start(run)
    return [metric.values() for metric in steps(run, backend, 0)]


def test_it_learns_and_its_newline_too(run, place):
    metrics = read_metrics(run)
    assert len(metrics) == 4
    assert all(metric["align/cosine"] is not None for metric in metrics)
    checkpoint = latest_checkpoint(run / "checkpoints")
    learnt = load_file(checkpoint / "image_newline.safetensors")["image_newline"]
    base = LlavaNextForConditionalGeneration.from_pretrained(place / "student").model.image_newline
    assert (learnt - base).abs().max() > 1e-3


def test_a_resumed_run_is_the_same_run(run, config, place, tmp_path):
    stopped = tmp_path / "run"
    train(config, cache=place / "cache", output=stopped)
    (stopped / "checkpoints/LATEST").write_text("step-000002")
    train(config, cache=place / "cache", output=stopped, resume=True)
    for file in ("image_newline.safetensors", "adapter/adapter_model.safetensors"):
        once, twice = (load_file(folder / "checkpoints/step-000004" / file) for folder in (run, stopped))
        assert once.keys() == twice.keys()
        assert all(torch.equal(once[name], twice[name]) for name in once)
    assert [m["loss"] for m in read_metrics(run)] == [m["loss"] for m in read_metrics(stopped)]


def test_the_export_is_a_plain_llava_next_with_equal_logits(run, config, place, tmp_path):
    exported = export_run(run, tmp_path / "model")
    plain = LlavaNextForConditionalGeneration.from_pretrained(exported).eval()
    trained = build_run(config, place / "cache")
    load_checkpoint(latest_checkpoint(run / "checkpoints"), trained.module)
    trained.module.eval()
    image = Image.open(place / "images/1.png").convert("RGB")
    text = f"USER: {IMAGE_TAG}\nHow many? ASSISTANT:"
    inputs = AutoProcessor.from_pretrained(exported, backend="pil")(
        images=image, text=text, return_tensors="pt"
    )
    student = load_student(str(exported))
    block = student.image.block((image.height, image.width))
    assert inputs["input_ids"][0].tolist() == encode_prompt(text, student.tokenizer, student.image, [block])
    ours = normalise(student.look(image).views, student.pixels)
    torch.testing.assert_close(inputs["pixel_values"][0], ours, atol=1e-5, rtol=0)
    with torch.no_grad():
        mine, theirs = (model(**inputs).logits for model in (trained.module.mllm, plain))
        asked = load_model(str(run)).model(**inputs).logits
        base = LlavaNextForConditionalGeneration.from_pretrained(place / "student")(**inputs).logits
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(asked, theirs, atol=1e-4, rtol=1e-4)
    assert (theirs - base).abs().max() > 0.05


def test_online_packed_and_baseline(config, place):
    cached = first_losses(config, place / "cache")
    online = first_losses(config, None, **{"align.online": True})
    packed = first_losses(config, place / "cache", **{"data.pack": True, "lora.dropout": 0.0})
    padded = first_losses(config, place / "cache", **{"lora.dropout": 0.0})
    baseline = first_losses(config, None, **{"align.objective": "none"})
    for one, other in ((cached, online), (packed, padded)):
        for left, right in zip(one, other, strict=True):
            assert left["loss"] == pytest.approx(right["loss"], abs=1e-3)
    assert baseline[0]["loss/lm"] == cached[0]["loss/lm"]


def test_several_teachers_packed_with_logits_in_parts(config, place):
    """A cached teacher, the same one running along, and the tower, each seeing every view."""
    together = {
        "data.pack": True, "lora.dropout": 0.0, "logits_at_once": 1,
        "also.live.teacher": "micro", "also.live.layer": 1, "also.live.head_width": 16, "also.live.online": True,
        "also.own.teacher": "tower", "also.own.layer": 2, "also.own.head_width": 16,
    }  # fmt: skip
    alone = {"lora.dropout": 0.0, "align.layer": 1, "align.online": True}
    many = first_losses(config, place / "cache", **together)[0]
    one = first_losses(config, None, **alone)[0]
    assert many["loss/lm"] == pytest.approx(one["loss/lm"], abs=1e-5)
    cosines = [many[f"{name}/cosine"] for name in ("align", "live", "own")]
    assert all(np.isfinite(cosines))
    assert many["loss"] == pytest.approx(many["loss/lm"] - 0.5 * sum(cosines), abs=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"objective": "relation"},
        {"objective": "reinject_post"},
        {"objective": "align_projected"},
        {"teacher": "tower"},
    ],
)
def test_other_objectives(config, place, settings):
    cached = settings.get("objective") == "relation"
    found = first_losses(
        config, place / "cache" if cached else None, **{f"align.{k}": v for k, v in settings.items()}
    )
    assert all(np.isfinite(metric["loss"]) for metric in found)


def test_assembled_from_parts(config, place, tmp_path):
    """LLM, tower and projector of a plain LLaVA become a LLaVA-NeXT of the tower's own size."""
    student = LlavaNextForConditionalGeneration.from_pretrained(place / "student")
    from transformers import LlamaForCausalLM

    llm = LlamaForCausalLM(student.config.text_config)
    llm.save_pretrained(tmp_path / "llm")
    tiny.tokenizer().save_pretrained(tmp_path / "llm")
    student.model.vision_tower.save_pretrained(tmp_path / "tower")
    tiny.image_processor().save_pretrained(tmp_path / "tower")
    parts = {"llm": str(tmp_path / "llm"), "tower": str(tmp_path / "tower"), "projector": "random"}
    values = config.model_dump(mode="json") | {"model": parts | {"tiles": "llava-next"}}
    assembled = parse_config(values)
    train(assembled, cache=place / "cache", output=tmp_path / "run")
    plain = LlavaNextForConditionalGeneration.from_pretrained(export_run(tmp_path / "run", tmp_path / "out"))
    assert plain.config.image_grid_pinpoints == tiny.TILING.pinpoints
    with pytest.raises(ConfigError, match=r"drop model.tiles"):
        parse_config(values | {"model": {"llava": "x", "tiles": "llava-next"}})
    with pytest.raises((ConfigError, UnknownNameError), match=r"Unknown tiling 'anyres'. Known: llava-next"):
        parse_config(values | {"model": parts | {"tiles": "anyres"}})


def test_a_dry_run_knows_its_tokens(config, place):
    found = estimate(config, place / "cache", place, num_ranks=1, recipe_batch_size=4, tflops=1.0)
    assert [line for line in found.missing if "taken for one of 88 tokens" in line]
    assert found.frozen_parameters > 0
    groups = {group.name: group for group in found.trained}
    real = trainable(build_run(config, place / "cache").module)
    joins = [p.numel() for name, p in real.items() if "projector" in name or name.endswith("image_newline")]
    assert groups["projector"].parameters == sum(joins)


def test_a_teacher_that_runs_along_looks_at_every_view(config, place):
    settings = {"align.online": True, "align.weights": "random"}
    online = with_overrides(config, settings)
    found = estimate(online, None, place, num_ranks=1, recipe_batch_size=4, tflops=1.0)
    views = tiny.TILING.most_views
    assert found.sample_flops["teacher align"] == views * count_flops(get_teacher("micro"))


def test_what_does_not_fit(config, place, world, tmp_path):
    plain = build(place, "plain")
    other = build(place, "other", tiles="llava-next@56")
    with pytest.raises(CacheMismatchError, match=r"built of whole pictures.*with --tiles llava-next@28"):
        build_run(config, plain)
    with pytest.raises(
        CacheMismatchError, match=r"built of the views of --tiles llava-next@56, this student"
    ):
        build_run(config, other)
    whole = with_overrides(config, {"model.llava": str(world["llava"])})
    with pytest.raises(CacheMismatchError, match=r"sees whole ones; build a cache without --tiles"):
        build_run(whole, place / "cache")
    wrong = {
        "averaging=release": {"align.averaging": "release"},
        "image_mode=crop": {"data.image_mode": "crop"},
        "viral pretrain": {"lora": None, "align.objective": "none"},
    }
    for message, settings in wrong.items():
        with pytest.raises(ConfigError, match=f"sees tiles, which does not fit: .*{message}"):
            build_run(with_overrides(config, settings), None if "lora" in settings else place / "cache")
    ross = with_overrides(config, {"align.objective": "ross", "align.online": True, "align.teacher": None})
    with pytest.raises(ConfigError, match="objective=ross needs whole grids"):
        build_run(ross, None)


def test_too_long_and_too_thin(config, place):
    short = build_run(with_overrides(config, {"data.max_length": 100}), place / "cache")
    errors = [short.dataset[index] for index in range(7) if isinstance(short.dataset[index], Exception)]
    assert errors
    assert all(isinstance(error, DataError) for error in errors)
    assert "an image block of 88 tokens does not fit" in str(errors[0])
    dropped = build_run(
        with_overrides(config, {"data.max_length": 130, "data.on_cut_image": "drop"}), place / "cache"
    )
    two = dropped.dataset[6]
    assert (two.is_truncated, len(two.sizes)) == (True, 1)
    assert len(two.squares) == len(two.codes["align"]) == tiny.TILING.num_views(SHAPES[0])


def test_rejected_and_unknown_pictures(config, place, tmp_path):
    """The cache's rejects are left out by name; what it has never seen is named with the command that adds it."""
    images = tmp_path / "images"
    shutil.copytree(place / "images", images)
    whole = (images / "0.png").read_bytes()
    (images / "torn.png").write_bytes(whole[: len(whole) // 2])
    entries = json.loads((place / "data.json").read_text())
    entries.append({"id": "torn", "image": "torn.png", "conversations": turns(IMAGE_TAG, "a")})
    (tmp_path / "data.json").write_text(json.dumps(entries))
    build(tmp_path, "cache", tiles=tiny.TILING.label)
    here = {"data.images": str(images), "data.annotations": str(tmp_path / "data.json")}
    with pytest.raises(DataError, match=r"1 images cannot be used, first 'torn.png': not a readable image"):
        build_run(with_overrides(config, here), tmp_path / "cache")
    skipped = build_run(with_overrides(config, {**here, "data.on_bad_image": "skip"}), tmp_path / "cache")
    assert len(skipped.samples) == len(entries) - 1
    (images / "torn.png").unlink()
    Image.new("RGB", (30, 30)).save(images / "torn.png")
    with pytest.raises(CacheMismatchError, match=r"lacks 1 of 7.*--vfm micro --tiles llava-next@28"):
        build_run(with_overrides(config, here), place / "cache")


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"backend": "ddp"}, {"backend": "deepspeed", "zero_stage": 3}])
def test_two_ranks(config, place, tmp_path, settings):
    """Also with text-only samples on one of them; ranks agree with one process to the rounding of their sums."""
    one = with_overrides(config, {"lora.dropout": 0.0, "data.micro_batch_size": 1})
    train(one, cache=place / "cache", output=tmp_path / "one")
    launch(with_overrides(one, settings), place / "cache", tmp_path / "two").succeed()
    alone, together = read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two")
    assert [m["loss"] for m in together] == pytest.approx([m["loss"] for m in alone], abs=1e-4)
    ours, theirs = (
        load_file(tmp_path / run / "checkpoints/step-000004/image_newline.safetensors")["image_newline"]
        for run in ("one", "two")
    )
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)
