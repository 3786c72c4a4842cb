"""Text -> token ids and labels, with the image block spliced in. Exact to LLaVA's own masking."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from viral.data.conversation import IMAGE_TAG, TEMPLATES, Template, with_image
from viral.data.tiles import Size, Tiling, tile_tokens
from viral.errors import ConfigError, DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE = -100
"""Label of a position without language supervision (torch's cross-entropy default)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageTokens:
    """What the image tag stands for: `count` copies of token `id`, or more where pictures are tiled."""

    id: int
    count: int
    """Patches of one view: the only one, unless there is a tiling."""
    tiling: Tiling | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a view's patches: a square."""
        side = math.isqrt(self.count)
        return side, side

    @property
    def most(self) -> int:
        """Tokens of the picture that has most."""
        if self.tiling is None:
            return self.count
        full = [(height, width) for height, width in self.tiling.pinpoints]
        return max(map(self.block, full))

    def block(self, size: Size) -> int:
        """Tokens of a picture of this height and width; raises as `Tiling.grid`."""
        return len(tile_tokens(self.tiling, size, self.grid[0]).view) if self.tiling else self.count

    def count_blocks(self, ids: Sequence[int], blocks: Sequence[int] | None = None) -> int:
        """Image blocks in `ids`, which may end before the last of `blocks`."""
        found = ids.count(self.id)
        return found // self.count if blocks is None else sum(end <= found for end in accumulate(blocks))


def encode_prompt(
    text: str, tokenizer: "PreTrainedTokenizerBase", image: ImageTokens, blocks: Sequence[int] | None = None
) -> list[int]:
    """Token ids of `text`, each image tag replaced by its image's block; `blocks` are their lengths, if not all alike.

    Text on either side of a tag is tokenised on its own, and only the first piece keeps its
    beginning-of-sequence token, as LLaVA does; a sentencepiece tokenizer therefore shows a stray
    blank token next to the image.
    """
    return [token for token, _, _ in _pieces(text, tokenizer, image, blocks)]


def encode_dialogue(
    turns: Sequence[tuple[str, str]],
    tokenizer: "PreTrainedTokenizerBase",
    template: Template,
    image: ImageTokens | None,
    *,
    blocks: Sequence[int] | None = None,
    supervise_last_end: bool = True,
) -> tuple[list[int], list[int]]:
    """(input ids, labels) of question/answer turns; only answers and their end tokens are supervised.

    Without an image the tag is text like any other; `blocks` as in `encode_prompt`. The release leaves out the end of
    the last turn where the template is `qwen_2` (`supervise_last_end=False`), so that one-turn samples never teach a
    Qwen to stop.
    """
    text, spans = "", []
    for index, (question, answer) in enumerate(turns):
        question = with_image(question) if image and IMAGE_TAG in question else question
        text += template.question(question, first=index == 0)
        spoken = template.answer(answer)
        spans.append((len(text), len(text) + len(spoken)))
        text += spoken
    if not supervise_last_end:
        first, last = spans[-1]
        spans[-1] = (first, max(first, last - len(template.end)))
    pieces = _pieces(text, tokenizer, image, blocks)
    ids = [token for token, _, _ in pieces]
    # A sentencepiece token swallows the blank before the answer, so a token belongs to the answer if it *ends* in it.
    labels = [
        token if any(first < end <= last for first, last in spans) and start < end else IGNORE
        for token, start, end in pieces
    ]
    return ids, labels


def truncate(
    ids: list[int],
    labels: list[int],
    image: ImageTokens | None,
    max_length: int,
    *,
    blocks: Sequence[int] | None = None,
    drop_images: bool = False,
) -> tuple[list[int], list[int]]:
    """The first `max_length` tokens; never a part of an image block (`blocks` as in `encode_prompt`).

    With `drop_images` a sample ends before the first image block that does not fit whole.

    Raises:
        DataError: an image block does not fit, and `drop_images` is False.
    """
    if len(ids) <= max_length:
        return ids, labels
    end = max_length
    if image is not None:
        spans = _block_spans(ids, image, blocks)
        beyond = [(start, stop) for start, stop in spans if stop > max_length]
        if beyond and not drop_images:
            start, stop = beyond[0]
            raise DataError(
                f"an image block of {stop - start} tokens does not fit: it would be cut at max_length={max_length}; "
                f"raise data.max_length to at least {spans[-1][1]}, or set data.on_cut_image=drop."
            )
        end = min([max_length, *(start for start, _ in beyond)])
    return ids[:end], labels[:end]


def _block_spans(
    ids: Sequence[int], image: ImageTokens, blocks: Sequence[int] | None
) -> list[tuple[int, int]]:
    """(start, past the end) of each image block."""
    places = [place for place, token in enumerate(ids) if token == image.id]
    lengths = [image.count] * (len(places) // image.count) if blocks is None else blocks
    starts = [places[first] for first in accumulate(lengths[:-1], initial=0)] if lengths else []
    return [(start, start + length) for start, length in zip(starts, lengths, strict=True)]


def check_end_token(tokenizer: "PreTrainedTokenizerBase", template: Template) -> None:
    """Make sure that the end of an answer is one token, which a model can learn to stop at.

    Raises:
        ConfigError: the template belongs to another family of tokenizers.
    """
    if len(tokenizer(template.end, add_special_tokens=False)["input_ids"]) > 1 and template.end.strip():
        raise ConfigError(
            f"Template {template.name!r} ends answers with {template.end!r}, which is not one token of this model's "
            f"tokenizer; set data.template to the one of its family. Known: {', '.join(sorted(TEMPLATES))}."
        )


def _pieces(
    text: str,
    tokenizer: "PreTrainedTokenizerBase",
    image: ImageTokens | None,
    blocks: Sequence[int] | None = None,
) -> list[tuple[int, int, int]]:
    """(token id, first character, past last character) over `text`; image tokens have an empty span."""
    # Cut inside the tag, so that a tokenizer which knows it as a special token reads it as text.
    chunks = text.split(IMAGE_TAG) if image else re.split(r"(?<=<)(?=image>)", text)
    if image and blocks is not None and len(chunks) - 1 != len(blocks):
        raise DataError(
            f"{len(chunks) - 1} {IMAGE_TAG} tags for {len(blocks)} images, expected one for each image."
        )
    pieces: list[tuple[int, int, int]] = []
    offset = 0
    for index, chunk in enumerate(chunks):
        if index and image:
            length = image.count if blocks is None else blocks[index - 1]
            pieces += [(image.id, offset, offset)] * length
            offset += len(IMAGE_TAG)
        encoded = tokenizer(chunk, return_offsets_mapping=True)
        tokens = list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
        if index and tokens and tokens[0][0] == tokenizer.bos_token_id:
            tokens = tokens[1:]
        pieces += [(token, offset + start, offset + end) for token, (start, end) in tokens]
        offset += len(chunk)
    return pieces
