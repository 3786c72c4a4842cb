"""A run goes on from a whole checkpoint of its own and from nothing else; damage is one line that names the remedy."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from pipelines.training.config import read_config, with_overrides, write_config
from pipelines.training.export import export_run
from pipelines.training.load import load_model
from pipelines.training.loop import train
from pipelines.training.run import Command, train_command
from viral.errors import ConfigError, WeightsError


@pytest.fixture(scope="module")
def finished(config, world, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("finished") / "run"
    train(with_overrides(config, {"optim.max_steps": 4}), cache=world["cache"], output=output)
    return output


def resume(config, world, output: Path) -> Path:
    return train(
        with_overrides(config, {"optim.max_steps": 4}), cache=world["cache"], output=output, resume=True
    )


@pytest.mark.parametrize(
    "name", ["optimizer.safetensors", "adapter/adapter_model.safetensors", "trainer.json"]
)
def test_a_damaged_checkpoint_names_an_older_one(config, world, finished, tmp_path: Path, name: str):
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    file = output / "checkpoints" / "step-000004" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data if name != "trainer.json" else data[:20])
    with pytest.raises(WeightsError, match=r"step-000004 is damaged.*LATEST: step-000002"):
        resume(config, world, output)
    (output / "checkpoints" / "LATEST").write_text("step-000002")
    resume(config, world, output)
    assert file.read_bytes() == (finished / "checkpoints" / "step-000004" / name).read_bytes()


@pytest.mark.parametrize("name", ["adapter/adapter_model.safetensors", "adapter/adapter_config.json"])
def test_damaged_weights_are_neither_exported_nor_asked(finished, tmp_path: Path, name: str):
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    file = output / "checkpoints" / "step-000004" / name
    data = bytearray(file.read_bytes())
    data[-20] ^= 1  # still a readable file
    file.write_bytes(data)
    for use in (lambda: export_run(output, tmp_path / "model"), lambda: load_model(str(output))):
        with pytest.raises(WeightsError, match=r"step-000004 is damaged: .*LATEST: step-000002"):
            use()
    assert not (tmp_path / "model").exists()
    export_run(output, tmp_path / "older", 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [("name: [", "config.yaml is not YAML"), ("name: x", "config.yaml: Invalid settings: model")],
)
def test_a_damaged_configuration_is_named(finished, tmp_path: Path, content: str, message: str):
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    (output / "config.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        Command(settings=[], output=output, resume=True).resolve()


def test_a_checkpoint_that_says_another_step_than_its_name(config, world, finished, tmp_path: Path):
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    file = output / "checkpoints" / "step-000004" / "trainer.json"
    file.write_text(file.read_text().replace('"step": 4', '"step": 0'))
    with pytest.raises(WeightsError, match=r"damaged: trainer.json changed"):
        resume(config, world, output)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("inputs.json", None, ConfigError, "inputs.json is missing or damaged"),
        ("inputs.json", b'{"cache": \xff', ConfigError, "inputs.json is missing or damaged"),
        ("metrics.jsonl", b'{"step": 1}\n{"st\xe9p": 2}\n', ConfigError, "line 2 is damaged; delete it"),
        ("checkpoints/LATEST", b"step-\xff", WeightsError, "write the name of a checkpoint into it: step-000002"),
        ("checkpoints/step-000004/trainer.json", b"", WeightsError, "step-000004 is damaged"),
    ],
)  # fmt: skip
def test_damage_beside_the_weights(config, world, finished, tmp_path: Path, name, content, error, message):
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    if content is None:
        (output / name).unlink()
    else:
        (output / name).write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        resume(config, world, output)
    assert "\n" not in str(caught.value)
    assert content is None or (output / name).read_bytes() == content


def test_a_checkpoint_of_another_run(config, world, finished, tmp_path: Path):
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    other = with_overrides(config, {"lora.rank": 8, "optim.max_steps": 4})
    train(other, cache=world["cache"], output=tmp_path / "other")
    shutil.rmtree(output / "checkpoints")
    shutil.copytree(tmp_path / "other" / "checkpoints", output / "checkpoints")
    with pytest.raises(
        ConfigError, match=r"step-000004 was trained with other settings: lora.rank was 8, now 4"
    ):
        resume(config, world, output)
    older = {"step": 4}  # without its settings
    (output / "checkpoints" / "step-000004" / "trainer.json").write_text(json.dumps(older))
    with pytest.raises(WeightsError, match=r"is not of this run: .*lora_A"):
        resume(config, world, output)
    (output / "checkpoints" / "LATEST").write_text("step-000099")
    with pytest.raises(WeightsError, match="names step-000099; write the name of a checkpoint into it: step"):
        resume(config, world, output)


EDITS = {
    "optim.lr": 0.5, "align.weight": 0.1, "data.max_length": 200, "lora.dropout": 0.0, "seed": 7,
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), EDITS.items(), ids=EDITS)
def test_an_edited_configuration_is_not_resumed(config, world, finished, tmp_path: Path, name, value):
    """The folder's own file and the command agree, but the checkpoint was trained otherwise; nothing is touched."""
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    edited = with_overrides(read_config(output / "config.yaml"), {name: value})
    (output / "config.yaml").write_text(write_config(edited))
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    with pytest.raises(
        ConfigError, match=rf"step-000004 was trained with other settings: {name} was"
    ) as caught:
        train_command(Command(settings=[], output=output, resume=True), [str(world["cache"])])
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


def test_what_does_not_change_the_result_may_be_edited(config, world, finished, tmp_path: Path):
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    (output / "checkpoints" / "LATEST").write_text("step-000002")
    moved = shutil.copytree(world["images"], tmp_path / "moved")
    shutil.copy(world["annotations"], tmp_path / "moved.json")
    free = {
        "save_every": 1,
        "keep_last": 9,
        "data.num_workers": 1,
        "logits_at_once": 1,
        "data.images": str(moved),
    }
    free |= {"data.annotations": str(tmp_path / "moved.json"), "gradient_checkpointing": "full"}
    command = Command(settings=[f"{k}={v}" for k, v in free.items()], output=output, resume=True)
    assert train_command(command, [str(world["cache"])]).name == "step-000004"
    again, before = ((run / "metrics.jsonl").read_text().splitlines() for run in (output, finished))
    for mine, theirs in zip(again, before, strict=True):
        assert json.loads(mine)["loss"] == pytest.approx(json.loads(theirs)["loss"], abs=1e-6)


def test_runs_of_before_resume(config, world, finished, tmp_path: Path):
    """Without digests and settings in the checkpoint, and with a `config.yaml` of that time."""
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    settings = yaml.safe_load((output / "config.yaml").read_text()) | {"gradient_checkpointing": False}
    del settings["model"]["tiles"]
    (output / "config.yaml").write_text(
        yaml.safe_dump({k: v for k, v in settings.items() if k not in ("zero_stage", "logits_at_once")})
    )
    (output / "checkpoints" / "LATEST").write_text("step-000002")
    (output / "checkpoints" / "step-000002" / "trainer.json").write_text('{"step": 2}')
    before = (finished / "metrics.jsonl").read_text().splitlines()
    resume(config, world, output)
    after = (output / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in after] == [json.loads(line)["loss"] for line in before]
    assert resume(config, world, output).name == "step-000004"  # nothing is left to do
