"""What does not fit a run is one line that names the remedy, before any work is done."""

import json
from pathlib import Path

import pytest

from pipelines.training.config import with_overrides
from pipelines.training.loop import train
from stores.errors import IncompleteStoreError, MissingStoreError
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
    refused(config, world, tmp_path, UnknownNameError, "Known: single", backend="magic")
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
        ({"grid": 3}, r"3x3 grid \(9 tokens an image\), the student's tower gives 16"),
    ],
)
def test_cache_of_another_teacher_profile_or_grid(config, world, tmp_path: Path, changed, message):
    names = [f"{index:02d}.png" for index in range(12)]
    other = {**world, "cache": write_store(tmp_path / "cache", world["images"], names, **changed)}
    refused(config, other, tmp_path, CacheMismatchError, message)


def test_image_unknown_to_the_cache(config, world, tmp_path: Path):
    other = {**world, "cache": write_store(tmp_path / "cache", world["images"], ["00.png"])}
    with pytest.raises(KeyError, match="was not in the data of that build"):
        run(config, other, tmp_path)


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
