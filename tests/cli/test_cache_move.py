"""`viral cache export`, `merge` and `append` as typed, on a real teacher with random weights."""

import json
import shutil
from pathlib import Path

import pytest
import webdataset

from pipelines.cache_move import append_images
from pipelines.cache_request import CacheRequest
from stores import open_store
from tests.pipelines.pictures import store_bytes, write_pictures

MICRO = ["--vfm", "micro", "--weights", "random", "--device", "cpu", "--workers", "0", "--shard-size", "4"]
TALK = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A picture."}]
HERE = ["--device", "cpu", "--workers", "0"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with six pictures, three of them also in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "images", 6)
    (tmp_path / "few").mkdir()
    for name in ("000.png", "001.png", "002.png"):
        (tmp_path / "few" / name).write_bytes((tmp_path / "images" / name).read_bytes())
    return tmp_path


def stored(root):
    """Every file of a store and its parts, but the logs."""
    return {name: data for name, data in store_bytes(root).items() if "logs/" not in name}


def listed(folder, count):
    """An annotation file that names the first pictures."""
    path = folder / f"first-{count}.json"
    path.write_text(
        json.dumps([{"image": f"{index:03d}.png", "conversations": TALK} for index in range(count)])
    )
    return path


def same_records(one, other):
    one, other = open_store(one), open_store(other)
    keys = sorted(one.keys())
    return keys == sorted(other.keys()) and (one.read_many(keys) == other.read_many(keys)).all()


def test_a_store_is_built_as_tar_files_or_exported_to_them(viral, folder):
    assert (
        viral("cache", "build", *MICRO, "--images", "images", "--out", "tars", "--store", "webdataset")[0]
        == 0
    )
    assert viral("cache", "verify", "tars")[0] == 0
    assert json.loads(viral("cache", "info", "tars", "--json")[1])["store"] == "webdataset"
    urls = [str(path) for path in sorted(Path("tars/codes").glob("*.tar"))]
    assert len(list(webdataset.WebDataset(urls, shardshuffle=False).decode())) == 6

    viral("cache", "build", *MICRO, "--images", "images", "--out", "chunks")
    code, out, _ = viral("cache", "export", "chunks", "--to", "webdataset", "--out", "exported")
    assert (code, out) == (0, "exported chunks to exported\n")
    assert store_bytes(folder / "exported") == store_bytes(folder / "tars")
    assert viral("cache", "export", "tars", "--to", "zarr", "--out", "back")[0] == 0
    assert store_bytes(folder / "back") == store_bytes(folder / "chunks")
    assert viral("cache", "export", "tars", "--to", "safetensors", "--out", "files")[0] == 0
    assert len(list(Path("files").iterdir())) == 3
    code, _, err = viral("cache", "export", "tars", "--to", "lance", "--out", "other")
    assert (code, err) == (2, "error: Unknown export format 'lance'. Known: safetensors, webdataset, zarr.\n")


def test_merging_and_appending_end_at_the_same_records(viral, folder):
    viral("cache", "build", *MICRO, "--images", "images", "--out", "all")
    viral("cache", "build", *MICRO, "--images", "few", "--out", "grown")
    code, out, _ = viral("cache", "merge", "grown", "all", "--out", "merged")
    assert (code, out) == (0, "merged 2 stores into merged: 6 records\n")
    assert same_records("merged", "all")

    before = stored(folder / "grown")
    code, out, _ = viral("cache", "append", "grown", "--images", "images", *HERE)
    assert code == 0
    assert "3 records" in out
    after = stored(folder / "grown")
    assert before.items() <= after.items()
    assert same_records("grown", "all")
    info = json.loads(viral("cache", "info", "grown", "--json")[1])
    assert (info["num_parts"], info["num_images"], info["num_records"]) == (1, 6, 6)
    assert viral("cache", "verify", "grown")[0] == 0
    code, out, _ = viral("cache", "append", "grown", "--images", "images", *HERE)
    assert (code, out) == (0, "grown has all of these images already\n")
    assert stored(folder / "grown") == after


def test_appending_hashes_new_images_only(viral, folder, monkeypatch):
    monkeypatch.setattr(
        "pipelines.hash_cache.SETTLED_NS", -(10**9)
    )  # files of this moment are remembered, too
    viral("cache", "build", *MICRO, "--images", "images", "--data", listed(folder, 4), "--out", "grown")
    wanted = CacheRequest(data=listed(folder, 6), images=Path("images"), device="cpu", workers=0)
    assert append_images(Path("grown"), wanted).planned.num_read == 2


@pytest.mark.slow
def test_appending_keeps_grid_and_kind_of_keys_and_takes_several_processes(viral, folder):
    made = ("--grid", "4", "--trust-paths")
    viral(
        "cache", "build", *MICRO, *made, "--images", "images", "--data", listed(folder, 2), "--out", "grown"
    )
    data = ("--data", listed(folder, 4), "--data", listed(folder, 6))
    code, _, err = viral("cache", "append", "grown", "--images", "images", *data, "--devices", "cpu,cpu")
    assert code == 0, err
    viral("cache", "build", *MICRO, *made, "--images", "images", *data, "--out", "all")
    assert same_records("grown", "all")
    assert len(open_store("grown")) == 6


def test_what_does_not_fit_is_one_line_and_exit_code_2(viral, folder):
    viral("cache", "build", *MICRO, "--images", "few", "--out", "one")
    viral("cache", "build", *MICRO, "--images", "few", "--out", "other", "--codec", "fp16")
    viral("cache", "append", "one", "--images", "images", *HERE)
    for command, message in (
        (["merge", "one", "other", "--out", "both"], "codec: found 'fp16', expected 'int8'"),
        (["merge", "one", "nowhere", "--out", "both"], "nowhere does not exist"),
        (["append", "nowhere", "--images", "few"], "nowhere does not exist"),
        (["append", "one", "--images", "nowhere"], "No image folder at nowhere"),
        (["export", "one", "--to", "zarr", "--out", "images"], "not empty and no feature store"),
        (["export", "one", "--to", "zarr", "--out", "./one"], "one of the stores to copy"),
        (["append", "one/parts/1", "--images", "images", *HERE], "one/parts/1 is a part of "),
    ):
        code, out, err = viral("cache", *command)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert message in err
    assert not Path("both").exists()


def test_an_append_without_a_readable_image_can_be_given_up(viral, folder):
    viral("cache", "build", *MICRO, "--images", "few", "--out", "grown")
    (folder / "bad").mkdir()
    (folder / "bad" / "x.png").write_text("no picture")
    code, _, err = viral("cache", "append", "grown", "--images", "bad", *HERE)
    assert (code, err.count("\n")) == (2, 1)
    assert "Delete grown/parts/1 and give other images" in err
    assert "parts/1 is unfinished" in viral("cache", "info", "grown")[1]
    assert "parts/1 is unfinished" in viral("cache", "verify", "grown")[1]
    code, _, err = viral("cache", "append", "grown", "--images", "images", *HERE)
    assert (code, err.count("\n")) == (2, 1)
    assert "delete grown/parts/1 to give it up" in err
    shutil.rmtree("grown/parts/1")
    assert viral("cache", "append", "grown", "--images", "images", *HERE)[0] == 0
    assert "1 parts" in viral("cache", "info", "grown")[1]


def test_damage_in_a_part_names_the_command_that_makes_it_again(viral, folder):
    viral("cache", "build", *MICRO, "--images", "few", "--out", "grown")
    viral("cache", "append", "grown", "--images", "images", *HERE)
    whole = stored(folder / "grown")
    (folder / "grown/parts/1/codes/c.0.0.0").write_bytes(b"")
    code, out, _ = viral("cache", "verify", "grown", "--repair")
    assert code == 1
    assert "run the same `viral cache append` again" in out
    assert viral("cache", "append", "grown", "--images", "images", *HERE)[0] == 0
    assert stored(folder / "grown") == whole


@pytest.mark.parametrize("command", ["export", "merge"])
def test_an_interrupted_copy_says_so_and_resumes(viral, folder, monkeypatch, command):
    from stores import combine

    viral("cache", "build", *MICRO, "--images", "images", "--out", "one")
    write, written = combine.write_shard, []

    def write_one(*arguments):
        if written:
            raise KeyboardInterrupt
        written.append(write(*arguments))

    monkeypatch.setattr(combine, "write_shard", write_one)
    to = ["--to", "zarr"] if command == "export" else []
    arguments = ("cache", command, "one", *to, "--out", "copy")
    assert viral(*arguments) == (130, "", "stopped; run the same command again, what is finished is kept\n")
    monkeypatch.setattr(combine, "write_shard", write)
    assert viral(*arguments)[0] == 0
    assert store_bytes(folder / "copy") == store_bytes(folder / "one")
