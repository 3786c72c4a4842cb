"""Samples on demand: an image is read, hashed, decoded and paired with its cached target only when asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from viral.data.annotations import Sample, resolve_image
from viral.data.conversation import Template
from viral.data.images import PixelSpec, decode_image, mean_fill, to_square
from viral.data.keys import KeyOf, content_key
from viral.data.tokens import IGNORE, ImageTokens, encode_dialogue
from viral.errors import DataError, ImageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TargetReader(Protocol):
    """What the trainer needs of a feature store: codes [T, W] by the key of an image file."""

    def read(self, key: str) -> np.ndarray:
        """Codes of one image."""


class Target(NamedTuple):
    """Where the codes of one term come from, and how an image is called there."""

    reader: TargetReader
    key_of: KeyOf = content_key


@dataclass(slots=True)
class Example:
    """One tokenised sample; square uint8 [S, S, 3] and codes [T, W] by term only if it has an image."""

    id: str
    input_ids: list[int]
    labels: list[int]
    square: np.ndarray | None
    codes: dict[str, np.ndarray]


@dataclass(slots=True)
class Batch:
    """Right-padded ids and labels [B, L]; squares uint8 [N, S, S, 3]; codes [N, T, W] by term, if any.

    Arrays instead of tensors where shared memory is too small to hand tensors over.
    """

    ids: list[str]
    input_ids: torch.Tensor | np.ndarray
    labels: torch.Tensor | np.ndarray
    squares: torch.Tensor | np.ndarray
    codes: dict[str, torch.Tensor | np.ndarray]
    num_tokens: int
    """Without padding."""

    def pin_memory(self) -> "Batch":
        """Page-locked tensors; called by the data loader where it feeds a GPU."""
        for name in ("input_ids", "labels", "squares"):
            setattr(self, name, torch.as_tensor(getattr(self, name)).pin_memory())
        self.codes = {name: torch.as_tensor(codes).pin_memory() for name, codes in self.codes.items()}
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """How samples become tensors: everything fixed by the student and its template."""

    tokenizer: "PreTrainedTokenizerBase"
    template: Template
    image: ImageTokens
    pixels: PixelSpec
    max_length: int
    image_mode: str = "pad"


class InstructionDataset(Dataset[Example | Exception]):
    """LLaVA samples by index. A bad sample is returned as its error, for a worker cannot raise it legibly."""

    def __init__(
        self,
        samples: Sequence[Sample],
        image_root: Path,
        encoding: Encoding,
        targets: Mapping[str, Target],
    ) -> None:
        self.samples, self.image_root = samples, image_root
        self.encoding, self.targets = encoding, targets

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Example | Exception:
        sample = self.samples[index]
        try:
            return self._example(sample)
        except (ImageError, DataError) as error:
            return DataError(f"sample {sample.id!r} (image {sample.image}): {error}")
        except (
            KeyError,
            ValueError,
            OSError,
        ) as error:  # a store's own errors: unknown key, rejected, damaged
            return error

    def _example(self, sample: Sample) -> Example:
        encoding = self.encoding
        input_ids, labels = encode_dialogue(
            list(sample.turns),
            encoding.tokenizer,
            encoding.template,
            encoding.image if sample.image is not None else None,
            encoding.max_length,
        )
        if sample.image is None:
            return Example(sample.id, input_ids, labels, None, {})
        data = read_image_bytes(self.image_root, sample.image)
        fill = mean_fill(encoding.pixels.mean)
        square = to_square(decode_image(data), encoding.pixels.size, encoding.image_mode, fill)
        codes = {
            name: target.reader.read(target.key_of(sample.image, data))
            for name, target in self.targets.items()
        }
        return Example(sample.id, input_ids, labels, square, codes)


def read_image_bytes(root: Path, relative: str) -> bytes:
    """Bytes of an annotated image.

    Raises:
        ImageError: outside the root, missing or unreadable.
    """
    path = resolve_image(root, relative)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error


def collate(
    examples: list[Example | Exception], pad_token_id: int, *, shared: bool = True
) -> Batch | Exception:
    """Right-pad examples into a batch; the first error among them takes the batch's place.

    Tensors leave a worker through shared memory, arrays (`shared=False`) through a pipe.
    """
    good: list[Example] = []
    for example in examples:
        if isinstance(example, Exception):
            return example
        good.append(example)
    length = max(len(example.input_ids) for example in good)
    input_ids = np.full((len(good), length), pad_token_id)
    labels = np.full((len(good), length), IGNORE)
    for row, example in enumerate(good):
        size = len(example.input_ids)
        input_ids[row, :size] = example.input_ids
        labels[row, :size] = example.labels
    squares = [example.square for example in good if example.square is not None]
    codes = [example.codes for example in good if example.codes]
    wrap = torch.from_numpy if shared else np.asarray
    return Batch(
        ids=[example.id for example in good],
        input_ids=wrap(input_ids),
        labels=wrap(labels),
        squares=wrap(np.stack(squares) if squares else np.empty((0, 1, 1, 3), np.uint8)),
        codes={name: wrap(np.stack([of[name] for of in codes])) for name in (codes[0] if codes else ())},
        num_tokens=sum(len(example.input_ids) for example in good),
    )
