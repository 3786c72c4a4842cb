"""What a run takes from its data settings: files, groupings, packing, several images, cut samples."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from pipelines.training.config import read_config, with_overrides, write_config
from pipelines.training.folder import read_metrics
from pipelines.training.loop import train
from pipelines.training.samples import build_encoding
from pipelines.training.setup import build_run
from tests.training.conftest import turns, write_annotations
from viral.errors import ConfigError, DataError, WeightsError
from viral.mllm.student import load_student

NAMES = [f"{index:02d}.png" for index in range(12)]


def metrics(config, world, output: Path, **overrides) -> list[dict]:
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    train(with_overrides(config, dotted), cache=world["cache"], output=output)
    return read_metrics(output)


def test_packing_changes_no_loss_of_a_run(config, world, tmp_path: Path):
    """Step by step: the same samples in the same micro-batches, the same weights of their tokens."""
    settings = {"lora__dropout": 0.0, "optim__lr": 1e-2}
    padded = metrics(config, world, tmp_path / "padded", **settings)
    packed = metrics(config, world, tmp_path / "packed", data__pack=True, **settings)
    for ours, theirs in zip(packed, padded, strict=True):
        for name in ("loss", "loss/lm", "align/cosine"):
            assert ours[name] == pytest.approx(theirs[name], abs=2e-5)
        assert ours["tokens"] == theirs["tokens"]
    assert abs(padded[-1]["loss"] - padded[0]["loss"]) > 0.01


def test_packing_with_workers_checkpointing_and_bf16(config, world, tmp_path: Path):
    settings = {
        "data__pack": True,
        "data__num_workers": 2,
        "gradient_checkpointing": True,
        "precision": "bf16",
    }
    assert len(metrics(config, world, tmp_path / "run", **settings)) == 6


def test_several_annotation_files_are_one(config, world, tmp_path: Path):
    entries = json.loads(world["annotations"].read_text())
    (tmp_path / "a.json").write_text(json.dumps(entries[:5]))
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, entries[5:])))
    files = [str(tmp_path / "a.json"), str(tmp_path / "b.jsonl")]
    parted = metrics(config, world, tmp_path / "parted", data__annotations=files)
    whole = metrics(config, world, tmp_path / "whole")
    assert [line["loss"] for line in parted] == [line["loss"] for line in whole]
    inputs = json.loads((tmp_path / "parted/inputs.json").read_text())
    assert len(inputs["annotations"]) == 2
    assert inputs["samples"]["count"] == 16


def test_settings_of_one_file_and_of_several_survive_being_written(config, tmp_path: Path):
    for files in ("a.json", ["a.json", "b.jsonl"]):
        changed = with_overrides(config, {"data.annotations": files})
        (tmp_path / "config.yaml").write_text(write_config(changed))
        assert read_config(tmp_path / "config.yaml") == changed
    with pytest.raises(ConfigError, match=r"data.annotations names no file"):
        with_overrides(config, {"data.annotations": []})


def multi_image(folder: Path) -> Path:
    entries = json.loads(write_annotations(folder / "a.json", NAMES).read_text())
    entries[0] |= {"image": NAMES[:3], "conversations": turns("Is <image> <image>?\n<image>", "no")}
    (folder / "a.json").write_text(json.dumps(entries))
    return folder / "a.json"


@pytest.mark.parametrize("pack", [False, True])
def test_samples_with_several_images_train(config, world, tmp_path: Path, pack):
    lines = metrics(
        config, world, tmp_path / "run", data__annotations=str(multi_image(tmp_path)), data__pack=pack
    )
    assert all(abs(line["align/cosine"]) <= 1 for line in lines if line["align/cosine"] is not None)


def test_a_cut_image_stops_or_is_dropped_and_counted(config, world, tmp_path: Path):
    room = {"data__annotations": str(multi_image(tmp_path)), "optim__max_steps": 4}  # an epoch
    run = build_run(with_overrides(config, {"data.annotations": room["data__annotations"]}), world["cache"])
    ids = run.dataset[0].input_ids
    room["data__max_length"] = len(ids) - ids[::-1].index(run.dataset.encoding.image.id) - 1
    with pytest.raises(DataError, match=r"sample '00.png' .* set data.on_cut_image=drop"):
        metrics(config, world, tmp_path / "stopped", **room)
    lines = metrics(config, world, tmp_path / "run", data__on_cut_image="drop", **room)
    assert sum(line["truncated"] for line in lines) >= 1


@pytest.mark.parametrize("grouping", ["none", "length"])
def test_other_groupings(config, world, tmp_path: Path, grouping):
    assert len(metrics(config, world, tmp_path / "run", data__grouping=grouping)) == 6


def test_what_a_run_is_made_of_is_said_in_one_line(config, world, tmp_path: Path, caplog):
    entries = json.loads(write_annotations(tmp_path / "a.json", NAMES).read_text())
    entries[-1]["conversations"][-1]["value"] = ""
    (tmp_path / "a.json").write_text(json.dumps(entries))
    with caplog.at_level(logging.INFO):
        build_run(with_overrides(config, {"data.annotations": str(tmp_path / "a.json")}), world["cache"])
    assert (
        "16 samples (4 text only, 1 without an answer); global batch 4 = 2 samples x 1 ranks x 2"
        in caplog.text
    )
    assert "6 steps (4 an epoch)" in caplog.text


def test_a_micro_batch_without_any_answer_is_finite(config, world, tmp_path: Path):
    entries = [{"id": name, "image": name, "conversations": turns("<image>", "")} for name in NAMES]
    entries[0]["conversations"] = turns("<image>", "yes")
    (tmp_path / "a.json").write_text(json.dumps(entries))
    for pack in (False, True):
        lines = metrics(
            config,
            world,
            tmp_path / f"run-{pack}",
            data__annotations=str(tmp_path / "a.json"),
            data__pack=pack,
            data__batch_size=1,
            data__micro_batch_size=1,
        )
        losses = [line["loss/lm"] for line in lines]
        assert losses.count(0.0) in (len(losses) - 1, len(losses))
        assert all(np.isfinite(losses))


def test_a_template_of_another_family_is_refused_before_any_step(config, world, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"'qwen_2' ends answers with '<.im_end.>'"):
        metrics(config, world, tmp_path / "run", data__template="qwen_2")


def test_padding_the_model_does_not_have_is_refused(config, world):
    student = load_student(str(world["llava"]))
    student.tokenizer.add_tokens([f"<{number}>" for number in range(100)])
    student.tokenizer.add_special_tokens({"pad_token": "<new>"})
    with pytest.raises(WeightsError, match=r"pads with token \d+ \('<new>'\), the model has 420 embeddings"):
        build_encoding(config.data, student)
