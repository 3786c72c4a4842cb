"""From samples to batches: several images, text only, cut samples, images in tar files, and what is refused."""

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import tiny
from viral.data.annotations import Sample
from viral.data.conversation import get_template
from viral.data.dataset import Batch, Encoding, Example, InstructionDataset, Target, collate
from viral.data.images import PixelSpec
from viral.data.tokens import IGNORE, ImageTokens
from viral.errors import DataError

COUNT = tiny.GRID**2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(4):
        Image.new("RGB", (9 + number, 9), (number, 0, 0)).save(tmp_path / f"{number}.png")
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        archive.add(tmp_path / "2.png", "deep/2.png")
    return tmp_path


@pytest.fixture
def encoding() -> Encoding:
    return Encoding(
        tokenizer=tiny.tokenizer(),
        template=get_template("vicuna_v1"),
        image=ImageTokens(id=3, count=COUNT),
        pixels=PixelSpec(size=tiny.SIZE),
        max_length=512,
        vocab_size=420,
    )


class Targets:
    """Codes that tell which key they were asked for."""

    def read(self, key: str) -> np.ndarray:
        return np.full((COUNT, 2), int(key))


def only(sample: Sample, root: Path, encoding: Encoding):
    target = Target(Targets(), lambda name, _: name.split(".")[0])
    dataset = InstructionDataset([sample], root, encoding, {"align": target})
    return dataset[0]


def ask(*turns: tuple[str, str], images: tuple[str, ...] = ()) -> Sample:
    return Sample("7", images, turns)


def test_images_and_targets_come_in_the_order_of_their_tags(root, encoding):
    example = only(
        ask(("Is <image> <image>?", "no"), ("<image>", "yes"), images=("3.png", "0.png", "3.png")),
        root,
        encoding,
    )
    assert isinstance(example, Example)
    assert example.input_ids.count(3) == 3 * COUNT
    assert [square[tiny.SIZE // 2, tiny.SIZE // 2, 0] for square in example.squares] == [3, 0, 3]
    assert [code[0, 0] for code in example.codes["align"]] == [3, 0, 3]
    text = only(ask(("Is it?", "no")), root, encoding)
    batch = collate([example, text, example], pad_token_id=0)
    assert isinstance(batch, Batch)
    assert batch.squares.shape[0] == batch.codes["align"].shape[0] == 6
    assert (batch.input_ids == 3).sum(1).tolist() == [3 * COUNT, 0, 3 * COUNT]
    assert batch.num_tokens == 2 * len(example.input_ids) + len(text.input_ids)
    assert (batch.labels[1, len(text.input_ids) :] == IGNORE).all()


def test_packed_rows_hold_the_same_samples(root, encoding):
    examples = [only(ask((f"Is it {n}?", "no")), root, encoding) for n in (1, 222, 3)]
    batch = collate(examples, pad_token_id=0, pack=True)
    bounds = batch.cu_seq_lens.tolist()
    assert bounds[0] == 0
    assert bounds[-1] == batch.input_ids.shape[1] == batch.num_tokens
    for example, start, end in zip(examples, bounds, bounds[1:], strict=False):
        assert batch.input_ids[0, start:end].tolist() == example.input_ids
        assert batch.labels[0, start:end].tolist() == example.labels


def test_a_member_of_a_tar_file_is_an_image_like_any_other(root, encoding):
    samples = [ask(("<image>", "no"), images=(name,)) for name in ("shard.tar/deep/2.png", "2.png")]
    dataset = InstructionDataset(samples, root, encoding, {})
    inside, outside = dataset[0], dataset[1]
    assert np.array_equal(inside.squares[0], outside.squares[0])
    assert inside.codes == {}


def test_cropping_is_for_stage_one(root, encoding):
    Image.fromarray(np.tile(np.arange(60, dtype=np.uint8)[None, :, None], (20, 1, 3))).save(root / "wide.png")
    sample = ask(("<image>", "no"), images=("wide.png",))
    dataset = InstructionDataset([sample], root, replace(encoding, image_mode="crop"), {})
    assert dataset[0].squares[0].min() >= 15  # neither padding nor the left edge
    padded = InstructionDataset([sample], root, encoding, {})[0].squares[0]
    assert (padded[0, 0] == (122, 116, 104)).all()


def test_a_long_sample_is_cut_and_counted(root, encoding):
    long = only(ask(("Is it?", "no " * 300)), root, replace(encoding, max_length=60))
    short = only(ask(("Is it?", "no")), root, encoding)
    assert len(long.input_ids) == 60
    assert collate([long, short, long], pad_token_id=0).num_truncated == 2


def test_an_image_that_would_be_cut_stops_or_is_dropped_with_its_target(root, encoding):
    sample = ask(("<image>", "no"), ("<image>", "no " * 20), images=("1.png", "2.png"))
    whole = only(sample, root, encoding)
    second = len(whole.input_ids) - whole.input_ids[::-1].index(3)  # end of the second block
    for max_length in (second - 1, second - COUNT, second - COUNT - 1):
        short = replace(encoding, max_length=max_length)
        error = only(sample, root, short)
        assert isinstance(error, DataError)
        assert f"sample '7' (image 1.png, 2.png): an image block of {COUNT} tokens" in str(error)
        assert f"at least {second}" in str(error)
        example = only(sample, root, replace(short, drop_cut_images=True))
        assert example.input_ids.count(3) == COUNT
        assert example.is_truncated
        assert len(example.squares) == len(example.codes["align"]) == 1
        assert len(example.input_ids) <= max_length


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (("../secret.png",), "leaves the image root"),
        (("/etc/passwd",), "leaves the image root"),
        (("gone.png",), "No such file"),
        (("shard.tar/none.png",), "no such member"),
        (("text.png",), "not a readable image"),
    ],
)
def test_an_image_that_cannot_be_used_is_an_error_with_the_samples_name(root, encoding, images, message):
    (root / "text.png").write_text("no picture")
    dataset = InstructionDataset([ask(("<image>", "no"), images=images)], root, encoding, {})
    error = dataset[0]
    assert isinstance(error, DataError)
    assert str(error).startswith(f"sample '7' (image {images[0]}): ")
    assert message in str(error)
    assert "\n" not in str(error)


def test_a_damaged_tar_file_is_an_error(root, encoding):
    (root / "bad.tar").write_bytes(b"x" * 2000)
    dataset = InstructionDataset([ask(("<image>", "no"), images=("bad.tar/1.png",))], root, encoding, {})
    assert "no sound tar file" in str(dataset[0])


def test_a_token_the_model_does_not_have_is_named(root, encoding):
    error = only(ask(("Is it?", "no")), root, replace(encoding, vocab_size=100))
    assert isinstance(error, DataError)
    assert "is out of range of the model's 100 embeddings; the tokenizer belongs to another model" in str(
        error
    )
    beyond = replace(
        encoding, image=ImageTokens(id=9999, count=COUNT)
    )  # as in a model that never got the row
    assert isinstance(only(ask(("<image>", "no"), images=("1.png",)), root, beyond), Example)


def test_an_empty_answer_gives_no_label(root, encoding):
    example = only(ask(("Is it?", "")), root, encoding)
    assert set(example.labels) == {IGNORE}


def test_the_first_error_takes_the_place_of_the_batch(root, encoding):
    good, bad = only(ask(("Is it?", "no")), root, encoding), DataError("bad")
    assert collate([good, bad, DataError("worse")], pad_token_id=0) is bad


def test_batches_through_a_pipe_are_arrays(root, encoding):
    good = only(ask(("Is it?", "no")), root, encoding)
    batch = collate([good], pad_token_id=0, shared=False, pack=True)
    assert all(isinstance(value, np.ndarray) for value in (batch.input_ids, batch.labels, batch.cu_seq_lens))
