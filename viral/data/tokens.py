"""Text -> token ids and labels, with the image block spliced in. Exact to LLaVA's own masking."""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from viral.data.conversation import IMAGE_TAG, Template, with_image
from viral.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE = -100
"""Label of a position without language supervision (torch's cross-entropy default)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageTokens:
    """What the image tag stands for: `count` copies of token `id`."""

    id: int
    count: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the block: a square."""
        side = math.isqrt(self.count)
        return side, side


def encode_prompt(text: str, tokenizer: "PreTrainedTokenizerBase", image: ImageTokens) -> list[int]:
    """Token ids of `text`, each image tag replaced by the image block.

    Text on either side of a tag is tokenised on its own, and only the first piece keeps its
    beginning-of-sequence token, as LLaVA does; a sentencepiece tokenizer therefore shows a stray
    blank token next to the image.
    """
    return [token for token, _, _ in _pieces(text, tokenizer, image)]


def encode_dialogue(
    turns: list[tuple[str, str]],
    tokenizer: "PreTrainedTokenizerBase",
    template: Template,
    image: ImageTokens | None,
    max_length: int,
) -> tuple[list[int], list[int]]:
    """(input ids, labels) of question/answer turns; only answers and their end tokens are supervised.

    Longer texts are cut at `max_length` tokens. Without an image the tag is text like any other.

    Raises:
        DataError: the cut would go through the image block.
    """
    text, spans = "", []
    for index, (question, answer) in enumerate(turns):
        question = with_image(question) if image and IMAGE_TAG in question else question
        text += template.question(question, first=index == 0)
        spoken = template.answer(answer)
        spans.append((len(text), len(text) + len(spoken)))
        text += spoken
    pieces = _pieces(text, tokenizer, image)
    ids = [token for token, _, _ in pieces]
    # A sentencepiece token swallows the blank before the answer, so a token belongs to the answer if it *ends* in it.
    labels = [
        token if any(first < end <= last for first, last in spans) and start < end else IGNORE
        for token, start, end in pieces
    ]
    if image and image.id in ids[max_length:]:
        raise DataError(
            f"the image block of {image.count} tokens does not fit: it would be cut at max_length={max_length}; "
            f"raise data.max_length to at least {len(ids) - ids[::-1].index(image.id)}."
        )
    return ids[:max_length], labels[:max_length]


def _pieces(
    text: str, tokenizer: "PreTrainedTokenizerBase", image: ImageTokens | None
) -> list[tuple[int, int, int]]:
    """(token id, first character, past last character) over `text`; image tokens have an empty span."""
    # Cut inside the tag, so that a tokenizer which knows it as a special token reads it as text.
    chunks = text.split(IMAGE_TAG) if image else re.split(r"(?<=<)(?=image>)", text)
    pieces: list[tuple[int, int, int]] = []
    offset = 0
    for index, chunk in enumerate(chunks):
        if index and image:
            pieces += [(image.id, offset, offset)] * image.count
            offset += len(IMAGE_TAG)
        encoded = tokenizer(chunk, return_offsets_mapping=True)
        tokens = list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
        if index and tokens and tokens[0][0] == tokenizer.bos_token_id:
            tokens = tokens[1:]
        pieces += [(token, offset + start, offset + end) for token, (start, end) in tokens]
        offset += len(chunk)
    return pieces
