"""`viral analyze` end to end on tiny real LLaVAs: data, figures, resuming, adding models, and bad input."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.main import app
from pipelines.analyses import ANALYSES, get_analysis, job
from pipelines.evaluate import evaluate
from tests import tiny
from tests.benchmarks import worlds
from viral.errors import ConfigError, DataError, ImageError, UnknownNameError, ViralError, WeightsError


@pytest.fixture(scope="module")
def models(tmp_path_factory, llava_dir) -> list[str]:
    other = tiny.save_llava(tmp_path_factory.mktemp("other"), seed=1)
    return ["--model", f"baseline={llava_dir}", "--model", f"VIRAL={other}"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return worlds.pope(worlds.cvbench(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(7):
        pixels = rng.integers(0, 256, (30, 30 + 3 * index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def analyze(name: str, *arguments: object) -> Path:
    """Run the command; returns the file it has written, or raises its error."""
    result = CliRunner().invoke(app, ["analyze", name, *map(str, arguments), "--device", "cpu"])
    if result.exception:
        raise result.exception
    return Path(result.stdout.split()[-1])


def read(path: Path) -> dict:
    found = json.loads(path.read_text())
    assert {"analysis", "title", "settings", "models", "data", "figures"} <= found.keys()
    assert all(len(model["weights"]) == 64 for model in found["models"].values())
    for figure in found["figures"]:
        assert figure["caption"]
        assert (path.parent / figure["file"]).read_text().startswith("<?xml")
        assert Image.open(path.parent / figure["png"]).width > 400
    return found


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def no_models(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(job.Job, "load", refuse)


def test_cknna_by_layer_with_bands_and_paired_differences(models, pictures, tmp_path):
    found = read(
        analyze("cknna", *models, "--images", pictures, "--k", 4, "--batch-size", 3, "--out", tmp_path)
    )
    curves = found["data"]["references"]["vision tower"]
    assert list(curves) == ["baseline", "VIRAL"]
    for curve in curves.values():
        assert curve["layers"] == [0, 1, 2, 3, 4]
        low, mean, high = (np.array(curve[name]) for name in ("low", "mean", "high"))
        assert (low <= mean).all()
        assert (mean <= high).all()
        assert (mean <= 1).all()
    means = [np.array(curve["mean"]) for curve in curves.values()]
    difference = curves["VIRAL"]["difference"]
    assert difference["to"] == "baseline"
    np.testing.assert_allclose(difference["mean"], means[1] - means[0], atol=2e-6)
    assert found["settings"]["questions"]["count"] == 7


def test_the_same_again_is_nothing_to_do_and_the_same_bytes(models, pictures, tmp_path, monkeypatch):
    command = ["cknna", *models, "--images", pictures, "--k", 4, "--limit", 3, "--out", tmp_path]
    path = analyze(*command)
    before, written = bytes_of(tmp_path), path.stat().st_mtime_ns
    monkeypatch.setattr(job.Job, "load", None)
    analyze(*command)
    assert path.stat().st_mtime_ns == written
    for name in before:
        (tmp_path / name).unlink()
    analyze(*command)
    assert bytes_of(tmp_path) == before


def test_a_stopped_analysis_goes_on_where_it_was(models, pictures, tmp_path, monkeypatch):
    from pipelines.analyses.parts import Parts

    command = ["cknna", *models[:2], "--images", pictures, "--k", 4, "--batch-size", 2]
    whole = bytes_of(analyze(*command, "--out", tmp_path / "whole").parent)
    write, written = Parts.write, []

    def dying(self, id_, arrays):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(id_)
        write(self, id_, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "write", dying)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            analyze(*command, "--out", tmp_path / "torn")
    assert not (tmp_path / "torn/cknna.json").exists()

    def counting(self, id_, arrays):
        written.append(id_)
        write(self, id_, arrays)

    monkeypatch.setattr(Parts, "write", counting)
    assert bytes_of(analyze(*command, "--out", tmp_path / "torn").parent) == whole
    assert len(written) == 7


def test_other_settings_or_weights_are_refused(models, pictures, tmp_path, no_models):
    shared = ["--images", pictures, "--limit", 2, "--out", tmp_path]
    with pytest.raises(AssertionError, match="a model was loaded"):
        analyze("cknna", *models[:2], "--k", 4, *shared)
    with pytest.raises(ConfigError, match=r"holds measurements with k=4, now it is 5; give another --out"):
        analyze("cknna", *models[:2], "--k", 5, *shared)
    other = ["--model", f"baseline={models[3].partition('=')[2]}"]
    with pytest.raises(ConfigError, match=r"holds measurements with model='[0-9a-f]{64}', now it is"):
        analyze("cknna", *other, "--k", 4, *shared)


def test_a_further_model_joins_those_that_were_measured(models, pictures, tmp_path):
    command = ["--images", pictures, "--limit", 2, "--k", 4, "--out", tmp_path]
    alone = read(analyze("cknna", *models[:2], *command))["data"]["references"]["vision tower"]
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "cknna/baseline/parts").iterdir()}
    both = read(analyze("cknna", *models, *command))["data"]["references"]["vision tower"]
    assert both["baseline"] == alone["baseline"]
    assert set(both) == {"baseline", "VIRAL"}
    assert parts == {path: path.stat().st_mtime_ns for path in parts}


def test_cknna_over_pictures_and_without_clamping(models, pictures, tmp_path):
    command = ["cknna", *models[:2], "--images", pictures, "--k", 3, "--level", "image"]
    clamped = read(analyze(*command, "--out", tmp_path / "a"))
    free = read(analyze(*command, "--clamp", 0, "--out", tmp_path / "b"))
    assert free["settings"]["clamp"] is None
    curves = [found["data"]["references"]["vision tower"]["baseline"] for found in (clamped, free)]
    assert len(curves[0]["mean"]) == 5
    assert curves[0] != curves[1]
    assert "low" not in curves[0]


def test_models_of_different_depth_share_an_axis_but_no_difference(pictures, llava_dir, tmp_path):
    deep = tiny.save_llava(tmp_path / "deep", num_layers=6)
    two = ["--model", f"a={llava_dir}", "--model", f"b={deep}"]
    command = ["--images", pictures, "--limit", 2, "--k", 4, "--out", tmp_path / "out"]
    curves = read(analyze("cknna", *two, *command))["data"]["references"]["vision tower"]
    assert [len(curve["layers"]) for curve in curves.values()] == [5, 7]
    assert "difference" not in curves["b"]
    with pytest.raises(ConfigError, match=r"layer=6 is out of range; this LLM has layers 0 \(input\) to 4"):
        analyze("cknna", *two, *command[:-1], tmp_path / "deeper", "--layers", "6")


def test_entropy_of_a_table_of_questions(models, pictures, tmp_path):
    table = tmp_path / "questions.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["question_id", "img_id", "question", "answer", "true option"])
        rows.writerows([[f"q{n}", n, "Is the cat left or right?", "left", "left"] for n in range(4)])
    images = tmp_path / "images"
    images.mkdir()
    for n in range(4):
        Image.open(pictures / f"{n}.png").save(images / f"{n}.jpg")
    path = analyze("entropy", *models, "--questions", table, "--images", images, "--out", tmp_path / "out")
    found = read(path)
    assert found["settings"]["questions"]["max_new_tokens"] == 16
    for label in ("baseline", "VIRAL"):
        grid = np.array(found["data"]["heads"][label], dtype=float)
        assert grid.shape == (4, 4)
        maps = found["data"]["maps"][label]
        assert (np.isfinite(grid) | (np.array(maps["infinite"]) == maps["per_head"])).all()
        assert list(found["data"]["replies"][label]) == ["q0", "q1", "q2", "q3"]
    assert found["data"]["per_layer"]["VIRAL"]["difference"]["to"] == "baseline"
    (images / "2.jpg").unlink()
    with pytest.raises(DataError, match=r"1 images are missing, first .*2\.jpg"):
        analyze("entropy", *models, "--questions", table, "--images", images, "--out", tmp_path / "other")
    table.write_text("question_id,question\n1,why\n")
    with pytest.raises(DataError, match="expected rows with the columns question_id, img_id"):
        analyze("entropy", *models, "--questions", table, "--images", images)


def test_attention_maps_of_a_benchmarks_questions(models, data, tmp_path):
    command = ["--benchmark", "cvbench", "--group", "relation", "--data", data, "--limit", 2]
    found = read(analyze("attention", *models, *command, "--layers", "2,1.0", "--out", tmp_path))
    assert [figure["file"] for figure in found["figures"]] == ["attention_0.svg", "attention_1.svg"]
    for asked in found["data"]["questions"]:
        assert asked["question"].startswith("Where is the kite?")
        for seen in asked["models"].values():
            assert seen["layers"] == [2, 4]
            assert np.shape(seen["maps"]) == (2, 4, 4)
            assert all(0 < share <= 1 for share in seen["image_share"])


@pytest.mark.parametrize("basis", ["own", "models", "all"])
def test_pca_maps(models, pictures, tmp_path, basis):
    command = ["--images", pictures, "--limit", 1, "--layers", "0,4", "--basis", basis, "--out", tmp_path]
    found = read(analyze("pca", *models, *command))
    assert len(found["figures"]) == 1
    assert found["data"]["pictures"][0]["layers"] == {"baseline": [0, 4], "VIRAL": [0, 4]}


def test_pca_maps_of_one_layer_stand_in_one_line(models, pictures, tmp_path):
    shapes = {}
    for layers in ("2", "2,4"):
        analyze(
            "pca", *models, "--images", pictures, "--limit", 1, "--layers", layers, "--out", tmp_path / layers
        )
        with Image.open(tmp_path / layers / "pca_0.png") as drawn:
            shapes[layers] = drawn.size
    assert shapes["2"][0] > 2 * shapes["2"][1]
    assert shapes["2,4"][0] < shapes["2,4"][1]


def test_permutation_asks_in_order_what_eval_asks(models, data, llava_dir, tmp_path):
    found = read(
        analyze("permutation", *models, "--data", data, "--seeds", "0,1,5", "--out", tmp_path / "out")
    )
    evaluate(str(llava_dir), ["cvbench"], data, tmp_path / "eval", device="cpu")
    folder = tmp_path / "out/permutation/baseline"
    replies = (folder / "original/cvbench/replies.jsonl").read_text().splitlines()
    assert sorted(replies) == sorted((tmp_path / "eval/cvbench/replies.jsonl").read_text().splitlines())
    for seed in (0, 1, 5):
        made = json.loads((folder / f"seed-{seed}/cvbench/settings.json").read_text())
        assert made["permutation_seed"] == seed
    for tasks in found["data"].values():
        assert {name: task["total"] for name, task in tasks.items()} == {"count": 6, "relation": 4}
        for task in tasks.values():
            assert list(task["permuted"]) == ["0", "1", "5"]
            assert task["mean"] == pytest.approx(sum(task["permuted"].values()) / 3)
            low, high = task["change_interval"]
            assert low <= task["change"] <= high


def test_changes_are_relative_as_in_table_three():
    from pipelines.analyses.permutation import change

    original = np.arange(788) < 400
    shuffled = {str(seed): np.arange(788) < 374 for seed in range(3)}
    found = change(original, shuffled)
    assert (found["original"], found["mean"], found["range"]) == (400, 374, [374, 374])
    assert found["change_percent"] == pytest.approx(-6.5)
    assert change(~np.ones(3, bool), {"0": np.ones(3, bool)})["change_percent"] is None


def test_curve_of_folders_that_eval_wrote(models, data, llava_dir, tmp_path):
    for step in (20, 100):
        evaluate(str(llava_dir), ["cvbench", "pope"], data, tmp_path / f"run/step-{step}", device="cpu")
    command = ["--benchmarks", "cvbench,pope", "--data", data, "--out", tmp_path / "out"]
    lines = ["--evals", f"VIRAL={tmp_path / 'run'}", "--baseline", f"base={llava_dir}"]
    found = read(analyze("curve", *lines, *command))
    points = found["data"]["VIRAL"]
    assert [point["step"] for point in points] == [20, 100]
    (baseline,) = found["data"]["base"]
    assert baseline["step"] is None
    assert baseline["mean"] == points[0]["mean"] == pytest.approx(sum(points[0]["scores"].values()) / 2)
    scores = json.loads((tmp_path / "run/step-20/scores.json").read_text())
    assert set(scores) == {"cvbench", "pope"}
    with pytest.raises(ConfigError, match="no training run with checkpoints"):
        analyze("curve", "--model", f"x={llava_dir}", *command[:-1], tmp_path / "other")
    with pytest.raises(DataError, match="holds no replies of viral eval"):
        analyze("curve", "--evals", f"x={data}", *command[:-1], tmp_path / "third")


def test_the_registry_is_complete_and_names_what_it_knows():
    assert list(ANALYSES) == ["cknna", "entropy", "attention", "permutation", "pca", "curve"]
    with pytest.raises(UnknownNameError, match=r"Unknown analysis 'cka'\. Known: attention, cknna"):
        get_analysis("cka")


BAD: list[tuple[list[str], type[ViralError], str]] = [
    (["cknna"], ConfigError, "either --images DIR, or --benchmark NAME"),
    (["cknna", "--images", "{pictures}", "--benchmark", "cvbench"], ConfigError, "either --images DIR, or"),
    (["cknna", "--images", "{empty}"], DataError, "holds no image file"),
    (["pca", "--images", "{empty}/absent"], DataError, "No image folder"),
    (["pca", "--benchmark", "cvbench", "--data", "{empty}"], DataError, "No file"),
    (["pca", "--benchmark", "nonsense"], UnknownNameError, "Unknown benchmark"),
    (
        ["entropy", "--benchmark", "cvbench", "--data", "{data}", "--group", "depth"],
        ConfigError,
        "no group 'depth'",
    ),
    (["entropy", "--questions", "{pictures}/0.png"], ConfigError, "--questions goes with --images"),
    (["attention", "--images", "{pictures}", "--limit", "0"], ConfigError, "--limit 0 leaves nothing"),
    (["attention", "--images", "{pictures}", "--layers", "0"], ConfigError, "Layer 0 is the input"),
    (
        ["attention", "--images", "{pictures}", "--layers", "two"],
        ConfigError,
        "--layers 'two'; expected numbers",
    ),
    (["attention", "--images", "{broken}"], ImageError, "broken.png: not a readable image"),
    (["cknna", "--images", "{pictures}", "--layers", "9"], ConfigError, "layer=9 is out of range"),
    (["cknna", "--images", "{pictures}", "--k", "16"], ConfigError, "k=16; of 16 samples"),
    (["cknna", "--images", "{pictures}", "--level", "word"], ConfigError, "--level 'word'; expected one of"),
    (["cknna", "--images", "{pictures}", "--batch-size", "0"], ConfigError, "--batch-size 0"),
    (
        ["cknna", "--images", "{pictures}", "--profile", "best"],
        UnknownNameError,
        "Unknown evaluation profile",
    ),
    (["cknna", "--images", "{pictures}", "--model", "baseline=x"], ConfigError, "Two folders are labelled"),
    (["cknna", "--images", "{pictures}", "--model", "b=/no/model"], WeightsError, "/no/model"),
    (["pca", "--images", "{pictures}", "--basis", "mine"], ConfigError, "--basis 'mine'; expected one of"),
    (["permutation", "--data", "{data}", "--seeds", "0,1"], ConfigError, "at least 3 different numbers"),
    (["permutation", "--data", "{data}", "--seeds", "0,1,1"], ConfigError, "at least 3 different numbers"),
    (["curve", "--data", "{data}", "--benchmarks", ","], ConfigError, "No benchmark whose headline"),
    (["curve", "--data", "{data}", "--benchmarks", "none"], UnknownNameError, "Unknown benchmark 'none'"),
    (["permutation", "--data", "{data}", "--seeds", "a"], ConfigError, "whole numbers"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_bad_input_is_told_in_one_line(arguments, error, message, models, pictures, data, tmp_path):
    places = {"pictures": pictures, "data": data, "empty": tmp_path / "empty", "broken": tmp_path / "broken"}
    for name in ("empty", "broken"):
        places[name].mkdir()
    (tmp_path / "broken/broken.png").write_bytes((pictures / "0.png").read_bytes()[:60])
    given = [argument.format(**places) for argument in arguments]
    with pytest.raises(error, match=message) as caught:
        analyze(*given, *models[:2], "--out", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*.json"))


def test_a_damaged_part_or_result_is_named(models, pictures, tmp_path):
    command = ["cknna", *models[:2], "--images", pictures, "--limit", 2, "--k", 4, "--out", tmp_path]
    path = analyze(*command)
    part = next((tmp_path / "cknna/baseline/parts").iterdir())
    part.write_bytes(part.read_bytes()[:100])
    path.unlink()
    with pytest.raises(DataError, match=r"npz is damaged; remove it"):
        analyze(*command)
    path.write_text("{")
    with pytest.raises(DataError, match=r"cknna\.json is damaged; remove it"):
        analyze(*command)


def test_a_student_that_sees_tiles_is_measured_or_refused(pictures, data, tmp_path):
    model = ["--model", f"next={tiny.save_llava_next(tmp_path / 'next')}"]
    asked = ["--images", pictures, "--limit", 2]
    found = read(analyze("cknna", *model, *asked, "--k", 3, "--out", tmp_path / "cknna"))
    assert len(found["data"]["references"]["vision tower"]["next"]["mean"]) == 5
    for name in ("pca", "attention", "entropy"):
        with pytest.raises(ConfigError, match=r"sees tiles.*take cknna or permutation"):
            analyze(name, *model, *asked, "--out", tmp_path / name)
