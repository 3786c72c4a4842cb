"""Real photographs through real architectures, with the troubles a large collection has."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cache_build import build_cache
from pipelines.cache_request import CacheRequest
from stores import open_store
from stores.verify import verify_store
from viral.data.annotations import read_annotations
from viral.data.images import decode_image

SCRIPT = Path(__file__).parents[2] / "examples" / "photos.py"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    out = tmp_path_factory.mktemp("photos")
    run = subprocess.run([sys.executable, str(SCRIPT), str(out)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return out


def _build(photos, out, vfm, data="photos.json", **options):
    request = CacheRequest(
        vfm=vfm,
        weights="random",
        device="cpu",
        data=photos / data,
        images=photos / "images",
        out=out,
        **options,
    )
    return build_cache(request)


def _check(result, num_records=32):
    rejects = [json.loads(line) for line in (result.root / "rejects.jsonl").read_text().splitlines()]
    assert [reject["path"] for reject in rejects] == ["../outside.jpg", "missing.jpg", "truncated.jpg"]
    assert [reject["key"] is None for reject in rejects] == [True, True, False]
    assert "truncated" in rejects[2]["reason"]
    assert result.planned.num_duplicates == 1
    assert result.planned.source.num_text_only == 2
    store = open_store(result.root)
    assert len(store) == result.manifest.num_records == num_records
    assert verify_store(result.root).ok


def test_photographs_are_valid_llava_data(photos):
    samples = read_annotations(photos / "photos.json")
    assert 30 <= len(samples) <= 60
    assert sum(not sample.images for sample in samples) == 2
    assert (photos / "images" / "gif_inside.jpg").read_bytes().startswith(b"GIF")
    portrait = decode_image(photos / "images" / "portrait.jpg")
    assert portrait.width > portrait.height, (
        "stored on its side; nobody turns it, neither teacher nor student"
    )


def test_photographs_through_the_micro_teacher(photos, tmp_path):
    _check(_build(photos, tmp_path / "store", "micro"))


def test_some_photographs_and_all_troubles_through_dinov2_s(photos, tmp_path):
    entries = json.loads((photos / "photos.json").read_text())
    coffee = [entry for entry in entries if entry.get("image") == "coffee.jpg"]
    (photos / "few.json").write_text(json.dumps([*entries[:3], *coffee, *entries[-8:]]))
    result = _build(photos, tmp_path / "store", "dinov2-s", data="few.json")
    _check(result, num_records=6)
    assert result.manifest.spec.record_shape == (576, 384)
    assert result.manifest.cosine.p001 > 0.9999


@pytest.mark.slow
def test_photographs_through_dinov2_b_as_the_release_feeds_it(photos, tmp_path):
    result = _build(photos, tmp_path / "store", "dinov2", profile="release", dtype="float32")
    _check(result)
    fingerprint = result.manifest.spec.fingerprint
    assert (fingerprint["scramble_seed"], fingerprint["weights"]) == (0, "random")
    assert result.manifest.spec.record_shape == (576, 768)
