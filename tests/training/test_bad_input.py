"""What does not fit a run is one line that names the remedy, before any work is done."""

import json
import resource
import shutil
import socket
import sys
from pathlib import Path

import pytest

from pipelines.training import checkpoint
from pipelines.training.config import with_overrides
from pipelines.training.folder import run_lock
from pipelines.training.loop import train
from pipelines.training.setup import micro_batches_per_rank
from stores.errors import IncompleteStoreError, MissingStoreError, UnknownKeyError
from tests.training.conftest import turns, write_annotations, write_store
from viral.errors import CacheMismatchError, ConfigError, DataError, UnknownNameError, WeightsError


def run(config, world, tmp_path: Path, **overrides):
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    return train(with_overrides(config, dotted), cache=world["cache"], output=tmp_path / "run")


def refused(config, world, tmp_path, error, message, **overrides):
    with pytest.raises(error, match=message) as caught:
        run(config, world, tmp_path, **overrides)
    assert "\n" not in str(caught.value.args[0])
    assert not (tmp_path / "run").exists()


def test_settings(config, world, tmp_path: Path):
    refused(config, world, tmp_path, DataError, "--data", data__annotations=str(tmp_path / "none.json"))
    refused(config, world, tmp_path, WeightsError, "/nowhere", model__llava="/nowhere")
    refused(config, world, tmp_path, WeightsError, "local path", model__llava="some-org/some-model")
    refused(config, world, tmp_path, ConfigError, "layers 0 .input. to 4", align__layer=5)
    refused(config, world, tmp_path, ConfigError, "lower data.batch_size", data__batch_size=64)
    refused(config, world, tmp_path, UnknownNameError, "Known: auto, ddp, deepspeed, single", backend="magic")
    refused(config, world, tmp_path, UnknownNameError, "Unknown teacher", align__teacher="magic")
    refused(config, world, tmp_path, ConfigError, "not available", device="cuda:7")


def test_alignment_without_a_cache(config, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"give --cache PATH .* align.objective=none"):
        train(config, cache=None, output=tmp_path / "run")


def test_no_cache_unfinished_cache_and_foreign_folder(config, world, tmp_path: Path):
    with pytest.raises(MissingStoreError, match="viral cache build"):
        train(config, cache=tmp_path / "none", output=tmp_path / "run")
    cache = write_store(tmp_path / "cache", world["images"], ["00.png"])
    (cache / "manifest.json").unlink()
    with pytest.raises(IncompleteStoreError, match="resumes"):
        train(config, cache=cache, output=tmp_path / "run")


def test_settings_that_contradict_the_world(config, world, tmp_path: Path):
    with pytest.raises(ConfigError, match="seed"):
        with_overrides(config, {"seed": -1})
    refused(config, world, tmp_path, DataError, "leaves the image root, or is no path", **null_byte(tmp_path))


def null_byte(folder: Path) -> dict[str, str]:
    names = [f"{index:02d}.png" for index in range(8)]
    return {"data__annotations": str(write_annotations(folder / "null.json", [*names, "a\x00b.png"]))}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"fingerprint": {"teacher": "dinov2-l", "profile": "paper"}},
            "set align.teacher=dinov2-l",
        ),
        (
            {"fingerprint": {"teacher": "dinov2-b", "profile": "release"}},
            "profile=release, .* align.profile=release",
        ),
    ],
)
def test_cache_of_another_teacher_or_profile(config, world, tmp_path: Path, changed, message):
    names = [f"{index:02d}.png" for index in range(12)]
    other = {**world, "cache": write_store(tmp_path / "cache", world["images"], names, **changed)}
    refused(config, other, tmp_path, CacheMismatchError, message)


def test_images_unknown_to_the_cache_are_counted_at_once(config, world, tmp_path: Path):
    other = {**world, "cache": write_store(tmp_path / "cache", world["images"], ["00.png"])}
    refused(
        config, other, tmp_path, CacheMismatchError, r"lacks 11 of 12 images, first 01.png, .* cache build"
    )


def test_random_teacher_only_when_asked_for(config, world, tmp_path: Path):
    names = [f"{index:02d}.png" for index in range(12)]
    random = {"teacher": "dinov2-b", "profile": "paper", "weights": "random"}
    other = {**world, "cache": write_store(tmp_path / "cache", world["images"], names, fingerprint=random)}
    refused(config, other, tmp_path, CacheMismatchError, "set align.weights=random")
    run(config, other, tmp_path, align__weights="random")


def test_a_cache_filed_by_trusted_paths_is_read_by_path_and_size(config, world, tmp_path: Path):
    """Under another name for the same file, too; a file of another size is another image."""
    names = [f"{index:02d}.png" for index in range(12)]
    trusted = {"teacher": "dinov2-b", "profile": "paper", "keys": "path+size"}
    images = tmp_path / "images"
    shutil.copytree(world["images"], images)
    other = {**world, "cache": write_store(tmp_path / "cache", images, names, fingerprint=trusted)}
    annotations = write_annotations(tmp_path / "a.json", [*names[:-1], f"./{names[-1]}"])
    overrides = {"data__annotations": str(annotations), "data__images": str(images)}
    run(config, other, tmp_path, **overrides)
    shutil.rmtree(tmp_path / "run")
    with (images / names[-1]).open("ab") as file:
        file.write(b"longer")
    refused(config, other, tmp_path, CacheMismatchError, r"lacks 1 of 12 images, first ./11.png", **overrides)
    annotations = write_annotations(tmp_path / "a.json", names)
    with pytest.raises(UnknownKeyError, match="its file has changed since"):
        run(config, other, tmp_path, **overrides)


def test_skip_needs_a_cache(config, tmp_path: Path):
    config = with_overrides(config, {"data.on_bad_image": "skip", "align.objective": "none"})
    with pytest.raises(ConfigError, match="needs --cache"):
        train(config, cache=None, output=tmp_path / "run")


def test_resume_with_other_data_or_cache_is_refused(config, world, tmp_path: Path):
    names = [f"{index:02d}.png" for index in range(12)]
    annotations = write_annotations(tmp_path / "a.json", names)
    config = with_overrides(config, {"data.annotations": str(annotations)})
    train(config, cache=world["cache"], output=tmp_path / "run")
    other = write_store(tmp_path / "cache", world["images"], names, codec="fp16")
    with pytest.raises(ConfigError, match="other inputs: cache changed"):
        train(config, cache=other, output=tmp_path / "run", resume=True)
    write_annotations(annotations, names[:-1])
    with pytest.raises(ConfigError, match="other inputs: annotations, samples changed"):
        train(config, cache=world["cache"], output=tmp_path / "run", resume=True)


def test_settings_that_are_no_numbers_or_beyond_reason(config):
    for name, value in {
        "optim.lr": float("inf"), "optim.max_grad_norm": float("nan"), "seed": 2**64, "data.num_workers": 10**8,
        "logits_at_once": True,
    }.items():  # fmt: skip
        with pytest.raises(ConfigError, match=rf"Invalid settings: {name}.*\w\.$"):
            with_overrides(config, {name: value})
    with pytest.raises(ConfigError, match=r"'also.x': 'x' is not one of none\.$"):
        with_overrides(config, {"also.x": 3})


def test_a_cache_that_would_not_be_read(config, world, tmp_path: Path):
    online = {"align__online": True, "align__teacher": "micro"}
    refused(
        config, world, tmp_path, ConfigError, "those of --cache would not be read; leave out one", **online
    )
    run(config, world, tmp_path, **online, data__on_bad_image="skip", optim__max_steps=1)


def test_nothing_to_learn(config, world, tmp_path: Path):
    entries = [
        {"id": str(i), "image": "00.png", "conversations": turns("<image>Is it?", "")} for i in range(8)
    ]
    (tmp_path / "mute.json").write_text(json.dumps(entries))
    mute = {"data__annotations": str(tmp_path / "mute.json")}
    refused(config, world, tmp_path, DataError, "No sample has an answer", **mute)


def test_half_a_character(config, world, tmp_path: Path):
    entries = [{"id": str(i), "conversations": turns("Is it \ud800?", "no")} for i in range(8)]
    (tmp_path / "half.json").write_text(json.dumps(entries))
    half = {"data__annotations": str(tmp_path / "half.json")}
    refused(config, world, tmp_path, DataError, "half a character", **half)


def test_an_output_that_cannot_be_made_is_known_at_once(config, world, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    broken = with_overrides(config, {"model.llava": "/nowhere"})  # which is not even looked at
    with pytest.raises(ConfigError, match=r"file/run cannot be made: .*file is no folder"):
        train(broken, cache=world["cache"], output=tmp_path / "file" / "run")


def test_a_full_disk_keeps_the_last_checkpoint(config, world, tmp_path: Path):
    """The file system is told to take no file above some size, once the first checkpoint is there."""
    two = with_overrides(config, {"optim.max_steps": 2, "save_every": 1})
    first = with_overrides(two, {"save_every": 2})
    train(first, cache=world["cache"], output=tmp_path / "whole")
    output = tmp_path / "run"
    original = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(path: Path) -> Path:
        if path.name == "step-000002":
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, original[1]))
        return path

    with pytest.MonkeyPatch.context() as patch:
        publish = checkpoint._publish
        patch.setattr(checkpoint, "_publish", lambda final, *rest: publish(fill_up(final), *rest))
        try:
            with pytest.raises(OSError, match=r"Cannot write into .*step-000002.partial: .*File too large"):
                train(two, cache=world["cache"], output=output)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, original)
    assert sorted(path.name for path in (output / "checkpoints").iterdir()) == ["LATEST", "step-000001"]
    final = train(two, cache=world["cache"], output=output, resume=True)
    ends = [
        path / "adapter" / "adapter_model.safetensors"
        for path in (final, tmp_path / "whole/checkpoints/step-000002")
    ]
    assert ends[0].read_bytes() == ends[1].read_bytes()


def test_two_processes_do_not_share_a_run(config, world, tmp_path: Path):
    with run_lock(tmp_path / "run"), pytest.raises(ConfigError, match="Another process is training"):
        train(config, cache=world["cache"], output=tmp_path / "run")


def test_lost_pointer_names_what_there_is(config, world, tmp_path: Path):
    run(config, world, tmp_path)
    (tmp_path / "run/checkpoints/LATEST").unlink()
    before = (tmp_path / "run/metrics.jsonl").read_text()
    with pytest.raises(WeightsError, match="step-000004, step-000006"):
        train(config, cache=world["cache"], output=tmp_path / "run", resume=True)
    assert (tmp_path / "run/metrics.jsonl").read_text() == before


def test_missing_and_outside_images_stop_or_are_left_out(config, world, tmp_path: Path, caplog):
    names = [f"{index:02d}.png" for index in range(12)]
    annotations = write_annotations(tmp_path / "a.json", [*names, "gone.png", "../secret.png"])
    overrides = {"data__annotations": str(annotations)}
    refused(config, world, tmp_path, DataError, "2 images cannot be used, first '../secret.png'", **overrides)
    run(config, world, tmp_path, data__on_bad_image="skip", **overrides)
    assert "left out 2 samples" in caplog.text


def test_rejected_image_stops_or_is_left_out_under_every_name(config, world, tmp_path: Path, caplog):
    names = [f"{index:02d}.png" for index in range(12)]
    images = tmp_path / "images"
    images.mkdir()
    for name in names:
        (images / name).write_bytes((world["images"] / name).read_bytes())
    (images / "copy.png").write_bytes((images / "03.png").read_bytes())
    cache = write_store(tmp_path / "cache", images, names, rejected="03.png")
    annotations = write_annotations(tmp_path / "a.json", [*names, "copy.png"])
    other = {**world, "cache": cache}
    overrides = {"data__annotations": str(annotations), "data__images": str(images)}
    refused(
        config,
        other,
        tmp_path,
        DataError,
        "2 images cannot be used, first '03.png': not a readable",
        **overrides,
    )
    run(config, other, tmp_path, data__on_bad_image="skip", **overrides)
    assert "left out 2 samples with 2 unusable images" in caplog.text


def test_unreadable_image_names_its_sample(config, world, tmp_path: Path):
    (tmp_path / "images").mkdir()
    names = write_names(tmp_path / "images")
    overrides = {
        "align__objective": "none",
        "data__images": str(tmp_path / "images"),
        "data__annotations": str(write_annotations(tmp_path / "a.json", names)),
    }
    with pytest.raises(DataError, match=r"sample '\d\d.png' .*not a readable image"):
        run(config, world, tmp_path, **overrides)


def write_names(folder: Path) -> list[str]:
    names = [f"{index:02d}.png" for index in range(8)]
    for name in names:
        (folder / name).write_text("no picture")
    return names


def test_image_block_that_does_not_fit(config, world, tmp_path: Path):
    with pytest.raises(DataError, match=r"raise data.max_length to at least"):
        run(config, world, tmp_path, data__max_length=20)


def test_nothing_to_align(config, world, tmp_path: Path):
    entries = [{"id": str(i), "conversations": turns("Is it?", "no")} for i in range(8)]
    (tmp_path / "text.json").write_text(json.dumps(entries))
    refused(
        config, world, tmp_path, DataError, "nothing to align", data__annotations=str(tmp_path / "text.json")
    )


def test_loss_that_is_not_finite_updates_nothing(config, world, tmp_path: Path):
    with pytest.raises(DataError, match=r"Loss is (nan|inf) at step .* nothing was updated"):
        run(config, world, tmp_path, optim__lr=1e30, optim__warmup_ratio=0.0)


def test_targets_that_are_not_finite_are_named(config, world, tmp_path: Path):
    names = [f"{index:02d}.png" for index in range(12)]
    cache = write_store(tmp_path / "cache", world["images"], names, codec="fp16", poisoned=names)
    with pytest.raises(
        DataError, match=r"Loss is nan at step \d .* nothing was updated. Not finite: align. Look"
    ):
        train(config, cache=cache, output=tmp_path / "run")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "0"}, "RANK=0 without its partner"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "WORLD_SIZE=2 without MASTER_ADDR and MASTER_PORT: use torchrun"),
    ],
)
def test_ranks_that_cannot_meet(config, world, tmp_path: Path, monkeypatch, environment, message):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    refused(config, world, tmp_path, ConfigError, message)


def test_several_ranks_need_a_backend_and_a_free_port(config, world, tmp_path: Path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        refused(config, world, tmp_path, ConfigError, "there are 2 ranks; set backend=ddp", backend="single")
        refused(config, world, tmp_path, ConfigError, f"MASTER_PORT={port} is in use on this machine")


def test_deepspeed_is_not_installed(config, world, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "deepspeed", None)  # as if there were no such package
    refused(config, world, tmp_path, ConfigError, "not installed: pip install deepspeed", backend="deepspeed")


def test_a_batch_that_does_not_split_over_ranks(config):
    assert micro_batches_per_rank(config, 2) == 1
    with pytest.raises(
        ConfigError, match=r"batch_size=4 does not split over 3 ranks x .*=2; set .* to 6, or"
    ):
        micro_batches_per_rank(config, 3)
    with pytest.raises(ConfigError, match=r"set data\.batch_size to 126, 144, or"):
        micro_batches_per_rank(with_overrides(config, {"data.batch_size": 128}), 9)
