"""Every objective through the whole trainer: caches by name, other grids, checkpoints; what becomes of the model."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from pipelines.answering import get_backend
from pipelines.evaluate import generate_one, hash_weights
from pipelines.training.caches import parse_caches
from pipelines.training.checkpoint import latest_checkpoint, load_checkpoint
from pipelines.training.config import AlignConfig, read_config, with_overrides, write_config
from pipelines.training.export import export_run
from pipelines.training.folder import read_metrics
from pipelines.training.load import load_model
from pipelines.training.loop import train
from pipelines.training.run import Command, train_command
from pipelines.training.setup import build_run
from pipelines.training.targets import make_decoder, open_targets
from stores import open_store
from tests.training.conftest import NUM_IMAGES, write_store
from viral.errors import CacheMismatchError, ConfigError
from viral.objectives import OBJECTIVES

NAMES = [f"{index:02d}.png" for index in range(NUM_IMAGES)]
OVERRIDES = {"optim.max_steps": 2, "save_every": 2, "align.denoiser_width": 32, "align.denoiser_depth": 1}


@pytest.fixture(scope="module")
def caches(world, tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("caches")

    def cache(name: str, teacher: str, **how) -> Path:
        fingerprint = {"teacher": teacher, "profile": "paper"}
        return write_store(root / name, world["images"], NAMES, fingerprint=fingerprint, **how)

    return {
        "dinov2": world["cache"],
        "sam": cache("sam", "sam-b", grid=8),
        "flux": cache("flux", "flux-vae", codec="fp16"),
        "flux8": cache("flux8", "flux-vae", codec="fp16", grid=8),
        "flux_int8": cache("flux_int8", "flux-vae"),
    }


def changed(config, **overrides):
    return with_overrides(
        config, OVERRIDES | {name.replace("__", "."): value for name, value in overrides.items()}
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_trains(config, caches, tmp_path: Path, objective):
    cache = {"align": caches["dinov2"], "relation": caches["dinov2"], "ross": caches["flux"]}.get(objective)
    layer = None if objective == "ross" else 2
    final = train(
        changed(config, align__objective=objective, align__layer=layer), cache=cache, output=tmp_path / "run"
    )
    columns = read_metrics(tmp_path / "run")[-1].keys()
    has_loss = objective in ("relation", "ross")
    assert ("align/loss" in columns) == has_loss
    without_tensors = objective in ("none", "reinject_post")
    assert (final / "alignment_head.safetensors").exists() != without_tensors
    resolved = read_config(tmp_path / "run" / "config.yaml").align
    assert (resolved.layer, resolved.weight) == ((1.0, 1.0) if objective == "ross" else (2, 0.5))


def test_the_towers_own_features_need_no_cache(config, tmp_path: Path):
    config = changed(config, align__teacher="tower", align__layer=[1, 3], align__separate_heads=True)
    final = train(config, cache=None, output=tmp_path / "run")
    names = load_file(final / "alignment_head.safetensors")
    assert {name.split(".")[2] for name in names} == {"0", "1"}
    assert any(line["align/cosine"] is not None for line in read_metrics(tmp_path / "run"))


SEVERAL = {
    "also.sam.objective": "relation", "also.sam.teacher": "sam-b", "also.sam.layer": 3, "also.sam.weight": 0.1,
    "also.sam.head_width": 8, "also.own.teacher": "tower", "also.own.layer": 1,
}  # fmt: skip


def several(config):
    return with_overrides(config, OVERRIDES | SEVERAL)


def test_several_teachers_on_several_grids(config, caches, tmp_path: Path):
    (tmp_path / "config.yaml").write_text(write_config(config))
    settings = [f"{name}={value}" for name, value in (OVERRIDES | SEVERAL).items()]
    command = Command(settings=settings, config=tmp_path / "config.yaml", output=tmp_path / "run")
    train_command(command, [str(caches["dinov2"]), f"sam={caches['sam']}"])
    line = read_metrics(tmp_path / "run")[0]
    found = line["align/cosine"], line["sam/loss"], line["own/cosine"]
    assert all(value is not None for value in found)
    kappa = open_store(caches["dinov2"]).manifest.kappa
    expected = line["loss/lm"] - 0.5 * found[0] * kappa + 0.1 * found[1] - 0.5 * found[2]
    assert line["loss"] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ConfigError, match="other inputs: cache sam changed"):
        train(
            several(config), cache={"align": caches["dinov2"], "sam": other(caches, tmp_path)},
            output=tmp_path / "run", resume=True,
        )  # fmt: skip


def other(caches: dict[str, Path], folder: Path) -> Path:
    return write_store(
        folder / "sam", Path(caches["dinov2"]).parent / "images", NAMES, grid=4,
        fingerprint={"teacher": "sam-b", "profile": "paper"},
    )  # fmt: skip


def test_caches_are_named_as_terms_are(config, caches, tmp_path: Path):
    assert parse_caches(["a/dinov2", "sam=b/sam-b"]) == {"align": Path("a/dinov2"), "sam": Path("b/sam-b")}
    assert parse_caches(["./x=1"]) == {"align": Path("./x=1")}
    with pytest.raises(ConfigError, match="Two caches for one term"):
        parse_caches(["a", "b"])
    with pytest.raises(ConfigError, match=r"also.sam.objective=relation needs .* --cache sam=PATH"):
        train(several(config), cache=caches["dinov2"], output=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"--cache own=.* cached teacher are align, sam"):
        train(
            several(config),
            cache={"align": caches["dinov2"], "sam": caches["sam"], "own": caches["sam"]},
            output=tmp_path,
        )
    with pytest.raises(CacheMismatchError, match=r"set also.sam.teacher=dinov2-b"):
        train(
            several(config),
            cache={"align": caches["dinov2"], "sam": caches["dinov2"]},
            output=tmp_path / "run",
        )


def test_ross_refuses_latents_without_lengths_or_on_another_grid(config, caches, tmp_path: Path):
    ross = changed(config, align__objective="ross", align__layer=None)
    with pytest.raises(CacheMismatchError, match=r"codec int8.* --codec fp16"):
        train(ross, cache=caches["flux_int8"], output=tmp_path / "run")
    with pytest.raises(CacheMismatchError, match=r"8x8 grid, the student's tower gives 4x4, .* ross cannot"):
        train(ross, cache=caches["flux8"], output=tmp_path / "run")


def test_another_grid_is_resampled_as_directions(caches):
    store = open_targets(caches["dinov2"], AlignConfig())
    codes = torch.as_tensor(store.read_many(two_keys(store)))
    exact = F.normalize(make_decoder(store, torch.device("cpu"))(codes), dim=-1).view(2, 4, 4, -1)
    fine = make_decoder(store, torch.device("cpu"), (8, 8))(codes).view(2, 8, 8, -1)

    def between(place: int) -> list[tuple[int, float]]:
        """Neighbours of a fine row's centre among the coarse ones, and their shares."""
        centre = (place + 0.5) / 2 - 0.5
        low = int(centre // 1)
        return [(min(max(low + k, 0), 3), 1 - abs(centre - low - k)) for k in (0, 1)]

    for row in range(8):
        for column in range(8):
            naive = sum(
                share_r * share_c * exact[:, r, c]
                for r, share_r in between(row)
                for c, share_c in between(column)
            )
            torch.testing.assert_close(fine[:, row, column], naive, atol=1e-5, rtol=1e-4)
    coarse = make_decoder(store, torch.device("cpu"), (2, 2))(codes)
    assert coarse.shape == (2, 4, fine.shape[-1])
    assert not coarse.requires_grad


def two_keys(store) -> list[str]:
    return list(store.keys())[:2]


def test_a_run_with_several_terms_resumes_exactly(config, caches, tmp_path: Path):
    both = {"align": caches["dinov2"], "sam": caches["sam"]}
    config = with_overrides(several(config), {"optim.max_steps": 4})
    whole = train(config, cache=both, output=tmp_path / "whole")
    (tmp_path / "whole/checkpoints/LATEST").write_text("step-000002")
    before = {path.name: path.read_bytes() for path in whole.glob("*.safetensors")}
    again = train(config, cache=both, output=tmp_path / "whole", resume=True)
    assert {path.name: path.read_bytes() for path in again.glob("*.safetensors")} == before


def test_a_checkpoint_from_when_there_was_one_head_resumes(config, caches, tmp_path: Path):
    final = train(changed(config), cache=caches["dinov2"], output=tmp_path / "run")
    run = build_run(changed(config).resolved(), caches["dinov2"])
    load_checkpoint(final, run.module)
    expected = run.module.terms.state_dict()
    for file, new, old in (
        ("alignment_head.safetensors", "align.heads.0.", ""),
        ("optimizer.safetensors", "terms.align.heads.0.", "head."),
    ):
        tensors = {name.replace(new, old): tensor for name, tensor in load_file(final / file).items()}
        assert not any("heads" in name for name in tensors)
        save_file(tensors, final / file)
    (final / "trainer.json").write_text('{"step": 2}')  # nor were there digests
    run = build_run(changed(config).resolved(), caches["dinov2"])
    assert load_checkpoint(final, run.module)[0] == 2
    assert all(torch.equal(tensor, expected[name]) for name, tensor in run.module.terms.state_dict().items())


@pytest.mark.parametrize("objective", ["reinject_post", "reinject_pre"])
def test_a_reinjecting_run_is_used_with_its_reinjection_and_not_exported(
    config, tmp_path: Path, world, objective
):
    overrides = {"align__objective": objective, "optim__lr": 0.02, "align__adapter_init": "random"}
    config = changed(config, **overrides)
    output = tmp_path / "run"
    train(config, cache=None, output=output)
    trained = build_run(config.resolved(), None)
    load_checkpoint(latest_checkpoint(output / "checkpoints"), trained.module)
    student = load_model(str(output))
    ids = torch.tensor([[1, 50, *[3] * 16, 60, 61]])
    pixels = torch.randn(1, 3, 28, 28)
    labels = torch.tensor([[-100] * 18 + [60, 61]])
    with torch.no_grad():
        loss = trained.module.eval()(input_ids=ids, labels=labels, pixels=pixels).lm
        logits = student.model(input_ids=ids, pixel_values=pixels).logits
    torch.testing.assert_close(F.cross_entropy(logits[0, 17:19], labels[0, 18:]), loss, atol=1e-4, rtol=1e-4)
    reply = generate_one(str(output), world["images"] / "00.png", "How many?", max_new_tokens=3, device="cpu")
    checkpoint = output / "checkpoints" / "step-000002"
    assert reply == generate_one(
        str(checkpoint), world["images"] / "00.png", "How many?", max_new_tokens=3, device="cpu"
    )
    assert hash_weights(str(output)) == hash_weights(str(checkpoint)) != hash_weights(str(world["llava"]))
    with pytest.raises(ConfigError, match=rf"trained with {objective}, .* viral eval --model"):
        export_run(output, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(ConfigError, match=rf"reinjects \({objective}\), which vLLM cannot"):
        get_backend("vllm").check(str(output), torch.device("cuda"))


def test_a_run_of_alignment_is_asked_as_its_export_is(config, caches, tmp_path: Path):
    output = tmp_path / "run"
    train(changed(config, optim__lr=0.02), cache=caches["dinov2"], output=output)
    exported = load_model(str(export_run(output, tmp_path / "model")))
    inputs = {"input_ids": torch.tensor([[1, 50, *[3] * 16, 60]]), "pixel_values": torch.randn(1, 3, 28, 28)}
    with torch.no_grad():
        mine, theirs = (student.model(**inputs).logits for student in (load_model(str(output)), exported))
    torch.testing.assert_close(mine, theirs)
    with pytest.raises(ConfigError, match="Saved: step-000002"):
        load_model(str(output / "checkpoints" / "step-000009"))
    with pytest.raises(ConfigError, match="is a run, and vLLM reads plain model folders; use viral export"):
        get_backend("vllm").check(str(output), torch.device("cuda"))


@pytest.fixture(scope="module")
def micro_world(tmp_path_factory) -> Path:
    """A folder with a little of what the demo writes, and a cache of it."""
    from pipelines.cache_build import build_cache
    from pipelines.cache_request import CacheRequest
    from viral.microworld.instructions import ANNOTATIONS, IMAGES, write_instructions

    root = tmp_path_factory.mktemp("micro")
    data = root / "demo" / "data"
    write_instructions(data, num_samples=128)
    build_cache(
        CacheRequest(
            vfm="micro", data=data / ANNOTATIONS, images=data / IMAGES, out=root / "cache", codec="fp16"
        )
    )
    return root


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_learns_on_the_micro_world_by_one_command(micro_world: Path, objective):
    command = [
        str(Path(sys.executable).with_name("viral")), "train", f"align.objective={objective}", "optim.num_epochs=3",
        "--recipe", "micro_viral", "--cache", "cache", "--output", f"runs/{objective}",
    ]  # fmt: skip
    subprocess.run(command, cwd=micro_world, check=True, capture_output=True)
    metrics = read_metrics(micro_world / "runs" / objective)
    assert len(metrics) == 12
    for column, sign in (("loss/lm", 1), ("align/loss", 1), ("align/cosine", -1)):
        values = [sign * line[column] for line in metrics if line.get(column) is not None]
        if values:
            assert sum(values[-3:]) < sum(values[:3]), column
