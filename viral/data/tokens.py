"""Text -> token ids and labels, with the image block spliced in. Exact to LLaVA's own masking."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from viral.data.conversation import IMAGE_TAG, TEMPLATES, Template, with_image
from viral.errors import ConfigError, DataError

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
    turns: Sequence[tuple[str, str]],
    tokenizer: "PreTrainedTokenizerBase",
    template: Template,
    image: ImageTokens | None,
    *,
    supervise_last_end: bool = True,
) -> tuple[list[int], list[int]]:
    """(input ids, labels) of question/answer turns; only answers and their end tokens are supervised.

    Without an image the tag is text like any other. The release leaves out the end of the last turn where the
    template is `qwen_2` (`supervise_last_end=False`), so that one-turn samples never teach a Qwen to stop.
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
    pieces = _pieces(text, tokenizer, image)
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
    drop_images: bool = False,
) -> tuple[list[int], list[int]]:
    """The first `max_length` tokens; never a part of an image block.

    With `drop_images` a sample ends before the first image block that does not fit whole.

    Raises:
        DataError: an image block does not fit, and `drop_images` is False.
    """
    if len(ids) <= max_length:
        return ids, labels
    end = max_length
    if image is not None:
        starts = [place for place, token in enumerate(ids) if token == image.id][:: image.count]
        beyond = [start for start in starts if start + image.count > max_length]
        if beyond and not drop_images:
            raise DataError(
                f"an image block of {image.count} tokens does not fit: it would be cut at max_length={max_length}; "
                f"raise data.max_length to at least {starts[-1] + image.count}, or set data.on_cut_image=drop."
            )
        end = min([max_length, *beyond])
    return ids[:end], labels[:end]


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
