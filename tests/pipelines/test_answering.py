"""How `viral eval` has questions answered: backends and what they refuse, precision, a kill between benchmarks."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipelines.answering import BACKENDS, get_backend
from pipelines.answering.vllm import collapse
from pipelines.evaluate import generate_replies, pick_dtype
from tests.benchmarks import worlds
from viral.errors import ConfigError, UnknownNameError

NAMES = ["cvbench", "pope"]
SLOW_EVAL = """
import sys, time
import torch
torch.set_num_threads(1)
from pipelines.replies import ReplyLog
add = ReplyLog.add
ReplyLog.add = lambda *given: (add(*given), time.sleep(0.15))
from cli.main import main
sys.argv[0] = "viral"
main()
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    return worlds.pope(worlds.cvbench(folder))


def line_set(path: Path) -> set[str]:
    return set(path.read_text().splitlines())


def number_of_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize("killed_in", NAMES)
def test_a_killed_eval_goes_on_to_the_replies_of_an_uninterrupted_one(data, llava_dir, tmp_path, killed_in):
    out, whole = tmp_path / "killed", tmp_path / "whole"
    options = {"--model": llava_dir, "--benchmarks": ",".join(NAMES), "--data": data, "--output": out}
    arguments = [str(part) for option in options.items() for part in option]
    command = [
        sys.executable,
        "-P",
        "-c",
        SLOW_EVAL,
        "eval",
        *arguments,
        "--device",
        "cpu",
        "--batch-size",
        "3",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while number_of_lines(out / killed_in / "replies.jsonl") < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = [number_of_lines(out / name / "replies.jsonl") for name in NAMES]
    generate_replies(str(llava_dir), NAMES, data, whole, batch_size=5, device="cpu")
    total = [number_of_lines(whole / name / "replies.jsonl") for name in NAMES]
    assert done[NAMES.index(killed_in)] < total[NAMES.index(killed_in)]
    assert sum(done) < sum(total)
    generate_replies(str(llava_dir), NAMES, data, out, device="cpu")
    for name in NAMES:
        assert line_set(out / name / "replies.jsonl") == line_set(whole / name / "replies.jsonl")
        assert number_of_lines(out / name / "replies.jsonl") == number_of_lines(
            whole / name / "replies.jsonl"
        )


def test_settings_name_backend_and_precision_and_neither_may_change(data, llava_dir, tmp_path):
    generate_replies(str(llava_dir), ["pope"], data, tmp_path, device="cpu")
    settings = json.loads((tmp_path / "pope/settings.json").read_text())
    assert settings["dtype"] == "float32"
    assert list(settings["backend"]) == ["transformers"]
    with pytest.raises(ConfigError, match="made with dtype='float32', now it is 'bfloat16'"):
        generate_replies(str(llava_dir), ["pope"], data, tmp_path, device="cpu", dtype="bfloat16")


def test_replies_can_be_made_in_other_precisions(data, llava_dir, tmp_path):
    paths = generate_replies(str(llava_dir), ["cvbench"], data, tmp_path, device="cpu", dtype="bfloat16")
    assert number_of_lines(paths["cvbench"]) == 10


def test_auto_is_the_precision_of_the_release_on_a_gpu():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert [pick_dtype("auto", device) for device in (cpu, cuda)] == ["float32", "float16"]
    assert pick_dtype("bfloat16", cuda) == "bfloat16"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"backend": "sglang"}, UnknownNameError, "Unknown backend 'sglang'. Known: transformers, vllm"),
        (
            {"dtype": "int8"},
            UnknownNameError,
            "Unknown dtype 'int8'. Known: auto, bfloat16, float16, float32",
        ),
        ({"batch_size": 0}, ConfigError, "Nothing to do"),
        (
            {"backend": "vllm"},
            ConfigError,
            "The backend vllm needs a GPU, found cpu; use --backend transformers.",
        ),
    ],
)
def test_wrong_settings(data, llava_dir, tmp_path, changes, error, message):
    with pytest.raises(error) as caught:
        generate_replies(str(llava_dir), ["pope"], data, tmp_path / "out", device="cpu", **changes)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_every_backend_tries_a_batch_on_a_gpu():
    assert all(backend.batch_size["cuda"] > 0 for backend in BACKENDS.values())
    assert [get_backend(name).name for name in BACKENDS] == list(BACKENDS)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_vllm_that_is_not_installed_is_one_line(llava_dir):
    with pytest.raises(ConfigError, match=r"vLLM is not installed .*--backend transformers"):
        get_backend("vllm").check(str(llava_dir), torch.device("cuda"))


def test_vllm_gets_one_token_for_each_block():
    assert collapse([1, 3, 3, 3, 5, 3, 3, 6], 3) == [1, 3, 5, 3, 6]
    assert collapse([3, 3, 7], 3) == [3, 7]
    assert collapse([], 3) == []
