"""Building in one process: what is stored, what is rejected, what stops a build, what resumes it."""

import json
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines import cache_decode, cache_shards
from pipelines.cache_build import build_cache
from pipelines.cache_decode import SquareDataset, decoded_batches, shard_batches
from pipelines.cache_plan import plan_cache, read_source
from pipelines.cache_request import CacheRequest
from pipelines.cache_show import show_image
from pipelines.cache_verify import verify_cache
from pipelines.engines import share
from stores import CODECS, get_codec, load_manifest, open_store
from stores.errors import CodecError, FingerprintError, IncompleteStoreError, PlanError, StoreError
from tests.data.test_image_files import write_tar
from tests.pipelines.pictures import MICRO, store_bytes, write_pictures
from viral.data.images import decode_image, image_key, to_square
from viral.data.keys import path_and_size_key
from viral.errors import ConfigError, DataError, WeightsError
from viral.teachers.teacher import Teacher


def planned_cache(request, teacher):
    return plan_cache(request, read_source(request.data, request.images), teacher)


@pytest.fixture
def request_(tmp_path):
    write_pictures(tmp_path / "images", 11)
    return CacheRequest(
        **MICRO, images=tmp_path / "images", out=tmp_path / "store", shard_size=4, batch_size=3
    )


def _bad_files(folder):
    good = (folder / "000.png").read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "page.png").write_bytes(b"<html>not found</html>")
    (folder / "torn.png").write_bytes(good[: len(good) // 2])
    Image.new("1", (14000, 14000)).save(folder / "bomb.png")  # 25 kB
    Image.new("L", (30000, 1)).save(folder / "thread.png")
    return ["bomb.png", "empty.jpg", "page.png", "thread.png", "torn.png"]


@pytest.mark.parametrize("codec", CODECS)
def test_records_are_the_teacher_features_of_their_images(request_, codec):
    request = replace(request_, codec=codec)
    result = build_cache(request)
    store, teacher = open_store(result.root), request.load_teacher()
    assert len(store) == 11
    for path, key in zip(result.planned.plan.paths, result.planned.plan.keys, strict=True):
        square = to_square(decode_image(request.images / path), 64)
        expected = teacher(torch.tensor(square)[None])[0].numpy()
        found = store.codec.decode(store.read(key)[None], store.tables)[0]
        cosine = (
            (expected * found).sum(-1) / np.linalg.norm(expected, axis=-1) / np.linalg.norm(found, axis=-1)
        )
        assert cosine.min() > get_codec(codec).cosine_floor
    assert get_codec(codec).cosine_floor < result.manifest.cosine.worst <= result.manifest.cosine.p001
    assert result.manifest.cosine.p001 <= result.manifest.kappa <= 1 + 1e-6
    assert result.manifest.spec.fingerprint == teacher.fingerprint()


def test_bad_images_are_rejected_with_reasons_and_stop_nothing(request_):
    bad = _bad_files(request_.images)
    result = build_cache(replace(request_, workers=1))
    lines = [json.loads(line) for line in (result.root / "rejects.jsonl").read_text().splitlines()]
    assert sorted(line["path"] for line in lines) == bad
    reasons = {line["path"]: line["reason"] for line in lines}
    assert "decompression bomb" in reasons["bomb.png"]
    assert "would be padded to a square of side 30000" in reasons["thread.png"]
    assert all("not a readable image" in reasons[path] for path in ("empty.jpg", "page.png", "torn.png"))
    assert not any("0x" in reason for reason in reasons.values()), "a memory address makes bytes differ"
    store = open_store(result.root)
    assert set(store.rejects) == {line["key"] for line in lines}
    assert len(store) == 11


def test_too_many_rejects_fail_the_build_and_keep_its_shards(request_):
    _bad_files(request_.images)
    with pytest.raises(DataError, match=r"5 of 16 images are unusable, 4 are allowed.*--max-rejects"):
        build_cache(replace(request_, max_rejects=4))
    kept = sorted((request_.out / "reports").iterdir())
    assert len(kept) >= 3
    with pytest.raises(IncompleteStoreError):
        open_store(request_.out)
    result = build_cache(replace(request_, max_rejects=5))
    assert result.num_shards_built == result.planned.plan.num_shards - len(kept)
    (request_.out / "reports" / "0.json").unlink()
    with pytest.raises(DataError, match="5 of 16"):  # rejects of earlier runs count, too
        build_cache(replace(request_, max_rejects=4))


def test_a_collection_without_a_single_readable_image_fails(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(
        StoreError, match=r"None of 1 images could be encoded; the reasons are in .*rejects\.jsonl"
    ):
        build_cache(CacheRequest(**MICRO, images=tmp_path / "images", out=tmp_path / "store"))


def test_a_finished_store_is_left_untouched(request_):
    first = build_cache(request_)
    stamps = {path: path.stat().st_mtime_ns for path in first.root.rglob("*") if "logs" not in path.parts}
    again = build_cache(request_)
    assert (again.num_shards_built, again.manifest) == (0, first.manifest)
    assert stamps == {
        path: path.stat().st_mtime_ns for path in first.root.rglob("*") if "logs" not in path.parts
    }


def test_workers_batches_and_codes_do_not_depend_on_each_other(request_, tmp_path):
    """Bytes depend on the request alone: not on processes, nor on what was there already."""
    whole = build_cache(request_)
    parallel = build_cache(replace(request_, out=tmp_path / "parallel", workers=2))
    assert store_bytes(whole.root) == store_bytes(parallel.root)
    (parallel.root / "manifest.json").unlink()
    (parallel.root / "codes" / "c.1.0.0").unlink()
    (parallel.root / "reports" / "1.json").unlink()
    refilled = build_cache(replace(request_, out=tmp_path / "parallel", workers=1))
    assert refilled.num_shards_built == 1
    assert store_bytes(whole.root) == store_bytes(parallel.root)


def test_batches_never_cross_a_shard(request_):
    teacher = request_.load_teacher()
    plan = planned_cache(request_, teacher).plan
    assert list(shard_batches(plan, [0, 2], 3)) == [[0, 1, 2], [3], [8, 9, 10]]


def test_large_batches_are_put_together_from_chunks(request_, tmp_path, monkeypatch):
    whole = build_cache(request_)
    monkeypatch.setattr(cache_decode, "CHUNK", 2)
    for workers in (0, 1):
        out = tmp_path / f"chunks-{workers}"
        assert store_bytes(build_cache(replace(request_, out=out, workers=workers)).root) == store_bytes(
            whole.root
        )


def test_shards_are_asked_for_when_they_are_needed(request_):
    """What is asked for is claimed: a process must not take shards that it gets to only much later."""
    plan = planned_cache(request_, request_.load_teacher()).plan
    asked = []
    shard_ids = (asked.append(shard_id) or shard_id for shard_id in [0, 1, 2])
    batches = decoded_batches(
        SquareDataset(plan, request_.images, 64), shard_ids, batch_size=4, workers=0, pin=False
    )
    for count, batch in enumerate(batches):
        assert batch.shard_id == count
        assert asked == list(range(count + 1))


def test_several_shards_are_written_at_once_and_few_wait(request_, monkeypatch):
    write, lock, writing, most = cache_shards.write_shard, threading.Lock(), [], []

    def slow_write(*args):
        with lock:
            writing.append(args)
            most.append(len(writing))
        time.sleep(0.05)
        write(*args)
        with lock:
            writing.remove(args)

    opened, open_shard = [], cache_shards._OpenShard.__init__

    def open_and_count(self, plan, shard_id):
        opened.append(shard_id - len(list((request_.out / "reports").iterdir())))
        open_shard(self, plan, shard_id)

    monkeypatch.setattr(cache_shards, "write_shard", slow_write)
    monkeypatch.setattr(cache_shards._OpenShard, "__init__", open_and_count)
    write_pictures(request_.images, 30)
    build_cache(replace(request_, shard_size=1))
    assert max(most) == cache_shards.WRITERS
    assert max(opened) <= cache_shards.WRITERS + cache_shards.WRITES_WAITING + 1


def out_of_gpu_memory():
    raise torch.OutOfMemoryError("CUDA out of memory")


def out_of_cpu_memory():
    torch.empty(1 << 60, dtype=torch.uint8)


@pytest.mark.parametrize("run_out", [out_of_gpu_memory, out_of_cpu_memory])
def test_a_batch_that_does_not_fit_the_device_is_halved_and_so_are_the_next(
    request_, tmp_path, monkeypatch, run_out
):
    whole = build_cache(replace(request_, shard_size=11, batch_size=11, codec="fp16"))
    forward, sizes = Teacher.forward, []

    def forward_few(self, squares):
        sizes.append(len(squares))
        if len(squares) > 3:
            run_out()
        return forward(self, squares)

    monkeypatch.setattr(Teacher, "forward", forward_few)
    request = replace(request_, out=tmp_path / "small", shard_size=11, batch_size=8, codec="fp16")
    small = build_cache(request)
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 1]
    found, expected = (
        open_store(result.root).read_many(small.planned.plan.keys).astype(np.float32)
        for result in (small, whole)
    )
    np.testing.assert_allclose(found, expected, atol=2e-3)
    monkeypatch.setattr(
        Teacher, "forward", lambda self, squares: forward_few(self, squares.repeat(4, 1, 1, 1))
    )
    with pytest.raises(ConfigError, match="does not fit the memory of cpu, not even with one image"):
        build_cache(replace(request, out=tmp_path / "none"))


def test_a_file_that_changes_after_planning_is_rejected(request_):
    teacher = request_.load_teacher()
    planned = planned_cache(request_, teacher)
    Image.new("RGB", (9, 9)).save(request_.images / "003.png")
    square = SquareDataset(planned.plan, planned.source.root, 64)[3]
    assert square.reject.reason == "the file has changed since it was planned"
    assert not square.pixels.any()


def test_an_image_that_changes_between_plan_and_build_never_gets_a_wrong_record(request_, monkeypatch):
    """With trusted paths, too, where only another size can be noticed; with tar shards, where everything is."""
    plan = share.plan_cache
    shards = request_.images.parent / "shards"
    write_tar(shards / "0.tar", {path.name: path.read_bytes() for path in sorted(request_.images.iterdir())})

    def plan_and_change(*args, **options):
        planned = plan(*args, **options)
        Image.new("RGB", (9, 9)).save(request_.images / "003.png")
        write_tar(
            shards / "0.tar", {path.name: path.read_bytes() for path in sorted(request_.images.iterdir())}
        )
        return planned

    monkeypatch.setattr(share, "plan_cache", plan_and_change)
    before = (request_.images / "003.png").read_bytes()
    for kind in ({}, {"trust_paths": True}, {"images": shards}, {"images": shards, "trust_paths": True}):
        (request_.images / "003.png").write_bytes(before)
        write_tar(
            shards / "0.tar", {path.name: path.read_bytes() for path in sorted(request_.images.iterdir())}
        )
        request = replace(request_, out=request_.out.with_name(f"store{len(kind)}{'images' in kind}"), **kind)
        result = build_cache(request)
        (reject,) = open_store(result.root).rejects.values()
        assert reject == "the file has changed since it was planned"
        assert len(open_store(result.root)) == 10


def test_a_resumed_build_reads_each_image_only_where_it_has_to_decode_it(request_, monkeypatch):
    monkeypatch.setattr("pipelines.hash_cache.SETTLED_NS", -(10**9))
    assert build_cache(request_).planned.num_read == 11
    (request_.out / "manifest.json").unlink()
    (request_.out / "reports" / "1.json").unlink()
    resumed = build_cache(request_)
    assert (resumed.num_shards_built, resumed.planned.num_read) == (1, 0)


def test_trusted_paths_give_the_same_features_and_are_verified_and_resumed_as_such(request_):
    hashed = open_store(build_cache(request_).root)
    trusted = replace(request_, out=request_.out.with_name("trusted"), trust_paths=True)
    store = open_store(build_cache(trusted).root)
    for path in ("000.png", "010.png"):
        data = (request_.images / path).read_bytes()
        assert np.array_equal(store.read(path_and_size_key(path, data)), hashed.read(image_key(data)))
    report, recomputed = verify_cache(trusted.out, recompute=11, images=request_.images, device="cpu")
    assert report.ok
    assert (recomputed.num_images, recomputed.wrong) == (11, ())
    show_image(trusted.out, request_.images / "004.png", request_.out.with_name("shown.png"))
    with pytest.raises(FingerprintError, match=r"fingerprint.keys: found 'path\+size', expected None"):
        build_cache(replace(trusted, trust_paths=False))
    with pytest.raises(FingerprintError, match=r"fingerprint.keys: found None, expected 'path\+size'"):
        build_cache(replace(request_, trust_paths=True))


def test_names_with_line_breaks_and_bytes_that_are_no_text_are_built_and_verified(request_):
    names = ["line\nbreak.png", "caf\udce9.png", "\u2028.png"]
    for number, name in enumerate(names):
        (request_.images / f"00{number}.png").rename(request_.images / name)
    (request_.images / "bad\n\udcff.png").write_bytes(b"no picture")
    result = build_cache(request_)
    store = open_store(result.root)
    for name in names:
        assert image_key((request_.images / name).read_bytes()) in store
    (line,) = (result.root / "rejects.jsonl").read_text("ascii").splitlines()
    assert json.loads(line)["path"] == "bad\n\udcff.png"
    assert verify_cache(result.root)[0].ok
    assert build_cache(request_).num_shards_built == 0


def test_small_shared_memory_is_not_used(request_, monkeypatch):
    """Containers with 64 MB of it would kill a worker with a bus error; batches then travel through pipes."""
    plan = planned_cache(request_, request_.load_teacher()).plan
    dataset = SquareDataset(plan, request_.images, 64)
    through_memory = next(decoded_batches(dataset, [0], batch_size=4, workers=1, pin=False))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    through_pipe = next(decoded_batches(dataset, [0], batch_size=4, workers=1, pin=False))
    (in_memory,), (in_pipe,) = through_memory.squares, through_pipe.squares
    assert isinstance(in_pipe, np.ndarray)
    assert np.array_equal(in_memory.numpy(), in_pipe)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"profile": "native"}, "fingerprint.profile"),
        ({"dtype": "bfloat16"}, "fingerprint.dtype"),
        ({"codec": "fp16"}, "codec"),
        ({"shard_size": 5}, "shard_size"),
    ],
)
def test_another_kind_of_store_in_the_folder_is_an_error_that_names_the_field(request_, change, field):
    build_cache(request_)
    before = store_bytes(request_.out)
    with pytest.raises(FingerprintError, match=field):
        build_cache(replace(request_, **change))
    assert store_bytes(request_.out) == before


def test_other_images_or_a_foreign_folder_are_errors(request_, tmp_path):
    build_cache(request_)
    write_pictures(tmp_path / "images", 12)
    with pytest.raises(PlanError, match="planned for other images"):
        build_cache(request_)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("dear")
    with pytest.raises(PlanError, match="not empty and no feature store"):
        build_cache(replace(request_, out=tmp_path / "thesis"))
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_below_its_floor_stops_the_build(request_, codec, monkeypatch):
    monkeypatch.setitem(CODECS, codec, replace(CODECS[codec], cosine_floor=1.01))
    with pytest.raises(
        CodecError, match=rf"Codec {codec} .* cosine of [01]\.\d+ on shard 0, below.*--codec bf16"
    ):
        build_cache(replace(request_, codec=codec))
    assert not list((request_.out / "codes").glob("c.*.0.0"))


def test_features_that_are_not_finite_stop_the_build(request_, monkeypatch):
    forward = Teacher.forward
    monkeypatch.setattr(Teacher, "forward", lambda self, squares: forward(self, squares) * float("inf"))
    for codec in CODECS:
        out = request_.out / codec
        with pytest.raises(CodecError, match=r"'000.png' are not finite.*--dtype float32"):
            build_cache(replace(request_, codec=codec, out=out))


def test_weights_that_give_no_numbers_stop_the_build_before_a_shard_is_published(request_):
    """One NaN among the weights of a real checkpoint file."""
    from safetensors.torch import save_file

    state = request_.load_teacher().backbone.state_dict()
    state["norm.weight"][0] = float("nan")
    save_file(state, request_.images.parent / "nan.safetensors")
    with pytest.raises((CodecError, WeightsError), match=r"not finite"):
        build_cache(replace(request_, weights=str(request_.images.parent / "nan.safetensors")))
    assert not list(request_.out.glob("codes/c.*.0.0"))
    assert not list(request_.out.glob("reports/*.json"))


def test_a_stop_request_keeps_whole_shards_and_resumes(request_, tmp_path, monkeypatch):
    """SIGTERM in the middle: the open shard is dropped, complete ones are kept, the same call goes on."""
    write, once = cache_shards.write_shard, threading.Lock()

    def write_then_signal(*args):
        write(*args)
        if once.acquire(blocking=False):  # a second signal, of another writer, would end the tests
            signal.raise_signal(signal.SIGTERM)

    # In the writer thread; Python runs the handler in the main one.
    monkeypatch.setattr(cache_shards, "write_shard", write_then_signal)
    write_pictures(request_.images, 60)
    stopped = build_cache(request_)
    assert stopped.manifest is None
    assert 0 < stopped.num_shards_built < 15
    assert stopped.num_shards_built + stopped.num_shards_pending == 15
    monkeypatch.undo()
    resumed = build_cache(request_)
    assert resumed.num_shards_built == stopped.num_shards_pending
    whole = build_cache(replace(request_, out=tmp_path / "whole"))
    assert store_bytes(resumed.root) == store_bytes(whole.root)


def test_a_killed_decoder_is_one_clear_error(request_, monkeypatch):
    def die(data):
        signal.raise_signal(signal.SIGKILL)

    monkeypatch.setattr("pipelines.cache_decode.decode_image", die)
    with pytest.raises(DataError, match=r"decoding process was killed.*fewer --workers than 1"):
        build_cache(replace(request_, workers=1))


def test_the_log_and_the_result_tell_where_time_went(request_):
    result = build_cache(request_)
    events = [json.loads(line) for line in (result.root / "logs" / "build.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["start", "shard", "shard", "shard", "end"]
    assert set(result.busy_seconds) == {"decode", "encode", "write"}
    assert all(seconds > 0 for seconds in result.busy_seconds.values())
    assert sum(result.busy_seconds.values()) < 2 * result.seconds
    assert load_manifest(result.root) == result.manifest


@pytest.mark.gpu
def test_cuda_gives_the_directions_of_the_cpu(request_, tmp_path):
    on_cpu = open_store(build_cache(request_).root)
    result = build_cache(replace(request_, device="cuda", out=tmp_path / "cuda", workers=2))
    on_cuda = open_store(result.root)
    assert result.manifest.spec.fingerprint["dtype"] == "bfloat16"
    keys = list(on_cpu.keys())
    cpu, cuda = (store.codec.decode(store.read_many(keys), store.tables) for store in (on_cpu, on_cuda))
    cosine = (cpu * cuda).sum(-1) / np.linalg.norm(cpu, axis=-1) / np.linalg.norm(cuda, axis=-1)
    assert cosine.min() > 0.99
    assert all(seconds > 0 for seconds in result.busy_seconds.values())
