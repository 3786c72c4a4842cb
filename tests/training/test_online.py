"""The online teacher: the same targets as an exact cache, made in the training process, beside the model."""

import json
from pathlib import Path

import pytest
import torch

from pipelines.cache_build import build_cache
from pipelines.cache_request import CacheRequest
from pipelines.training.config import with_overrides
from pipelines.training.folder import read_metrics
from pipelines.training.loop import train
from pipelines.training.setup import build_run
from tests.training.test_vision_cache import build, one_step
from viral.errors import ConfigError, WeightsError

MICRO = {"align.teacher": "micro"}


@pytest.fixture(scope="module")
def micro(world, tmp_path_factory) -> Path:
    """An exact cache of the teacher that comes with the package, on a grid of its own."""
    folder = tmp_path_factory.mktemp("micro") / "cache"
    build_cache(
        CacheRequest(vfm="micro", images=world["images"], out=folder, codec="fp16", device="cpu", workers=0)
    )
    return folder


def test_its_targets_losses_and_gradients_are_those_of_an_exact_cache(config, micro):
    """Codec fp16 rounds the features of a cache by 2^-11, which is all that differs."""
    cached = with_overrides(config, MICRO)
    online = with_overrides(cached, {"align.online": True})
    (losses, gradients), (expected, wanted) = one_step(online, None, None), one_step(cached, micro, None)
    assert losses[0] == pytest.approx(expected[0], abs=1e-4)
    assert losses[1] == expected[1]
    for name, gradient in wanted.items():
        assert torch.dist(gradients[name], gradient) <= 5e-3 * gradient.norm()


def test_cached_features_and_online_teacher_together(config, world, micro, tmp_path: Path):
    """Three ways to the same losses: pixels and cache, features and cache, features and online teacher."""
    vision = build(tmp_path / "vision", world["images"], world["llava"])
    cached = with_overrides(config, {**MICRO, "precision": "bf16"})
    online = with_overrides(cached, {"align.online": True})
    pixel, _ = one_step(cached, micro, None)
    assert one_step(cached, micro, vision)[0] == pixel
    assert one_step(online, None, vision)[0][0] == pytest.approx(pixel[0], abs=2e-3)


def test_it_is_outside_the_model_and_recorded(config, tmp_path: Path):
    online = with_overrides(config, {**MICRO, "align.online": True, "optim.max_steps": 2, "save_every": 2})
    run = build_run(online.resolved(), None)
    baseline = build_run(with_overrides(config, {"align.objective": "none"}).resolved(), None)
    beside = sum(p.numel() for p in run.module.terms.parameters())
    sizes = [sum(p.numel() for p in module.parameters()) for module in (run.module, baseline.module)]
    assert sizes[0] - sizes[1] == beside
    final = train(online, cache=None, output=tmp_path / "run")
    assert read_metrics(tmp_path / "run")[-1]["align/cosine"] is not None
    recorded = json.loads((tmp_path / "run/inputs.json").read_text())["teacher align"]
    assert (recorded["teacher"], recorded["weights"]) == ("micro", "pretrained")
    assert train(online, cache=None, output=tmp_path / "run", resume=True) == final


def test_random_weights_and_weights_by_path(config, tmp_path: Path):
    random = with_overrides(config, {**MICRO, "align.online": True, "align.weights": "random"})
    assert build_run(random.resolved(), None).inputs["teacher align"]["weights"] == "random"
    with pytest.raises(WeightsError, match=r"nowhere.safetensors: no such file"):
        build_run(with_overrides(config, {**MICRO, "align.online": "nowhere.safetensors"}).resolved(), None)


def test_what_cannot_be_online(config):
    for changes in ({"align.teacher": "tower"}, {"align.objective": "reinject_post"}):
        with pytest.raises(ConfigError, match="no teacher beside the student to run; drop online"):
            with_overrides(config, {**changes, "align.online": True})


def test_it_sees_the_students_squares(config, world, tmp_path: Path):
    """Those of `crop`, too, as does a cache that was built so."""
    crop = with_overrides(config, {**MICRO, "data.image_mode": "crop"})
    online, padded = (
        with_overrides(made, {"align.online": True}) for made in (crop, with_overrides(config, MICRO))
    )
    cache = build(
        tmp_path / "cache", world["images"], None, vfm="micro", codec="fp16", dtype=None, square="crop"
    )
    from_cache = one_step(crop, cache, None)[0][0]
    assert one_step(online, None, None)[0][0] == pytest.approx(from_cache, abs=1e-4)
    assert one_step(padded, None, None)[0][0] != pytest.approx(from_cache, abs=1e-4)
