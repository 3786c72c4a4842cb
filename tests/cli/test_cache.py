"""`viral cache` as typed: exit codes, one-line errors, JSON, and the commands end to end."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from tests.pipelines.pictures import store_bytes, write_pictures
from tests.stores.builder import build, make_plan

MICRO = ["--vfm", "micro", "--weights", "random", "--device", "cpu", "--workers", "0"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with six pictures; relative paths keep messages short."""
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "images", 6)
    return tmp_path


def test_plan_build_info_verify_show(viral, folder):
    source = [*MICRO, "--images", "images", "--out", "store", "--shard-size", "4"]
    code, out, _ = viral("cache", "plan", *source, "--json")
    planned = json.loads(out)
    assert (code, planned["num_images"], planned["num_shards"]) == (0, 6, 2)
    assert not Path("store", "plan.json").exists()
    code, out, _ = viral("cache", "plan", *source)
    assert code == 0
    assert "6 distinct in 6 files" in out
    assert "RANDOM weights" in out

    code, out, _ = viral("cache", "build", *source)
    assert code == 0
    for word in ("6 records", "kappa", "0.1-percentile", "worst", "images/s", "decode", "encode", "write"):
        assert word in out
    assert viral("cache", "build", *source)[1] == "store is already complete: 6 records\n"

    code, out, _ = viral("cache", "info", "store", "--json")
    info = json.loads(out)
    assert (info["finished"], info["num_records"], info["fingerprint"]["weights"]) == (True, 6, "random")
    assert "RANDOM weights" in viral("cache", "info", "store")[1]

    code, out, _ = viral(
        "cache", "verify", "store", "--recompute", "3", "--images", "images", "--device", "cpu"
    )
    assert code == 0
    assert "recomputed 3 records" in out

    code, _, _ = viral("cache", "show", "store", "--image", "images/002.png", "--out", "picture.png")
    assert code == 0
    with Image.open("picture.png") as picture:
        assert picture.size == (128, 64)


def test_a_plan_counts_per_annotation_file_and_per_folder(viral, folder):
    turns = '"conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a"}]'
    names = [
        "images/000.png",
        "images/001.png",
        "other/gone.png",
        "images/caf\\udce9\\n.png",
        "images/000.png",
    ]
    for file, chosen in (("a.json", names[:3]), ("b.json", names[3:])):
        (folder / file).write_text(
            "[" + ", ".join(f'{{"id": "7", "image": "{n}", {turns}}}' for n in chosen) + "]"
        )
    source = [*MICRO, "--images", ".", "--data", "a.json", "--data", "b.json", "--out", "store"]
    code, out, _ = viral("cache", "plan", *source, "--json")
    planned = json.loads(out)
    assert code == 0
    counts = [
        (source["name"], source["num_images"], source["num_new_images"]) for source in planned["sources"]
    ]
    assert counts == [("a.json", 3, 3), ("b.json", 2, 1)]
    assert planned["images_by_folder"] == {"images": 3, "other": 1}
    assert planned["rejects_by_folder"] == {"images": 1, "other": 1}
    assert (planned["keys"], planned["num_files_read"]) == ("sha256", 2)
    code, out, _ = viral("cache", "plan", *source, "--trust-paths")
    assert code == 0
    for words in (
        "3 entries",
        "2 repeated ids",
        "other",
        "1 unusable",
        "path+size: nothing was read",
    ):
        assert words in out, out


def test_verify_names_bad_shards_and_repair_lets_build_refill(viral, folder):
    source = [*MICRO, "--images", "images", "--out", "store", "--shard-size", "2"]
    viral("cache", "build", *source)
    sound = store_bytes(folder / "store")
    shard = folder / "store" / "codes" / "c.1.0.0"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)

    code, out, _ = viral("cache", "verify", "store", "--json")
    assert (code, json.loads(out)["bad_shards"]) == (1, [1])
    code, out, _ = viral("cache", "verify", "store")
    assert code == 1
    assert "bad shards: 1" in out
    assert "--repair" in out
    assert viral("cache", "verify", "store", "--repair")[0] == 1
    assert viral("cache", "info", "store")[1].count("unfinished, 1 shards to go") == 1
    assert viral("cache", "build", *source)[0] == 0
    assert viral("cache", "verify", "store")[0] == 0
    assert store_bytes(folder / "store") == sound


def test_recompute_notices_features_of_other_images(viral, folder):
    """Bytes can be sound and still be the wrong ones: here each row's codes belong to its neighbour."""
    from pipelines import cache_shards
    from stores import create_store, finish_store, open_store

    source = [*MICRO, "--images", "images"]
    viral("cache", "build", *source, "--out", "right")
    right = open_store(folder / "right")
    plan = cache_shards.Plan(
        spec=right.manifest.spec, keys=tuple(right.keys()), paths=tuple(f"{row:03d}.png" for row in range(6))
    )
    create_store(folder / "wrong", plan)
    codes = right.read_many(plan.keys)[[1, 2, 3, 4, 5, 0]]
    report = cache_shards.ShardReport(shard_id=0, num_images=6, cosine=right.manifest.cosine)
    cache_shards.write_shard(folder / "wrong", plan, 0, codes, report)
    finish_store(folder / "wrong", plan)
    code, out, _ = viral(
        "cache", "verify", "wrong", "--recompute", "6", "--images", "images", "--device", "cpu"
    )
    assert code == 1
    assert out.count("its features point elsewhere") == 6


NOT_LLAVA = {
    "broken.json": "[{",
    "object.json": '{"image": "000.png"}',
    "cut.json": '[{"image": "000.png", "conversations": [{"from": "human", "value": "<ima',
    "captions.json": '[{"image": "000.png", "caption": "a cat"}]',
    "missing.json": '[{"image": "gone.png", "conversations": [{"from": "human", "value": "<image>"}, '
    '{"from": "gpt", "value": "a"}]}]',
    "outside.json": '[{"image": "../../etc/passwd", "conversations": [{"from": "human", "value": "<image>"}, '
    '{"from": "gpt", "value": "a"}]}]',
}

BAD_INPUT = {
    "unknown teacher": (["--vfm", "dino3"], "Unknown teacher 'dino3'. Known: "),
    "unknown codec": (["--codec", "int4"], "Unknown codec 'int4'. Known: bf16, fp16, int8, lm2, lm3, lm4"),
    "unknown store": (["--store", "tar"], "Unknown store format 'tar'. Known: webdataset, zarr"),
    "unknown profile": (["--profile", "papper"], "Unknown profile 'papper'. Known: native, paper, release"),
    "unknown dtype": (["--dtype", "fp8"], "Unknown teacher dtype 'fp8'"),
    "unusable device": (["--device", "cuda:77"], "use cpu, or auto"),
    "a device without a name": (["--devices", "cpu,,cpu"], "--devices 'cpu,,cpu': expected names"),
    "only a comma for devices": (["--devices", ","], "expected names such as cuda:0"),
    "no data file": (["--data", "nowhere.json"], "No annotation file at nowhere.json"),
    "no image root": (["--images", "nowhere"], "No image folder at nowhere"),
    "no weights": (["--weights", "nowhere.safetensors"], "No teacher weights at nowhere.safetensors"),
    "weights that are none": (["--weights", "images/000.png"], "--weights FILE"),
    "broken JSON": (["--data", "broken.json"], "is not valid JSON"),
    "JSON cut short": (["--data", "cut.json"], "cut.json is not valid JSON"),
    "second file broken": (
        ["--data", "missing.json", "--data", "broken.json"],
        "broken.json is not valid JSON",
    ),
    "JSON of another kind": (["--data", "object.json"], "holds no list of conversations"),
    "JSON of another data set": (["--data", "captions.json"], "has no 'conversations' list"),
    "only missing images": (["--data", "missing.json"], "No usable image"),
    "only images outside the root": (["--data", "outside.json"], "leaves the image root"),
    "a tar file cut short": (["--images", "cut"], "0.tar' is no sound tar file"),
    "no images at all": (["--images", "empty"], "holds no image file"),
    "output of somebody else": (["--out", "thesis"], "not empty and no feature store"),
    "output is a file": (["--out", "broken.json"], "is a file"),
    "shard size zero": (["--shard-size", "0"], "--shard-size 0 is too small"),
    "too many rejects": (
        ["--images", "torn", "--max-rejects", "1"],
        "2 of 3 images are unusable, 1 are allowed",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_exit_code_2(viral, folder, case):
    for name, content in NOT_LLAVA.items():
        (folder / name).write_text(content)
    (folder / "empty").mkdir()
    (folder / "thesis").mkdir()
    (folder / "thesis" / "chapter.tex").write_text("dear")
    (folder / "cut").mkdir()
    (folder / "cut" / "0.tar").write_bytes(b"short")
    write_pictures(folder / "torn", 3)
    for name in ("000.png", "001.png"):
        (folder / "torn" / name).write_bytes(name.encode())
    before = store_bytes(folder)

    options, message = BAD_INPUT[case]
    code, out, err = viral("cache", "build", *MICRO, "--images", "images", "--out", "store", *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    after = store_bytes(folder)
    assert {name: after[name] for name in before} == before, "nothing that was there is lost"


def test_hub_without_network_is_quick_and_names_the_remedy(folder):
    """The real process; a proxy that nobody answers stands for a machine without network."""
    command = [
        str(Path(sys.executable).with_name("viral")),
        "cache",
        "build",
        "--images",
        "images",
        "--out",
        "s",
    ]
    environment = {**os.environ, "HF_HOME": str(folder / "hub"), "HF_ENDPOINT": "http://unreachable.invalid"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "--weights FILE" in run.stderr


def test_stores_that_are_not_there_or_not_finished(viral, folder):
    for command in (
        ["verify", "nowhere"],
        ["info", "nowhere"],
        ["show", "nowhere", "--image", "x", "--out", "y"],
    ):
        code, _, err = viral("cache", *command)
        assert code == 2
        assert err.count("\n") == 1
        assert "viral cache build" in err
    viral("cache", "build", *MICRO, "--images", "images", "--out", "store")
    code, _, err = viral("cache", "verify", "store", "--recompute", "2")
    assert (code, err) == (2, "error: --recompute needs the folder of the images: give --images DIR.\n")
    (folder / "new.png").write_bytes(b"")
    code, _, err = viral("cache", "show", "store", "--image", "new.png", "--out", "y.png")
    assert code == 2
    assert "has no image" in err
    (folder / "store" / "manifest.json").unlink()
    code, _, err = viral("cache", "verify", "store")
    assert code == 2
    assert "unfinished" in err


def test_a_picture_is_not_written_over_a_folder(viral, folder):
    viral("cache", "build", *MICRO, "--images", "images", "--out", "store")
    code, _, err = viral("cache", "show", "store", "--image", "images/000.png", "--out", "images")
    assert (code, err) == (2, "error: Is a directory: images\n")


def test_a_store_that_was_made_without_us_is_described_and_no_more(viral, folder):
    build(folder / "store", make_plan())
    code, out, _ = viral("cache", "info", "store")
    assert code == 0
    assert "3x4x16 int8" in out
    (folder / "image").write_bytes(b"5")  # what key 5 is made of
    for command, message in (
        (["show", "store", "--image", "image", "--out", "x.png"], "no image_size"),
        (
            ["verify", "store", "--recompute", "1", "--images", "images"],
            "does not say which teacher built it",
        ),
        (["append", "store", "--images", "images"], "does not say which teacher built it"),
    ):
        code, out, err = viral("cache", *command)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err


def test_images_that_cannot_be_read_are_no_wrong_features(viral, folder):
    with tarfile.open(folder / "tars.tar", "w") as archive:
        archive.add("images", ".")
    (folder / "tars").mkdir()
    (folder / "tars.tar").rename("tars/0.tar")
    assert viral("cache", "build", *MICRO, "--images", "tars", "--out", "store")[0] == 0
    os.truncate("tars/0.tar", 2000)
    code, _, err = viral(
        "cache", "verify", "store", "--recompute", "2", "--images", "tars", "--device", "cpu"
    )
    assert (code, err.count("\n")) == (2, 1)
    assert "Cannot recompute '0.tar/" in err


def test_names_that_are_no_text_are_printed_to_a_strict_terminal(folder):
    out = b"caf\xe9"
    command = [sys.executable, "-c", "from cli.main import main; main()", "cache"]
    built = [*command, "build", *MICRO, "--images", "images", "--out", out]
    for line in (built, [*command, "export", out, "--out", out + b"2"], [*command, "info", out]):
        run = subprocess.run(
            line,
            env={**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=False,
        )
        assert (run.returncode, run.stderr) == (0, b"")
        assert b"caf\\udce9" in run.stdout


def test_recompute_with_other_weights_is_refused(viral, folder):
    from safetensors.torch import save_file

    from viral.teachers import get_teacher
    from viral.teachers.load import load_teacher

    state = load_teacher(get_teacher("micro"), "random").backbone.state_dict()
    save_file(state, folder / "first.safetensors")
    save_file({**state, "norm.bias": state["norm.bias"] + 1}, folder / "second.safetensors")
    viral("cache", "build", *MICRO, "--images", "images", "--out", "store", "--weights", "first.safetensors")
    check = ["cache", "verify", "store", "--recompute", "1", "--images", "images", "--device", "cpu"]
    assert viral(*check, "--weights", "first.safetensors")[0] == 0
    code, _, err = viral(*check, "--weights", "second.safetensors")
    assert code == 2
    assert "weights_sha256" in err


def test_tiles_from_plan_to_picture(viral, folder):
    source = [*MICRO, "--images", "images", "--out", "store", "--tiles", "llava-next@28"]
    code, out, _ = viral("cache", "plan", *source)
    assert (code, "6 distinct, 30 views, in 6 files" in out) == (0, True)
    code, out, _ = viral("cache", "build", *source)
    assert (code, "30 records, one for each view of 6" in out, "views/s" in out) == (0, True, True)
    code, out, _ = viral("cache", "info", "store", "--json")
    info = json.loads(out)
    assert (info["num_images"], info["num_rows"], info["num_records"]) == (6, 30, 30)
    assert info["fingerprint"]["tiles"]["name"] == "llava-next"
    assert "6 in 30 views, 30 records in" in viral("cache", "info", "store")[1]
    code, out, _ = viral(
        "cache", "verify", "store", "--recompute", "30", "--images", "images", "--device", "cpu"
    )
    assert (code, "recomputed 30 records" in out) == (0, True)
    code, _, _ = viral("cache", "show", "store", "--image", "images/002.png", "--out", "picture.png")
    with Image.open("picture.png") as picture:
        assert (code, picture.size) == (0, (128, 5 * 64))
    code, _, err = viral("cache", "build", *source[:-1], "anyres")
    assert (code, err) == (2, "error: Unknown tiling 'anyres'. Known: llava-next.\n")
