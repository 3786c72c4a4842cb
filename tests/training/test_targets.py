"""Cached targets: any codec is decoded on the device without gradient, and its own loss is divided out of the log."""

from pathlib import Path
from statistics import fmean

import pytest
import torch

from pipelines.training.config import AlignConfig, with_overrides
from pipelines.training.folder import read_metrics
from pipelines.training.loop import train
from pipelines.training.targets import make_decoder, open_targets
from stores import CODECS
from tests.training.conftest import write_store


@pytest.fixture
def caches(world, tmp_path: Path):
    names = sorted(path.name for path in world["images"].iterdir())
    return {codec: write_store(tmp_path / codec, world["images"], names, codec=codec) for codec in CODECS}


def test_every_codec_is_decoded_to_the_reference_without_gradient(caches):
    for cache in caches.values():
        store = open_targets(cache, AlignConfig())
        codes = store.read_many(list(store.keys())[:3])
        decoded = make_decoder(store, torch.device("cpu"))(torch.as_tensor(codes))
        assert not decoded.requires_grad
        expected = torch.from_numpy(store.codec.decode(codes, store.tables))
        torch.testing.assert_close(decoded, expected, rtol=1e-4, atol=1e-3)


def test_the_logged_cosine_does_not_depend_on_the_codec(config, world, caches, tmp_path: Path):
    """lm2 loses six percent of the cosine; what is logged, after division by kappa, is that of exact targets."""
    overrides = {"optim.max_steps": 40, "optim.lr": 1e-2, "align.weight": 20.0, "save_every": 40}
    logged, kappas = {}, {}
    for codec in ("fp16", "lm2"):
        train(with_overrides(config, overrides), cache=caches[codec], output=tmp_path / "run" / codec)
        cosines = [m["align/cosine"] for m in read_metrics(tmp_path / "run" / codec)]
        logged[codec] = fmean([value for value in cosines if value is not None][-10:])
        kappas[codec] = open_targets(caches[codec], AlignConfig()).manifest.kappa
    assert kappas["lm2"] < 0.96 < 0.9999 < kappas["fp16"]
    assert logged["lm2"] == pytest.approx(logged["fp16"], rel=0.02)
