"""Samples on demand: an image is read, hashed, decoded and paired with its cached target only when asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from viral.data.annotations import Sample
from viral.data.conversation import Template
from viral.data.image_files import ImageFiles
from viral.data.images import PixelSpec, mean_fill
from viral.data.picture import Picture, Source, Square, Views
from viral.data.picture import Target as Target
from viral.data.tiles import Size
from viral.data.tokens import IGNORE, ImageTokens, encode_dialogue, truncate
from viral.errors import DataError, ImageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(slots=True)
class Example:
    """One tokenised sample; squares uint8 [S, S, 3] and codes [T, W] by term, one of each for each view of its images.

    `features`: codes of what the tower makes of the images, instead of squares; None where it sees the squares.
    """

    id: str
    input_ids: list[int]
    labels: list[int]
    squares: list[np.ndarray]
    codes: dict[str, list[np.ndarray]]
    is_truncated: bool
    """By `max_length`."""
    features: list[np.ndarray] | None = None
    sizes: list[Size] | None = None
    """Of the images, where they are tiled and so have several views each."""


@dataclass(slots=True)
class Batch:
    """Right-padded ids and labels [B, L]; squares uint8 [N, S, S, 3] or features [N, T, W]; codes [N, T, W] by term.

    N counts images, or all their views where they are tiled; then `sizes` [images, 2] are their heights and widths, in
    the host's memory, where the layout of their tokens is made.

    Or packed: B is 1, the row holds one sample after the other, and `cu_seq_lens` [samples + 1] says where each begins
    and the last one ends; it stays in the host's memory, where the loop over samples is.

    Arrays instead of tensors where shared memory is too small to hand tensors over.
    """

    ids: list[str]
    input_ids: torch.Tensor | np.ndarray
    labels: torch.Tensor | np.ndarray
    squares: torch.Tensor | np.ndarray
    codes: dict[str, torch.Tensor | np.ndarray]
    num_tokens: int
    """Without padding."""
    num_truncated: int = 0
    """Samples that were cut at `max_length`."""
    cu_seq_lens: torch.Tensor | np.ndarray | None = None
    features: torch.Tensor | np.ndarray | None = None
    """Codes of the tower's features; None where it sees the squares."""
    sizes: torch.Tensor | np.ndarray | None = None

    def pin_memory(self) -> "Batch":
        """Page-locked tensors; called by the data loader where it feeds a GPU."""
        for name in ("input_ids", "labels", "squares", "features"):
            if (value := getattr(self, name)) is not None:
                setattr(self, name, torch.as_tensor(value).pin_memory())
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
    vocab_size: int
    """Rows of the model's embedding; the image token alone may lie beyond them."""
    image_mode: str = "pad"
    supervise_last_end: bool = True
    drop_cut_images: bool = False


class InstructionDataset(Dataset[Example | Exception]):
    """LLaVA samples by index. A bad sample is returned as its error, for a worker cannot raise it legibly.

    `targets` makes an array for each term, usually codes of a feature store; `features` the tower's own, if they are
    not made in training.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        image_root: Path,
        encoding: Encoding,
        targets: Mapping[str, Source],
        features: Source | None = None,
    ) -> None:
        self.samples, self.files = samples, ImageFiles(image_root)
        self.encoding, self.targets, self.features = encoding, targets, features
        pixels, tiling = encoding.pixels, encoding.image.tiling
        square = Square(pixels.size, encoding.image_mode, mean_fill(pixels.mean))
        self._look: Source = Views(tiling, pixels.size) if tiling else square

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Example | Exception:
        name = f"number {index}"
        try:
            sample = self.samples[index]
            name = f"{sample.id!r} (image {', '.join(sample.images) or None})"
            return self._example(sample)
        except (ImageError, DataError) as error:
            return DataError(f"sample {name}: {error}")
        except (KeyError, ValueError, OSError) as error:
            return error  # a store's own: unknown key, rejected, damaged

    def _example(self, sample: Sample) -> Example:
        encoding = self.encoding
        image = encoding.image if sample.images else None
        pictures = [Picture(name, self.files) for name in sample.images]
        # Without tiles no picture need be opened to know how many tokens it has.
        sizes = [picture.size for picture in pictures] if encoding.image.tiling else None
        blocks = [encoding.image.block(size) for size in sizes] if sizes else None
        whole_ids, whole_labels = encode_dialogue(
            sample.turns,
            encoding.tokenizer,
            encoding.template,
            image,
            blocks=blocks,
            supervise_last_end=encoding.supervise_last_end,
        )
        input_ids, labels = truncate(
            whole_ids,
            whole_labels,
            image,
            encoding.max_length,
            blocks=blocks,
            drop_images=encoding.drop_cut_images,
        )
        self._check_ids(input_ids)
        pictures = pictures[: encoding.image.count_blocks(input_ids, blocks)]
        return Example(
            sample.id,
            input_ids,
            labels,
            squares=[] if self.features else _all_views(self._look, pictures),
            codes={term: _all_views(target, pictures) for term, target in self.targets.items()},
            is_truncated=len(input_ids) < len(whole_ids),
            features=_all_views(self.features, pictures) if self.features else None,
            sizes=None if sizes is None else sizes[: len(pictures)],
        )

    def _check_ids(self, input_ids: list[int]) -> None:
        encoding = self.encoding
        beyond = [token for token in input_ids if token >= encoding.vocab_size and token != encoding.image.id]
        if beyond:
            raise DataError(
                f"token {beyond[0]} ({encoding.tokenizer.convert_ids_to_tokens(beyond[0])!r}) is out of range of the "
                f"model's {encoding.vocab_size} embeddings; the tokenizer belongs to another model."
            )


def _all_views(source: Source, pictures: Sequence[Picture]) -> list[np.ndarray]:
    return [array for picture in pictures for array in source(picture)]


def collate(
    examples: list[Example | Exception], pad_token_id: int, *, shared: bool = True, pack: bool = False
) -> Batch | Exception:
    """Right-pad examples into a batch, or pack them; the first error among them takes the batch's place.

    Tensors leave a worker through shared memory, arrays (`shared=False`) through a pipe.
    """
    good: list[Example] = []
    for example in examples:
        if isinstance(example, Exception):
            return example
        good.append(example)
    lengths = [len(example.input_ids) for example in good]
    input_ids, labels = _packed(good) if pack else _padded(good, max(lengths), pad_token_id)
    squares = [square for example in good for square in example.squares]
    codes = {term: [code for example in good for code in example.codes[term]] for term in good[0].codes}
    features = [code for example in good for code in example.features or ()]
    no_features = np.empty((0, 1, 1), np.uint16)
    sizes = [size for example in good for size in example.sizes or ()]
    wrap = torch.from_numpy if shared else np.asarray
    return Batch(
        ids=[example.id for example in good],
        input_ids=wrap(input_ids),
        labels=wrap(labels),
        squares=wrap(np.stack(squares) if squares else np.empty((0, 1, 1, 3), np.uint8)),
        codes={term: wrap(np.stack(of_images)) for term, of_images in codes.items() if of_images},
        num_tokens=sum(lengths),
        num_truncated=sum(example.is_truncated for example in good),
        cu_seq_lens=wrap(np.cumsum([0, *lengths], dtype=np.int32)) if pack else None,
        features=None if good[0].features is None else wrap(np.stack(features) if features else no_features),
        sizes=None if good[0].sizes is None else wrap(np.array(sizes, np.int64).reshape(-1, 2)),
    )


def _padded(examples: list[Example], length: int, pad_token_id: int) -> tuple[np.ndarray, np.ndarray]:
    input_ids = np.full((len(examples), length), pad_token_id)
    labels = np.full((len(examples), length), IGNORE)
    for row, example in enumerate(examples):
        size = len(example.input_ids)
        input_ids[row, :size] = example.input_ids
        labels[row, :size] = example.labels
    return input_ids, labels


def _packed(examples: list[Example]) -> tuple[np.ndarray, np.ndarray]:
    # Nothing predicts a sample's first token; in a packed row the last token of the sample before it would.
    labels = [[IGNORE, *example.labels[1:]] for example in examples]
    ids = [example.input_ids for example in examples]
    return np.concatenate(ids)[None], np.concatenate(labels)[None]
