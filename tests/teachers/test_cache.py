"""A teacher of another family in a cache: its size of square, its grid and its fingerprint go all the way."""

import pytest

from pipelines.cache_build import build_cache
from pipelines.cache_request import CacheRequest
from pipelines.cache_verify import verify_cache
from stores import open_store
from tests.pipelines.pictures import write_pictures
from tests.teachers.ports import CLIP, SAM
from viral.errors import ConfigError
from viral.teachers.registry import TEACHERS


@pytest.mark.parametrize(("spec", "profile", "grid"), [(SAM, "release", 2), (CLIP, "paper", None)])
def test_build_and_recompute(spec, profile, grid, tmp_path, monkeypatch):
    monkeypatch.setitem(TEACHERS, spec.name, spec)
    write_pictures(tmp_path / "images", 3)
    request = CacheRequest(
        vfm=spec.name,
        weights="random",
        profile=profile,
        grid=grid,
        images=tmp_path / "images",
        out=tmp_path / "store",
        device="cpu",
        workers=0,
    )
    build_cache(request)
    store = open_store(tmp_path / "store").manifest.spec
    assert (store.grid, store.dim) == ((grid, grid) if grid else spec.grid, spec.dim)
    assert store.fingerprint.get("square_size") == spec.release_size
    report, recomputed = verify_cache(
        tmp_path / "store", recompute=3, images=tmp_path / "images", device="cpu"
    )
    assert report.ok
    assert recomputed.num_images == 3
    assert not recomputed.wrong


def test_a_grid_without_tokens_is_refused_by_its_flag():
    with pytest.raises(ConfigError, match="--grid 0 is too small"):
        CacheRequest(grid=0)
