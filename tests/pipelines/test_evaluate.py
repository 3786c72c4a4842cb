"""Generation and scoring end to end with a tiny real LLaVA, kills and bad input included."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.comparison import ALL, compare_replies
from pipelines.evaluate import evaluate, generate_one, generate_replies, score
from tests import tiny
from tests.benchmarks import worlds
from viral.benchmarks import BENCHMARKS, get_benchmark, load_items, prompt
from viral.errors import ConfigError, DataError, ImageError, UnknownNameError, ViralError, WeightsError

NAMES = ["cvbench", "pope"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    return worlds.pope(worlds.cvbench(folder))


@pytest.fixture(scope="module")
def finished(data, llava_dir, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("eval")
    evaluate(str(llava_dir), NAMES, data, out, batch_size=4, device="cpu")
    return out


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_reply_per_item_with_its_prompt_and_settings(finished, data):
    for name, total in (("cvbench", 10), ("pope", 14)):
        rows = lines(finished / name / "replies.jsonl")
        items = load_items(get_benchmark(name), data)
        assert sorted(row["id"] for row in rows) == sorted(item.id for item in items)
        assert len(rows) == total
        settings = json.loads((finished / name / "settings.json").read_text())
        assert settings["image_mode"] == "crop"
        assert settings["template"] == "llava_v1"
        assert settings["decoding"] == "greedy"
        assert settings["suffix"] == BENCHMARKS[name].protocols["paper"].suffix
        assert all(len(digest) == 64 for digest in [settings["weights"], *settings["data"].values()])
    assert set(json.loads((finished / "scores.json").read_text())) == set(NAMES)


@pytest.mark.parametrize("profile", ["paper", "clean"])
def test_all_six_benchmarks_can_be_asked(llava_dir, tmp_path, profile):
    data = tmp_path / "data"
    for write in worlds.WRITERS.values():
        write(data)
    scores = evaluate(
        str(llava_dir), list(BENCHMARKS), data, tmp_path / "out", profile=profile, batch_size=16, device="cpu"
    )
    assert list(scores) == list(BENCHMARKS)
    for name, benchmark in BENCHMARKS.items():
        assert scores[name]["scored"] == len(load_items(benchmark, data))
        again = score(name, data, tmp_path / "out" / name / "replies.jsonl")
        assert again == json.loads((tmp_path / "out/scores.json").read_text())[name]


def test_the_prompt_hash_is_that_of_the_exact_prompt(finished, data):
    import hashlib

    items = {item.id: item for item in load_items(get_benchmark("pope"), data)}
    for row in lines(finished / "pope/replies.jsonl"):
        text = prompt(get_benchmark("pope"), items[row["id"]], "paper")
        assert row["prompt_sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_a_torn_reply_is_cut_off_and_the_rest_is_resumed(finished, data, llava_dir, tmp_path):
    out = tmp_path / "eval"
    (out / "pope").mkdir(parents=True)
    whole = (finished / "pope/replies.jsonl").read_bytes()
    (out / "pope/replies.jsonl").write_bytes(whole[: len(whole) * 2 // 3])
    (out / "pope/settings.json").write_bytes((finished / "pope/settings.json").read_bytes())
    generate_replies(str(llava_dir), ["pope"], data, out, batch_size=3, device="cpu")
    by_id = {row["id"]: row for row in lines(finished / "pope/replies.jsonl")}
    resumed = lines(out / "pope/replies.jsonl")
    assert len(resumed) == len(by_id)
    assert {row["id"]: row for row in resumed} == by_id


def test_finished_replies_are_not_generated_again(finished, data, llava_dir):
    before = (finished / "pope/replies.jsonl").stat().st_mtime_ns
    assert set(evaluate(str(llava_dir), ["pope"], data, finished, device="cpu")) == {"pope"}
    assert (finished / "pope/replies.jsonl").stat().st_mtime_ns == before


def test_other_settings_do_not_mix(finished, data, llava_dir, tmp_path):
    with pytest.raises(
        ConfigError, match=r"made with profile='paper', now it is 'clean'; give another --output"
    ):
        generate_replies(str(llava_dir), ["pope"], data, finished, profile="clean", device="cpu")
    (tmp_path / "pope").symlink_to(finished / "pope")
    with pytest.raises(ConfigError, match=r"pope holds replies made with model=.*, now it is"):
        generate_replies(str(tiny.save_llava(tmp_path / "other")), ["pope"], data, tmp_path, device="cpu")


def test_scores_of_a_second_call_join_those_of_the_first(data, llava_dir, tmp_path):
    for name in (*NAMES, "cvbench"):
        evaluate(str(llava_dir), [name], data, tmp_path / "eval", device="cpu")
    scores = json.loads((tmp_path / "eval/scores.json").read_text())
    assert list(scores) == NAMES
    assert [scores[name]["benchmark"] for name in NAMES] == NAMES


def test_scores_of_another_model_or_profile_are_refused_before_anything_is_written(data, llava_dir, tmp_path):
    out = tmp_path / "eval"
    evaluate(str(llava_dir), ["pope"], data, out, device="cpu")
    other = tiny.save_llava(tmp_path / "other", seed=1)
    before = sorted(out.rglob("*")), (out / "scores.json").read_bytes()
    for changes, field in (
        ({"model": str(other)}, "weights='[0-9a-f]{64}'"),
        ({"model": str(llava_dir), "profile": "clean"}, "profile='paper'"),
    ):
        with pytest.raises(
            ConfigError, match=rf"scores of pope made with {field}, now it is .* another --output"
        ):
            evaluate(**changes, benchmarks=["cvbench"], data_dir=data, out_dir=out, device="cpu")
    assert before == (sorted(out.rglob("*")), (out / "scores.json").read_bytes())


def test_a_moved_model_keeps_its_scores(data, llava_dir, tmp_path):
    (tmp_path / "moved").symlink_to(llava_dir)
    evaluate(str(llava_dir), ["pope"], data, tmp_path / "eval", device="cpu")
    evaluate(str(tmp_path / "moved"), ["cvbench"], data, tmp_path / "eval", device="cpu")
    assert set(json.loads((tmp_path / "eval/scores.json").read_text())) == set(NAMES)


@pytest.mark.parametrize("content", ["{", "[]", '{"pope": 1}', '{"pope": {"generated": null}}'])
def test_a_damaged_scores_file_is_named(data, llava_dir, tmp_path, content):
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(DataError, match=r"scores\.json is damaged; remove it"):
        evaluate(str(llava_dir), ["pope"], data, tmp_path, device="cpu")
    assert (tmp_path / "scores.json").read_text() == content


def test_a_killed_generation_is_resumed_to_the_same_replies(finished, data, llava_dir, tmp_path):
    script = (
        "import sys, time, pathlib\n"
        "import torch\n"
        "torch.set_num_threads(1)\n"
        "import pipelines.replies as r\n"
        "add = r.ReplyLog.add\n"
        "r.ReplyLog.add = lambda *a: (add(*a), time.sleep(0.2))\n"
        "from pipelines.evaluate import generate_replies\n"
        "generate_replies(sys.argv[1], ['cvbench'], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]),"
        " batch_size=2, device='cpu')\n"
    )
    out = tmp_path / "eval"
    process = subprocess.Popen([sys.executable, "-P", "-c", script, str(llava_dir), str(data), str(out)])
    replies = out / "cvbench/replies.jsonl"
    deadline = time.monotonic() + 120
    while (
        not (replies.exists() and len(replies.read_bytes().splitlines()) >= 3) and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 3 <= len(replies.read_bytes().splitlines()) < 10
    generate_replies(str(llava_dir), ["cvbench"], data, out, device="cpu")
    assert {row["id"]: row for row in lines(replies)} == {
        row["id"]: row for row in lines(finished / "cvbench/replies.jsonl")
    }


def test_scores_follow_the_profile_of_the_generation(finished, data):
    replies = finished / "pope/replies.jsonl"
    assert score("pope", data, replies)["profile"] == "paper"
    clean = score("pope", data, replies, profile="clean")
    assert clean["headline"]["name"] == "mean F1"
    assert clean["generated"]["profile"] == "paper"


def test_scoring_under_a_profile_that_needs_more_splits_says_so(tmp_path):
    for split in ("random", "popular"):
        worlds.write_lines(tmp_path / f"POPE/pope_{split}.jsonl", worlds.pope_rows(3000, split))
    answers = [{"id": item.id, "reply": "yes"} for item in load_items(get_benchmark("pope"), tmp_path)]
    replies = worlds.write_lines(tmp_path / "mine.jsonl", answers)
    assert score("pope", tmp_path, replies)["headline"]["value"] == 50.0
    with pytest.raises(DataError, match=r"No file .*pope_adversarial"):
        score("pope", tmp_path, replies, profile="clean")


def test_replies_alone_can_be_scored(data, tmp_path):
    rows = [{"id": item.id, "reply": item.answer} for item in load_items(get_benchmark("pope"), data)]
    path = worlds.write_lines(tmp_path / "mine.jsonl", rows)
    assert score("pope", data, path)["headline"] == {"name": "mean accuracy", "value": 100.0, "maximum": 100}


def test_replies_to_other_files_are_refused(finished, tmp_path):
    other = worlds.pope(tmp_path, (6, 4, 4))
    path = other / "POPE/pope_random.jsonl"
    path.write_text(path.read_text().replace("drum", "kite"))
    with pytest.raises(DataError, match="other than those of POPE"):
        score("pope", other, finished / "pope/replies.jsonl")
    with pytest.raises(DataError, match="other than those of CV-Bench 2D"):
        score("cvbench", worlds.cvbench(tmp_path), finished / "pope/replies.jsonl")


def test_comparison_rows(data, tmp_path):
    items = load_items(get_benchmark("cvbench"), data)
    right = worlds.write_lines(tmp_path / "a.jsonl", [{"id": i.id, "reply": i.answer} for i in items])
    wrong = worlds.write_lines(tmp_path / "b.jsonl", [{"id": i.id, "reply": "?"} for i in items])
    rows = compare_replies("cvbench", data, wrong, right)
    assert [row.task for row in rows] == ["headline", "count", "relation", ALL]
    assert [row.total for row in rows] == [10, 6, 4, 10]
    assert rows[1].chance == pytest.approx(100 * (1 / 4 + 1 / 3) / 2)
    assert (rows[3].baseline.value, rows[3].other.value, rows[3].delta) == (0.0, 100.0, 100.0)
    assert rows[3].significant
    assert rows[3].other.interval == (pytest.approx(72.2, abs=0.1), 100.0)


def test_one_question(data, llava_dir):
    image = data / "cvbench/img/2D/0.png"
    reply = generate_one(str(llava_dir), image, "How many?", max_new_tokens=5, device="cpu")
    assert reply == reply.strip()
    assert reply == generate_one(str(llava_dir), image, "<image>\nHow many?", max_new_tokens=5, device="cpu")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"benchmarks": ["gqa"]}, UnknownNameError, "Unknown benchmark 'gqa'. Known: cvbench, mme, mmstar"),
        ({"benchmarks": []}, ConfigError, "Nothing to do"),
        ({"profile": "release"}, UnknownNameError, "Unknown evaluation profile"),
        ({"device": "cuda:99"}, ConfigError, "not available"),
        ({"model": "nowhere/at/all"}, WeightsError, "nowhere/at/all"),
        ({"data_dir": Path("nowhere")}, DataError, "No file nowhere/cvbench/test_2d.jsonl"),
    ],
)
def test_wrong_arguments(data, llava_dir, tmp_path, changes, error, message):
    settings = {
        "model": str(llava_dir),
        "benchmarks": ["cvbench"],
        "data_dir": data,
        "device": "cpu",
    } | changes
    with pytest.raises(error) as caught:
        generate_replies(settings.pop("model"), out_dir=tmp_path / "out", **settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config["text_config"], "is a llama model, expected a LLaVA"),
        (
            lambda config: config | {"image_token_id": None},
            "tokenizer's <image> is token .*, the model expects None",
        ),
    ],
)
def test_a_model_without_image_token(data, llava_dir, tmp_path, change, message):
    model = shutil.copytree(llava_dir, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(change(config)))
    with pytest.raises(WeightsError, match=message):
        generate_replies(str(model), ["pope"], data, tmp_path / "out", device="cpu")


@pytest.mark.parametrize("damage", ["missing", "corrupt"])
def test_bad_pictures(llava_dir, tmp_path, damage):
    data = worlds.cvbench(tmp_path / "data")
    picture = data / "cvbench/img/2D/2.png"
    picture.unlink() if damage == "missing" else picture.write_bytes(b"\x89PNG cut")
    with pytest.raises((DataError, ImageError), match=r"2\.png"):
        generate_replies(str(llava_dir), ["cvbench"], data, tmp_path / "out", batch_size=2, device="cpu")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no settings.json beside it"),
        ("{", r"settings\.json is damaged"),
        ("[]", "holds no settings"),
    ],
)
def test_an_output_that_is_not_ours(data, llava_dir, tmp_path, content, message):
    worlds.write_lines(tmp_path / "pope/replies.jsonl", [{"id": "random/1", "reply": "yes"}])
    if content is not None:
        (tmp_path / "pope/settings.json").write_text(content)
    with pytest.raises(DataError, match=message):
        generate_replies(str(llava_dir), ["pope"], data, tmp_path, device="cpu")
    assert lines(tmp_path / "pope/replies.jsonl") == [{"id": "random/1", "reply": "yes"}]


@pytest.fixture(scope="module")
def app():
    import typer

    from cli import evaluate as commands

    app = typer.Typer()
    app.command("eval")(commands.eval_)
    app.command("score")(commands.score)
    app.command("generate")(commands.generate)
    return app


def test_commands(app, data, llava_dir, tmp_path):
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    out, where = tmp_path / "out", ["--data", str(data)]
    asked = ["--model", str(llava_dir), "--benchmarks", "cvbench,pope", "--device", "cpu"]
    table = run("eval", *asked, "--output", str(out), *where)
    assert "benchmark    task         correct  accuracy" in table
    assert "POPE, profile paper: mean accuracy" in table
    assert "not the published size" in table
    replies = out / "cvbench/replies.jsonl"
    common = ["score", "--benchmark", "cvbench", "--replies", str(replies), *where]
    assert json.loads(run(*common, "--json"))["items"] == 10
    replies.write_text("".join(replies.read_text().splitlines(keepends=True)[:7]))
    with pytest.raises(ViralError, match="3 of 10 items"):
        run(*common)
    assert "PARTIAL: 3 of 10 items have no reply" in run(*common, "--partial")
    image = data / "cvbench/img/2D/0.png"
    run(
        "generate",
        "--model",
        str(llava_dir),
        "--image",
        str(image),
        "--prompt",
        "Hi?",
        "--max-new-tokens",
        "3",
    )
