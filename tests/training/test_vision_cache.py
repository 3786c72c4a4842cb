"""Training from the tower's cached features is training from pixels, with neither tower nor images."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from cli.main import app
from pipelines.cache_build import build_cache
from pipelines.cache_request import CacheRequest
from pipelines.training.config import with_overrides, write_config
from pipelines.training.folder import read_metrics
from pipelines.training.loop import start, train, train_step
from pipelines.training.optim import trainable
from pipelines.training.run import Command, train_command
from pipelines.training.setup import build_run
from stores import load_plan, open_store
from tests import families, tiny
from tests.training.conftest import write_annotations, write_store
from tests.training.launch import launch
from viral.errors import CacheMismatchError, ConfigError, DataError
from viral.mllm.towers import read_tower, tower_sizes
from viral.teachers import get_teacher
from viral.teachers.registry import TEACHERS

NAMES = [f"{index:02d}.png" for index in range(12)]


def build(out: Path, images: Path, weights: object, **changes) -> Path:
    settings = {"vfm": "tower", "codec": "bf16", "dtype": "bfloat16"} | changes
    weights = None if weights is None else str(weights)
    request = CacheRequest(weights=weights, images=images, out=out, device="cpu", workers=0, **settings)
    build_cache(request)
    return out


@pytest.fixture(scope="module")
def tower(world, tmp_path_factory) -> Path:
    """Of the tiny student, exact for bf16."""
    return build(tmp_path_factory.mktemp("tower") / "cache", world["images"], world["llava"])


@pytest.fixture(scope="module")
def tower_fp32(world, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tower") / "cache"
    return build(folder, world["images"], world["llava"], codec="fp16", dtype="float32")


def one_step(config, caches, vision: Path | None):
    """Losses and gradients of the first step."""
    run = build_run(config.resolved(), caches, vision_cache=vision)
    backend, _ = start(run)
    found = {}
    backend.step = lambda: found.update(
        {name: parameter.grad.clone() for name, parameter in trainable(run.module).items()}
    )
    metrics = train_step(run, backend, iter(run.loader(0)), 0)
    return (metrics.loss, metrics.lm, metrics.terms), found


OBJECTIVES = {
    "align": {},
    "own features": {"align.teacher": "tower"},
    "projected": {"align.objective": "align_projected"},
    "relation": {"align.objective": "relation"},
    "none": {"align.objective": "none"},
    "packed": {"data.pack": True},
}


@pytest.mark.parametrize("changes", OBJECTIVES.values(), ids=OBJECTIVES)
def test_losses_and_gradients_are_those_of_pixels_to_the_bit(config, world, tower, changes):
    config = with_overrides(config, {"precision": "bf16", **changes})
    (losses, gradients), (expected, wanted) = (
        one_step(config, world["cache"], vision) for vision in (tower, None)
    )
    assert losses == expected
    assert gradients.keys() == wanted.keys()
    assert all(torch.equal(gradients[name], wanted[name]) for name in wanted)


def test_rounded_features_are_announced_and_near(config, world, tower_fp32, caplog):
    (losses, _), (expected, _) = (one_step(config, world["cache"], vision) for vision in (tower_fp32, None))
    assert losses[0] == pytest.approx(expected[0], abs=1e-3)
    assert "float32 features in codec fp16 are rounded" in caplog.text


def test_neither_tower_nor_images_are_needed(config, world, tower, tmp_path: Path):
    """A whole run, its resumption and its export, with the folder of images gone."""
    from pipelines.training.export import export_run

    bf16 = with_overrides(config, {"precision": "bf16", "data.num_workers": 1, "lora.dropout": 0.1})
    train(bf16, cache=world["cache"], output=tmp_path / "pixels")
    gone = with_overrides(bf16, {"data.images": str(tmp_path / "nowhere")})
    (tmp_path / "config.yaml").write_text(json.dumps(gone.model_dump(mode="json")))
    first = Command(settings=[], config=tmp_path / "config.yaml", output=tmp_path / "run")
    caches = ([str(world["cache"])], tower)
    train_command(first, *caches)
    blind, seeing = (read_metrics(tmp_path / run) for run in ("run", "pixels"))
    for name in ("loss", "loss/lm", "align/cosine", "tokens"):
        assert [line[name] for line in blind] == [line[name] for line in seeing]
    recorded = json.loads((tmp_path / "run/inputs.json").read_text())["vision cache"]
    assert recorded["fingerprint"]["teacher"] == "tower"
    assert export_run(tmp_path / "run", tmp_path / "model").is_dir()
    with pytest.raises(ConfigError, match="started with other inputs: vision cache changed"):
        train(bf16, cache=world["cache"], vision_cache=tower, output=tmp_path / "pixels", resume=True)
    (tmp_path / "run/checkpoints/LATEST").write_text("step-000004")
    train_command(Command(settings=[], output=tmp_path / "run", resume=True), *caches)
    assert [line["loss"] for line in read_metrics(tmp_path / "run")] == [line["loss"] for line in blind]


def test_the_tower_is_not_in_memory(config, world, tower):
    config = with_overrides(config, {"precision": "bf16"}).resolved()
    blind, seeing = (build_run(config, world["cache"], vision_cache=vision) for vision in (tower, None))
    sizes = [sum(p.numel() for p in run.module.parameters()) for run in (blind, seeing)]
    assert sizes[1] - sizes[0] == sum(p.numel() for p in tiny.llava().model.vision_tower.parameters())
    assert not any("vision_tower" in name for name, _ in blind.module.named_parameters())


@pytest.mark.parametrize("kind", families.TOWERS)
def test_every_kind_of_tower_in_parts_and_in_a_llava(config, world, tmp_path: Path, kind):
    from pipelines.training.modules import build_student

    parts = families.with_parts(config, tmp_path, "llama", kind)
    parts = with_overrides(parts, {"precision": "bf16", "align.objective": "none"})
    vision = build(tmp_path / "vision", world["images"], parts.model.tower)
    (losses, gradients), (expected, wanted) = (one_step(parts, None, cache) for cache in (vision, None))
    assert losses == expected
    assert all(torch.equal(gradients[name], wanted[name]) for name in wanted)
    student = build_student(parts.model, device="cpu", dtype="float32", seed=0)
    student.model.save_pretrained(tmp_path / "llava")
    shutil.copy(Path(parts.model.tower) / "preprocessor_config.json", tmp_path / "llava")
    again = build(tmp_path / "again", world["images"], tmp_path / "llava")
    first, second = (open_store(path).manifest.spec.fingerprint for path in (vision, again))
    assert first == second


def test_clip_l_336_is_the_same_computation(config, world, tmp_path: Path, monkeypatch):
    parts = families.with_parts(config, tmp_path, "llama", "clip")
    parts = with_overrides(parts, {"precision": "bf16", "align.objective": "none"})
    small = read_tower(parts.model.tower)
    entry = replace(
        get_teacher("clip-l-336"), kwargs=tower_sizes(small.config), dim=small.config.hidden_size,
        image_size=tiny.SIZE, patch_size=tiny.PATCH,
    )  # fmt: skip
    monkeypatch.setitem(TEACHERS, "clip-l-336", entry)
    vision = build(tmp_path / "vision", world["images"], parts.model.tower, vfm="clip-l-336")
    assert one_step(parts, None, vision)[0] == one_step(parts, None, None)[0]


@pytest.mark.slow
def test_two_ranks_under_zero_3_without_a_tower(config, world, tower_fp32, tmp_path: Path):
    """Also of text alone: a rank without images has no features to show."""
    two = with_overrides(config, {"data.micro_batch_size": 1, "optim.max_steps": 4})
    train(two, cache=world["cache"], vision_cache=tower_fp32, output=tmp_path / "one")
    zero = with_overrides(two, {"backend": "deepspeed", "zero_stage": 3})
    launch(zero, world["cache"], tmp_path / "two", vision_cache=tower_fp32).succeed()
    pairs = zip(read_metrics(tmp_path / "two"), read_metrics(tmp_path / "one"), strict=True)
    assert all(mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5) for mine, theirs in pairs)


def test_stage_one_from_features_of_cropped_images(config, world, tmp_path: Path):
    """The caption recipe's way: the projector alone, squares cut from the middle; by the command, without images."""
    parts = families.with_parts(config, tmp_path, "qwen2", "siglip")
    changes = {
        "model.projector": "random", "lora": None, "align.objective": "none", "data.template": "plain",
        "data.image_mode": "crop", "precision": "bf16", "optim.max_steps": 2,
    }  # fmt: skip
    stage_one = with_overrides(parts, changes)
    vision = build(tmp_path / "vision", world["images"], parts.model.tower, square="crop")
    assert open_store(vision).manifest.spec.fingerprint["square"] == "crop"
    train(stage_one, cache=None, output=tmp_path / "pixels")
    blind = with_overrides(stage_one, {"data.images": str(tmp_path / "nowhere")})
    (tmp_path / "config.yaml").write_text(write_config(blind))
    words = ["pretrain", "--config", str(tmp_path / "config.yaml"), "--output", str(tmp_path / "run")]
    done = CliRunner().invoke(app, [*words, "--vision-cache", str(vision)])
    assert done.exit_code == 0, done.output
    losses = [[line["loss"] for line in read_metrics(tmp_path / name)] for name in ("run", "pixels")]
    assert losses[0] == losses[1]
    said = (
        CliRunner().invoke(app, [*words, "--vision-cache", str(vision), "--dry-run", "--tflops", "1"]).output
    )
    assert "vision cache  no tower" in said
    padded = build(tmp_path / "padded", world["images"], parts.model.tower)
    with pytest.raises(CacheMismatchError, match="build the cache with `--square crop`, or set"):
        train(stage_one, cache=None, vision_cache=padded, output=tmp_path / "other")


def refused(config, world, vision: Path, tmp_path: Path, message: str, error=CacheMismatchError, **changes):
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    config = with_overrides(config, {"precision": "bf16"} | dotted)
    with pytest.raises(error, match=message) as caught:
        train(config, cache=world["cache"], vision_cache=vision, output=tmp_path / "run")
    assert "\n" not in str(caught.value.args[0])
    assert not (tmp_path / "run").exists()


def test_a_cache_of_another_tower(config, world, tmp_path: Path):
    other = build(tmp_path / "other", world["images"], tiny.save_llava(tmp_path / "llava", seed=1))
    refused(
        config,
        world,
        other,
        tmp_path,
        r"weights_sha256=\w+, the student has \w+; build it with .*--vfm tower",
    )
    refused(
        config,
        world,
        world["cache"],
        tmp_path,
        "teacher=dinov2-b, --vision-cache needs the student's own tower",
    )


def test_other_precision_square_and_grid(config, world, tower, tmp_path: Path):
    refused(config, world, tower, tmp_path, "dtype=bfloat16, .* --dtype float32, or change", precision="fp32")
    no_align = {"align__objective": "none", "data__image_mode": "crop"}
    refused(config, world, tower, tmp_path, "square=pad, .* set data.image_mode=pad", **no_align)
    small = build(tmp_path / "grid", world["images"], world["llava"], grid=2)
    refused(config, world, small, tmp_path, r"built with grid=\(2, 2\), the student has \(4, 4\)")


def stored(tmp_path: Path, world, tower: Path, **how) -> Path:
    """A store that says it is the tower's."""
    fingerprint = dict(load_plan(tower).spec.fingerprint)
    return write_store(tmp_path / "stored", world["images"], NAMES, fingerprint=fingerprint, **how)


def test_a_codec_without_lengths(config, world, tower, tmp_path: Path):
    store = stored(tmp_path, world, tower, codec="int8")
    refused(config, world, store, tmp_path, r"directions only \(codec int8\), .* --codec bf16")
    with pytest.raises(ConfigError, match="codec int8 keeps their direction only"):
        build(tmp_path / "cache", world["images"], world["llava"], codec="int8")


def test_images_the_vision_cache_lacks(config, world, tmp_path: Path):
    some = tmp_path / "some"
    shutil.copytree(world["images"], some)
    for name in NAMES[5:]:
        (some / name).unlink()
    vision = build(tmp_path / "vision", some, world["llava"])
    message = r"lacks 7 of 12 images, first 05.png, 06.png, 07.png, 08.png, 09.png; .*cache build --vfm tower"
    refused(config, world, vision, tmp_path, message)
    refused(config, world, vision, tmp_path, message, data__images=str(tmp_path / "nowhere"))


def test_renamed_images_are_hashed_and_remembered(config, world, tower, tmp_path: Path):
    """A name that no plan knows is found by its content, in both caches."""
    images, cache, vision = tmp_path / "images", tmp_path / "cache", tmp_path / "vision"
    images.mkdir()
    shutil.copy2(world["images"] / NAMES[0], images / "renamed.png")
    for source, copy in ((world["cache"], cache), (tower, vision)):
        shutil.copytree(source, copy)
    annotations = write_annotations(tmp_path / "a.json", ["renamed.png", *NAMES[1:]])
    overrides = {"data.annotations": str(annotations), "data.images": str(images), "precision": "bf16"}
    run = build_run(with_overrides(config, overrides).resolved(), cache, vision_cache=vision)
    example = run.dataset[0]
    assert len(example.features) == len(example.codes["align"]) == 1
    assert not example.squares
    elsewhere = with_overrides(config, overrides | {"data.images": str(tmp_path)}).resolved()
    with pytest.raises(CacheMismatchError, match=r"lacks 1 of 12 images, first renamed.png"):
        build_run(elsewhere, cache, vision_cache=vision)


def test_rejected_images_are_left_out_without_a_file(config, world, tower, tmp_path: Path, caplog):
    vision = stored(tmp_path, world, tower, codec="bf16", rejected="03.png")
    gone = {"data__images": str(tmp_path / "nowhere"), "align__objective": "none"}
    no_cache = {**world, "cache": None}
    message = "1 images cannot be used, first '03.png': not a readable image"
    refused(config, no_cache, vision, tmp_path, message, error=DataError, **gone)


def test_nan_in_the_vision_cache_updates_nothing(config, world, tmp_path: Path):
    from tests.training import conftest

    vision = build(tmp_path / "real", world["images"], world["llava"], codec="fp16")
    fingerprint = dict(load_plan(vision).spec.fingerprint)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "DIM", 32)
        poisoned = write_store(
            tmp_path / "nan", world["images"], NAMES, fingerprint=fingerprint, codec="fp16", poisoned=NAMES
        )
    bf16 = with_overrides(config, {"precision": "bf16"})
    with pytest.raises(DataError, match=r"Loss is nan at step \d with samples .*png.*nothing was updated"):
        train(bf16, cache=world["cache"], vision_cache=poisoned, output=tmp_path / "run")
