"""Several processes build one store: what they share, what each does, and what stops them."""

import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace

import pytest
from PIL import Image

from pipelines.cache_build import build_cache
from pipelines.cache_plan import read_source
from pipelines.cache_request import CacheRequest
from pipelines.engines import get_engine, share
from pipelines.engines.share import build_share
from pipelines.engines.world import World, read_world
from stores import join_build, load_manifest, owners
from stores.errors import FingerprintError, LockedStoreError
from stores.owners import Owner
from tests.pipelines.pictures import MICRO, store_bytes, write_pictures
from viral.errors import ConfigError, DataError, UnknownNameError

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def request_(tmp_path):
    write_pictures(tmp_path / "images", 24)
    return CacheRequest(
        **MICRO, images=tmp_path / "images", out=tmp_path / "store", shard_size=2, batch_size=2
    )


@pytest.fixture
def whole(request_, tmp_path):
    return store_bytes(build_cache(replace(request_, out=tmp_path / "whole")).root)


def _forked(request, **world):
    process = FORK.Process(target=build_share, args=(request, World(**world)))
    process.start()
    return process


@pytest.mark.parametrize(
    ("environment", "world"),
    [
        ({}, World()),
        ({"RANK": "", "WORLD_SIZE": ""}, World()),
        ({"RANK": "2", "WORLD_SIZE": "4"}, World(rank=2, size=4)),
        (
            {"RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "8"},
            World(rank=9, size=16, local_rank=1, local_size=8),
        ),
    ],
)
def test_the_world_is_read_from_the_environment(environment, world):
    assert read_world(environment) == world


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "0"}, "RANK=0 without its partner"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 without its partner"),
        ({"RANK": "first", "WORLD_SIZE": "2"}, "RANK=first WORLD_SIZE=2: expected whole numbers"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "expected 0 <= RANK < WORLD_SIZE"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE=0"),
    ],
)
def test_a_world_that_makes_no_sense_is_refused(environment, message):
    with pytest.raises(ConfigError, match=message):
        read_world(environment)


def test_ranks_share_the_shards_and_the_plan(request_, whole):
    """Real processes of the same command; each log names the shards that its process built."""
    ranks = [_forked(request_, rank=rank, size=3) for rank in range(3)]
    for rank in ranks:
        rank.join()
    assert [rank.exitcode for rank in ranks] == [0, 0, 0]
    assert store_bytes(request_.out) == whole
    events = [
        json.loads(line)
        for rank in range(3)
        for line in (request_.out / "logs" / f"build-{rank}.jsonl").read_text().splitlines()
    ]
    built = [event["shard_id"] for event in events if event["event"] == "shard"]
    assert sorted(built) == list(range(12)), "every shard once"


def test_who_joins_builders_of_the_same_images_does_not_plan_them_again(request_, whole, monkeypatch):
    planned = []
    plan = share.plan_cache
    monkeypatch.setattr(
        share, "plan_cache", lambda *args, **options: planned.append(1) or plan(*args, **options)
    )
    build_cache(request_)
    assert len(planned) == 1
    (request_.out / "manifest.json").unlink()
    (request_.out / "reports" / "3.json").unlink()
    with join_build(request_.out) as builder:
        builder.announce(_work_of(request_))
        build_cache(request_)
        assert len(planned) == 1
        builder.announce("other images")
        build_cache(request_)
        assert len(planned) == 2
    assert store_bytes(request_.out) == whole


def _work_of(request):
    from stores.canonical import canonical_json, sha256

    return sha256(canonical_json(read_source(request.data, request.images).paths))


def test_who_joins_with_other_settings_is_refused(request_):
    build_cache(request_)
    with join_build(request_.out) as builder:
        builder.announce(_work_of(request_))
        with pytest.raises(FingerprintError, match=r"being built with other settings: codec: found 'int8'"):
            build_cache(replace(request_, codec="fp16"))


def test_a_shard_that_another_builds_is_waited_for_and_taken_over(request_, whole, monkeypatch):
    """A builder of another machine holds a shard and falls silent."""
    from stores.layout import CLAIMS
    from stores.publish import write_json

    monkeypatch.setattr(owners, "STALE_SECONDS", 0.7)
    far = request_.out / CLAIMS / "far-1-00.json"
    build_cache(request_)
    (request_.out / "manifest.json").unlink()
    (request_.out / "reports" / "5.json").unlink()
    write_json(far, replace(Owner.here("far-1-00"), machine="another").to_json())
    (request_.out / CLAIMS / "5.0").symlink_to(far.name)
    result = build_cache(request_)
    assert result.num_shards_built == 1
    assert store_bytes(request_.out) == whole


def test_a_builder_that_lost_its_shard_publishes_nothing(request_, monkeypatch):
    from pipelines import cache_shards
    from stores import evict

    write = cache_shards.write_shard

    def write_evicted(*args):
        evict(request_.out, "slow")
        write(*args)

    monkeypatch.setattr(cache_shards, "write_shard", write_evicted)
    with pytest.raises(LockedStoreError, match="Another process has taken over"):
        build_share(request_, World(), name="slow")
    assert not list((request_.out / "reports").iterdir())
    assert not list((request_.out / "codes").glob("c.*.0.0*"))


def test_rejects_of_all_processes_count_together(request_, tmp_path):
    """Each sees only its own while it builds; who finishes sees them all."""
    for index in range(0, 24, 2):
        (request_.images / f"{index:03d}.png").write_bytes(b"not a picture %d" % index)
    request = replace(request_, max_rejects=11)
    ranks = [_forked(request, rank=rank, size=3) for rank in range(3)]
    for rank in ranks:
        rank.join()
    assert 0 not in [rank.exitcode for rank in ranks]
    assert not (request.out / "manifest.json").exists()


def test_devices_share_one_store(request_, whole):
    result = build_cache(replace(request_, device=None, devices=("cpu", "cpu")))
    assert (result.num_shards_built, result.num_shards_pending) == (12, 0)
    assert result.num_images_built == 24
    assert store_bytes(request_.out) == whole
    assert load_manifest(request_.out) == result.manifest


def test_an_error_on_one_device_stops_all_and_keeps_its_type(request_):
    Image.new("RGB", (9, 9)).save(request_.images / "zzz.png")
    request = replace(request_, device=None, devices=("cpu", "cpu"))
    with pytest.raises(UnknownNameError, match="Unknown profile 'papper'"):
        build_cache(replace(request, profile="papper"))
    with pytest.raises(ConfigError, match=r"cuda:77.*not available"):
        build_cache(replace(request, devices=("cpu", "cuda:77")))


def test_one_device_killed_leaves_the_work_to_the_other(request_, whole):
    """SIGKILL to one of two encoder processes: the other builds its shards, too, and the command succeeds."""
    request = replace(request_, device=None, devices=("cpu", "cpu"))
    killer = FORK.Process(target=_kill_a_builder_of, args=(request.out,))
    killer.start()
    result = build_cache(request)
    killer.join()
    assert killer.exitcode == 0
    assert result.manifest is not None
    assert store_bytes(request.out) == whole


def _kill_a_builder_of(out):
    while True:
        for path in (out / "logs" / "claims").glob("*.json"):
            owner = Owner.read(path)
            if owner and not owner.has_died:
                os.kill(owner.pid, signal.SIGKILL)
                return
        time.sleep(0.005)


def test_all_devices_killed_is_one_clear_error(request_):
    def kill_all(out):
        while True:
            _kill_a_builder_of(out)

    killer = FORK.Process(target=kill_all, args=(request_.out,))
    killer.start()
    try:
        with pytest.raises(DataError, match="Every process was killed"):
            build_cache(replace(request_, device=None, devices=("cpu", "cpu")))
    finally:
        killer.kill()
        killer.join()


def test_settings_that_contradict_each_other(request_):
    with pytest.raises(ConfigError, match="--device names one device and --devices several"):
        replace(request_, devices=("cpu",))
    with pytest.raises(ConfigError, match="--compile is for CUDA"):
        build_cache(replace(request_, compile=True))
    with pytest.raises(UnknownNameError, match=r"Unknown engine 'dask'. Known: local, ray"):
        get_engine("dask")
