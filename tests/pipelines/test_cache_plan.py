"""Planning: which images, once each, and what becomes of those that are not usable."""

import json
import os
import shutil
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.cache_estimate import summarise_plan
from pipelines.cache_plan import plan_cache, read_source
from pipelines.cache_request import CacheRequest
from stores import CODECS, create_store
from stores.errors import PlanError, UnknownCodecError
from tests.pipelines.pictures import MICRO, write_pictures
from viral.errors import ConfigError, DataError

CHAT = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That."}]
TEXT = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]


def planned_cache(request, teacher):
    return plan_cache(request, read_source(request.data, request.images), teacher)


@pytest.fixture(scope="module")
def teacher():
    return CacheRequest(**MICRO).load_teacher()


def _annotations(path, images):
    entries = [
        {"id": str(number), "conversations": CHAT if image else TEXT, **({"image": image} if image else {})}
        for number, image in enumerate(images)
    ]
    path.write_text(json.dumps(entries))
    return path


def test_annotations_are_resolved_hashed_and_deduplicated(tmp_path, teacher):
    root = tmp_path / "images"
    first, second = write_pictures(root, 2)
    shutil.copy(root / first, root / "copy.png")
    shutil.copy(root / first, tmp_path / "outside.png")
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    (root / "folder.png").mkdir()
    os.mkfifo(root / "pipe.png")
    named = [second, None, first, "copy.png", second, "../outside.png", "link.png", str(root / first)]
    named += ["gone.png", "folder.png", "pipe.png", None]
    request = CacheRequest(**MICRO, data=_annotations(tmp_path / "data.json", named), images=root)
    planned = planned_cache(request, teacher)

    digests = tuple(sha256((root / name).read_bytes()).hexdigest() for name in (second, first))
    assert planned.plan.keys == digests
    assert planned.plan.paths == (second, first)
    assert planned.num_duplicates == 1
    assert (planned.source.num_entries, planned.source.num_text_only) == (12, 2)
    reasons = {reject.path: reject.reason for reject in planned.plan.rejects}
    outside = "leaves the image root, or is no path"
    assert reasons == {
        "../outside.png": outside,
        "link.png": outside,
        str(root / first): outside,
        "gone.png": "No such file or directory",
        "folder.png": "not a regular file",
        "pipe.png": "not a regular file",
    }


def test_a_bare_folder_is_searched_in_order(tmp_path, teacher):
    write_pictures(tmp_path / "b", 2)
    write_pictures(tmp_path / "a", 2, seed=1)
    (tmp_path / "notes.txt").write_text("no image")
    planned = planned_cache(CacheRequest(**MICRO, images=tmp_path), teacher)
    assert planned.plan.paths == ("a/000.png", "a/001.png", "b/000.png", "b/001.png")


def test_the_plan_does_not_depend_on_where_the_images_lie(tmp_path, teacher):
    write_pictures(tmp_path / "here", 3)
    data = _annotations(tmp_path / "data.json", ["000.png", "../x.png", "y.png"])
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    plans = [
        planned_cache(CacheRequest(**MICRO, data=data, images=tmp_path / name), teacher).plan
        for name in ("here", "there")
    ]
    assert plans[0].digest == plans[1].digest


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(st.integers(0, 4), min_size=1, max_size=12), shard_size=st.integers(1, 5))
def test_any_mixture_of_copies_gives_each_content_one_row(tmp_path, teacher, contents, shard_size):
    root = tmp_path / "pool"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for number, content in enumerate(contents):
        (root / f"{number}.jpg").write_bytes(bytes([content]))  # planning never decodes
    data = _annotations(tmp_path / "data.json", [f"{number}.jpg" for number in range(len(contents))])
    request = CacheRequest(**MICRO, data=data, images=root, shard_size=shard_size)
    planned = planned_cache(request, teacher)
    plan = planned.plan
    assert len(plan.keys) + planned.num_duplicates == len(contents)
    assert [contents.index(content) for content in dict.fromkeys(contents)] == [
        int(path.removesuffix(".jpg")) for path in plan.paths
    ]
    rows = [row for shard in range(plan.num_shards) for row in plan.rows(shard)]
    assert rows == list(range(len(plan.keys)))


def test_no_usable_image_is_an_error(tmp_path, teacher):
    root = tmp_path / "images"
    root.mkdir()
    for images, message in (
        (["gone.png", "../x.png"], r"No usable image below .*--images"),
        ([None], "names no image: all of its 1 entries are text only"),
    ):
        data = _annotations(tmp_path / "data.json", images)
        with pytest.raises(DataError, match=message):
            planned_cache(CacheRequest(**MICRO, data=data, images=root), teacher)
    with pytest.raises(DataError, match="holds no image file"):
        read_source(None, root)
    with pytest.raises(DataError, match="No image folder at"):
        read_source(None, tmp_path / "nowhere")


def test_too_many_missing_images_fail_the_plan(tmp_path, teacher):
    write_pictures(tmp_path / "images", 1)
    data = _annotations(tmp_path / "data.json", ["000.png", "a.png", "b.png"])
    request = CacheRequest(**MICRO, data=data, images=tmp_path / "images", max_rejects=1)
    with pytest.raises(DataError, match=r"2 of 3 images are unusable, 1 are allowed: 'b.png'.*--max-rejects"):
        planned_cache(request, teacher)
    planned_cache(replace(request, max_rejects=2), teacher)


def test_settings_out_of_range_are_refused(tmp_path, teacher):
    for flag in ("shard_size", "batch_size"):
        with pytest.raises(ConfigError, match=f"--{flag.replace('_', '-')} 0 is too small"):
            CacheRequest(**{flag: 0})
    write_pictures(tmp_path, 1)
    with pytest.raises(UnknownCodecError, match="Known: bf16, fp16, int8, lm2, lm3, lm4"):
        planned_cache(CacheRequest(**MICRO, images=tmp_path, codec="int4"), teacher)
    with pytest.raises(PlanError, match="Unknown store format 'tar'"):
        planned_cache(CacheRequest(**MICRO, images=tmp_path, store="tar"), teacher)


def test_the_default_folder_names_profile_and_teacher():
    assert str(CacheRequest().folder) == "caches/dinov2"
    assert str(CacheRequest(vfm="dinov2-s", profile="release").folder) == "caches/dinov2-s-release"


def test_the_summary_tells_bytes_room_and_time(tmp_path):
    write_pictures(tmp_path / "images", 12)
    request = CacheRequest(**MICRO, images=tmp_path / "images", out=tmp_path / "store", shard_size=4)
    planned, summary = summarise_plan(request)
    assert summary.num_images == 12
    assert summary.num_shards == 3
    assert list(summary.bytes_by_codec) == list(CODECS), "the whole ladder, largest first"
    sizes = list(summary.bytes_by_codec.values())
    assert sizes == sorted(sizes, reverse=True)
    assert summary.bytes_by_codec["fp16"] > summary.bytes_by_codec["int8"] > 12 * 64 * 128
    assert summary.bytes_by_codec["int8"] - summary.bytes_by_codec["lm4"] == 12 * 64 * 64 - 4 * 16
    assert summary.seconds == pytest.approx(12 * max(summary.seconds_per_image.values()))
    assert not (tmp_path / "store").exists(), "a plan writes nothing"
    create_store(tmp_path / "store", planned.plan)
    assert summarise_plan(request)[1].bytes_missing < summary.bytes_missing
