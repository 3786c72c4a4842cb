"""A cache of every view of each picture: planned by sizes, built, resumed, checked and shown like any other."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.cache_build import build_cache
from pipelines.cache_estimate import summarise_plan
from pipelines.cache_info import describe_store
from pipelines.cache_move import append_images
from pipelines.cache_request import CacheRequest
from pipelines.cache_show import show_image
from pipelines.cache_verify import verify_cache
from stores import load_plan, open_store
from stores.errors import FingerprintError
from tests import tiny
from tests.pipelines.pictures import MICRO, store_bytes, write_pictures
from viral.data.images import decode_image, image_key
from viral.data.keys import path_key
from viral.data.tiles import resize_views, tile_tokens, view_key
from viral.errors import UnknownNameError

SHAPES = {"a.png": (57, 55), "b.png": (20, 90), "c.jpg": (56, 28)}
VIEWS = {name: tiny.TILING.num_views(size) for name, size in SHAPES.items()}


@pytest.fixture
def request_(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in SHAPES.items():
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        coarse.resize(size[::-1], Image.Resampling.BICUBIC).save(folder / name)
    (folder / "z-copy.png").write_bytes((folder / "a.png").read_bytes())
    return CacheRequest(
        **MICRO, images=folder, out=tmp_path / "store", shard_size=4, batch_size=3, codec="fp16",
        tiles="llava-next@28",
    )  # fmt: skip


def keys_of(folder, name):
    key = image_key((folder / name).read_bytes())
    return [view_key(key, view) for view in range(VIEWS[name])]


def test_each_view_has_the_teachers_features_of_it(request_):
    result = build_cache(request_)
    store, teacher, images = open_store(result.root), request_.load_teacher(), request_.images
    assert VIEWS == {"a.png": 5, "b.png": 4, "c.jpg": 3}
    assert list(store.keys()) == [key for name in SHAPES for key in keys_of(images, name)]
    assert (result.planned.num_images, result.planned.num_duplicates, len(store)) == (3, 1, 12)
    assert teacher.square_size != tiny.SIZE
    for name in SHAPES:
        views = tiny.TILING.views(decode_image(images / name))
        expected = teacher(torch.tensor(resize_views(views, teacher.square_size)))
        codes = store.read_many(keys_of(images, name))
        found = torch.from_numpy(store.codec.decode(codes, store.tables))
        assert torch.cosine_similarity(expected, found, dim=-1).min() > 0.999


def test_the_store_says_how_it_was_tiled(request_):
    build_cache(request_)
    made = describe_store(request_.folder)["fingerprint"]
    assert made["tiles"] == {"name": "llava-next", "side": 28, "pinpoints": tiny.TILING.pinpoints}
    assert not made.keys() & {"square", "fill"}
    for other in ("llava-next", None):
        with pytest.raises(FingerprintError, match="tiles"):
            build_cache(replace(request_, tiles=other))
    with pytest.raises(UnknownNameError, match=r"Unknown tiling 'anyres'. Known: llava-next"):
        replace(request_, tiles="anyres")
    assert replace(request_, out=None).folder.name == "micro-llava-next@28"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_build_that_resumes_and_one_by_several_processes_write_the_same_bytes(request_, tmp_path, workers):
    build_cache(request_)
    again = replace(request_, out=tmp_path / "again", workers=workers)
    build_cache(again)
    shards = sorted((again.folder / "codes").glob("c*"))
    for path in [*shards[1:], again.folder / "manifest.json"]:
        path.unlink()
    for report in list((again.folder / "reports").glob("*.json"))[1:]:
        report.unlink()
    build_cache(again)
    assert store_bytes(again.folder) == store_bytes(request_.folder)


def test_verify_recomputes_views_and_show_draws_them(request_, tmp_path):
    build_cache(request_)
    report, recomputed = verify_cache(
        request_.folder, recompute=12, images=request_.images, weights="random", device="cpu"
    )
    assert report.ok
    assert (recomputed.num_images, recomputed.wrong) == (12, ())
    assert recomputed.worst > 0.999
    show_image(request_.folder, request_.images / "b.png", tmp_path / "b.png")
    side = request_.load_teacher().square_size
    with Image.open(tmp_path / "b.png") as drawn:
        assert drawn.size == (2 * side, VIEWS["b.png"] * side)


def test_unusable_pictures_are_rejected_once_each(request_):
    folder = request_.images
    (folder / "page.png").write_bytes(b"<html>not found</html>")
    Image.new("RGB", (300, 2)).save(folder / "line.png")
    torn = (folder / "c.jpg").read_bytes()
    (folder / "torn.jpg").write_bytes(torn[: len(torn) // 2])
    result = build_cache(request_)
    rejects = [json.loads(line) for line in (result.root / "rejects.jsonl").read_text().splitlines()]
    reasons = {reject["path"]: reject["reason"] for reject in rejects}
    assert reasons.keys() == {"page.png", "line.png", "torn.jpg"}
    assert "too long and thin" in reasons["line.png"]
    assert len(open_store(result.root)) == 12
    with pytest.raises(Exception, match="3 of 7 images are unusable, 2 are allowed"):
        build_cache(replace(request_, out=result.root.with_name("strict"), max_rejects=2))


def test_append_takes_the_tiles_of_the_store(request_, tmp_path):
    build_cache(request_)
    more = write_pictures(tmp_path / "more", 2)
    wanted = CacheRequest(images=tmp_path / "more", device="cpu", workers=0, weights="random")
    append_images(request_.folder, wanted)
    store = open_store(request_.folder)
    views = tiny.TILING.num_views((30, 40))
    assert len(store) == 12 + 2 * views
    assert view_key(image_key((tmp_path / "more" / more[0]).read_bytes()), views - 1) in store
    assert append_images(request_.folder, replace(wanted, images=request_.images)) is None


def test_trusted_paths_and_the_estimate(request_):
    request = replace(request_, trust_paths=True)
    planned, summary = summarise_plan(request)
    assert (summary.num_images, summary.num_records) == (4, 17)
    size = (request.images / "b.png").stat().st_size
    assert view_key(path_key("b.png", size), 3) in planned.plan.keys
    build_cache(request)
    assert load_plan(request.folder).keys == planned.plan.keys


def test_a_picture_that_changes_its_shape_is_noticed(request_):
    request = replace(request_, trust_paths=True)
    build_cache(request)
    path = request.images / "b.png"
    padding = path.stat().st_size
    Image.new("RGB", (20, 20)).save(path)
    path.write_bytes(path.read_bytes().ljust(padding, b"\0"))
    with pytest.raises(Exception, match="the file has changed since it was planned"):
        verify_cache(request.folder, recompute=17, images=request.images, weights="random", device="cpu")


def test_tokens_of_all_patches_but_the_bars_have_a_record(request_):
    store = open_store(build_cache(request_).root)
    for name, size in SHAPES.items():
        tokens = tile_tokens(tiny.TILING, size, store.manifest.spec.grid[0])
        assert tokens.view.max() + 1 == VIEWS[name]
        assert tokens.patch.max() < store.manifest.spec.num_tokens
