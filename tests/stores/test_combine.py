"""Export and merge: the same codes under the same keys, each image once, resumable, refused where kinds differ."""

import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from stores import CODECS, Plan, Reject, combine_stores, load_plan, open_store, pending_shards, verify_store
from stores.canonical import canonical_json
from stores.errors import DamagedStoreError, FingerprintError, IncompleteStoreError, PlanError
from stores.layout import array_metadata, whole_array
from stores.safetensors_files import export_safetensors
from tests.stores.builder import build, features, key, make_plan, snapshot

REPOSITORY = Path(__file__).resolve().parents[2]

REJECTED = frozenset({2})


def plan_of(rows, **options) -> Plan:
    """A plan of these images."""
    return replace(
        make_plan(**options),
        keys=tuple(map(key, rows)),
        paths=tuple(f"images/{row}.jpg" for row in rows),
    )


def same_codes(one, other, rows):
    keys = [key(row) for row in rows]
    return (open_store(one).read_many(keys) == open_store(other).read_many(keys)).all()


@pytest.mark.parametrize("codec", CODECS)
def test_there_and_back_gives_the_same_bytes(tmp_path, codec):
    build(tmp_path / "zarr", make_plan(codec=codec), REJECTED)
    combine_stores([tmp_path / "zarr"], tmp_path / "tars", store="webdataset")
    combine_stores([tmp_path / "tars"], tmp_path / "back", store="zarr")
    assert verify_store(tmp_path / "tars").ok
    assert same_codes(tmp_path / "zarr", tmp_path / "tars", [0, 1, *range(3, 10)])
    assert dict(open_store(tmp_path / "tars").rejects) == {key(2): "truncated"}
    assert snapshot(tmp_path / "back") == snapshot(tmp_path / "zarr")
    build(tmp_path / "built", make_plan(codec=codec, store="webdataset"), REJECTED)
    assert snapshot(tmp_path / "built") == snapshot(tmp_path / "tars"), "built or exported, it is the same"


def test_tables_are_copied_not_made_again(tmp_path):
    """Another machine's linear algebra may make another rotation; codes mean nothing without their own."""
    plan = make_plan()
    from stores import create_store, finish_store, write_shard
    from tests.stores.builder import make_shard

    tables = plan.codec.make_tables(plan.spec.num_tokens, plan.spec.dim, seed=7)
    create_store(tmp_path / "odd", plan, tables)
    for shard_id in pending_shards(tmp_path / "odd", plan):
        write_shard(tmp_path / "odd", plan, shard_id, *make_shard(tmp_path / "odd", plan, shard_id))
    finish_store(tmp_path / "odd", plan)
    combine_stores([tmp_path / "odd"], tmp_path / "out", store="webdataset")
    store = open_store(tmp_path / "out")
    assert (store.tables["rotation"] == tables["rotation"]).all()
    build(tmp_path / "usual", make_plan())
    with pytest.raises(FingerprintError, match=r"usual is not of the kind of .*odd: rotation: another table"):
        combine_stores([tmp_path / "odd", tmp_path / "usual"], tmp_path / "both")


def test_a_merge_keeps_every_image_once_and_the_first_record_of_it(tmp_path):
    build(tmp_path / "a", plan_of(range(6)), frozenset({2, 3}))  # rows 2 and 3
    build(
        tmp_path / "b", plan_of([9, 3, 0, 8, 7], store="webdataset", shard_size=2), frozenset({4})
    )  # row 4: image 7
    manifest = combine_stores([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    store = open_store(tmp_path / "c")
    assert list(store.keys()) == [key(row) for row in (0, 1, 3, 4, 5, 9, 8)]
    assert load_plan(tmp_path / "c").keys == tuple(map(key, [0, 1, 2, 3, 4, 5, 9, 8, 7]))
    assert dict(store.rejects) == {key(2): "truncated", key(7): "truncated"}
    assert (manifest.num_images, manifest.num_records, manifest.num_rejects) == (9, 7, 3)
    assert manifest.spec.store == "zarr"
    assert manifest.spec.shard_size == 4
    expected = store.codec.encode(features([key(row) for row in (3, 9)]), store.tables)
    assert (store.read_many([key(3), key(9)]) == expected).all()
    assert verify_store(tmp_path / "c").ok
    lines = (tmp_path / "c" / "rejects.jsonl").read_bytes()
    gone = canonical_json({"path": "images/gone.jpg", "reason": "no such file", "key": None})
    assert lines.count(gone) == 1


def test_cosines_of_a_merge_are_those_of_the_shards_it_comes_from(tmp_path):
    build(tmp_path / "a", plan_of(range(6)))
    build(tmp_path / "b", plan_of(range(6, 10)))
    manifest = combine_stores([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert manifest.kappa == pytest.approx(0.9999)
    assert manifest.cosine.p001 == 0.999 - 1 / 1e4, "the lowest of any shard"


def test_a_merge_with_itself_is_a_copy(tmp_path):
    build(tmp_path / "a", make_plan(), REJECTED)
    combine_stores([tmp_path / "a", tmp_path / "a"], tmp_path / "c")
    assert snapshot(tmp_path / "c") == snapshot(tmp_path / "a")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"codec": "fp16"}, "codec: found 'fp16', expected 'int8'"),
        ({"dtype": "bfloat16"}, "fingerprint.dtype: found 'bfloat16', expected None"),
    ],
)
def test_other_kinds_are_refused_by_the_field(tmp_path, options, field):
    build(tmp_path / "a", make_plan())
    build(tmp_path / "b", make_plan(**options))
    with pytest.raises(FingerprintError, match=f"{field}.*Only stores of one teacher") as caught:
        combine_stores([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "c").exists()


def test_an_interrupted_merge_resumes_and_a_finished_one_stays(tmp_path):
    build(tmp_path / "a", make_plan(), REJECTED)
    build(tmp_path / "b", plan_of(range(10, 15)))
    sources = [tmp_path / "a", tmp_path / "b"]
    combine_stores(sources, tmp_path / "whole")

    class Killed(BaseException):
        pass

    def kill(done, total):
        assert (done, total) == (1, 4)
        raise Killed

    with pytest.raises(Killed):
        combine_stores(sources, tmp_path / "cut", progress=kill)
    with pytest.raises(IncompleteStoreError):
        open_store(tmp_path / "cut")
    steps = []
    combine_stores(sources, tmp_path / "cut", progress=lambda done, total: steps.append((done, total)))
    assert steps == [(2, 4), (3, 4), (4, 4)]
    assert snapshot(tmp_path / "cut") == snapshot(tmp_path / "whole")
    written = (tmp_path / "cut" / "manifest.json").stat().st_mtime_ns
    combine_stores(sources, tmp_path / "cut")
    assert (tmp_path / "cut" / "manifest.json").stat().st_mtime_ns == written


def test_a_damaged_record_is_not_copied(tmp_path):
    build(tmp_path / "a", make_plan())
    path = tmp_path / "a" / "codes" / "c.1.0.0"
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedStoreError, match=f"record {key(4)}"):
        combine_stores([tmp_path / "a"], tmp_path / "out", store="webdataset")
    with pytest.raises(DamagedStoreError, match=f"record {key(4)}"):
        export_safetensors(tmp_path / "a", tmp_path / "files")
    assert not (tmp_path / "out" / "codes" / "000001.tar").exists()
    assert not (tmp_path / "files" / "000001.safetensors").exists()


def test_somebody_elses_folder_is_left_alone(tmp_path):
    build(tmp_path / "a", make_plan())
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("dear")
    for export in (combine_stores, lambda roots, out: export_safetensors(roots[0], out)):
        with pytest.raises(PlanError, match="not empty"):
            export([tmp_path / "a"], tmp_path / "thesis")
        with pytest.raises(PlanError, match="is a file"):
            export([tmp_path / "a"], tmp_path / "thesis" / "chapter.tex")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


def test_a_store_is_not_copied_onto_itself(tmp_path, monkeypatch):
    build(tmp_path / "a", make_plan())
    build(tmp_path / "b", make_plan(3))
    whole = snapshot(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    for roots in (["a"], ["b", "a"]):
        with pytest.raises(PlanError, match="is one of the stores to copy; choose a new folder"):
            combine_stores([tmp_path / name for name in roots], Path("a"))
    assert snapshot(tmp_path / "a") == whole


def test_a_copy_that_lost_a_shard_is_unfinished_until_it_has_it_again(tmp_path):
    build(tmp_path / "a", make_plan())
    combine_stores([tmp_path / "a"], tmp_path / "out")
    whole = snapshot(tmp_path / "out")
    (tmp_path / "out" / "codes" / "c.1.0.0").unlink()
    finished = []
    combine_stores(
        [tmp_path / "a"],
        tmp_path / "out",
        progress=lambda done, total: finished.append((tmp_path / "out" / "manifest.json").exists()),
    )
    assert finished == [False]
    assert snapshot(tmp_path / "out") == whole


@pytest.mark.parametrize("export", ["combine_stores([root], out)", "export_safetensors(root, out)"])
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ("size=64k", "(DiskFullError, PlanError)", "make room|are free"),
        ("ro", "ReadOnlyStoreError", "write permission"),
    ],
)
def test_a_full_or_read_only_disk_is_one_clear_error(tmp_path, export, options, error, words):
    build(tmp_path / "store", make_plan(400, shard_size=40))
    (tmp_path / "disk").mkdir()
    script = f"""
        import sys; sys.path.insert(0, {str(REPOSITORY)!r})
        from pathlib import Path
        from stores import combine_stores
        from stores.errors import DiskFullError, PlanError, ReadOnlyStoreError
        from stores.safetensors_files import export_safetensors
        root, out = Path("store"), Path("disk/out")
        try:
            {export}
        except {error} as error:
            print(error)
        assert not list(out.rglob("*.partial"))
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    mount = f"mount -t tmpfs -o {options} none disk && {sys.executable} script.py"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert re.search(words, done.stdout, re.IGNORECASE)


@pytest.mark.parametrize("codec", CODECS)
def test_safetensors_hold_every_record_and_what_decodes_it(tmp_path, codec):
    build(tmp_path / "a", make_plan(codec=codec), frozenset({2, 4, 5, 6, 7}))
    for _ in range(2):  # the second call finds everything written
        assert export_safetensors(tmp_path / "a", tmp_path / "out") == 3
    store = open_store(tmp_path / "a")
    found = {}
    for shard in range(3):
        tensors = load_file(tmp_path / "out" / f"{shard:06d}.safetensors")
        assert tensors["codes"].shape[1:] == store.manifest.spec.record_shape
        found |= zip((bytes(digest).hex() for digest in tensors["keys"]), tensors["codes"], strict=True)
    assert list(found) == list(store.keys())
    assert all((store.read(name) == codes).all() for name, codes in found.items())
    if store.tables:
        tables = load_file(tmp_path / "out" / "tables.safetensors")
        assert all(np.array_equal(tables[name], table) for name, table in store.tables.items())
    with safe_open(tmp_path / "out" / "000000.safetensors", "np") as file:
        assert '"codec":"' + codec in file.metadata()["viral"]


def test_safetensors_are_the_same_again_and_not_mixed(tmp_path):
    build(tmp_path / "a", make_plan())
    for name in ("one", "two"):
        export_safetensors(tmp_path / "a", tmp_path / name)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")
    build(tmp_path / "b", make_plan(11))
    (tmp_path / "one" / "000001.safetensors").unlink()
    with pytest.raises(PlanError, match="was not exported from this store"):
        export_safetensors(tmp_path / "b", tmp_path / "one")
    export_safetensors(tmp_path / "a", tmp_path / "one")
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def test_metadata_names_are_those_of_the_layout(tmp_path):
    """A webdataset store keeps keys and tables as Zarr arrays, and has no array of codes."""
    build(tmp_path, make_plan(store="webdataset"))
    files = snapshot(tmp_path)
    for name in ("keys", "rotation", "signs"):
        assert {array_metadata(name), whole_array(name)} <= files.keys()
    assert array_metadata("codes") not in files
    assert Reject(path="images/gone.jpg", reason="no such file") in load_plan(tmp_path).rejects
