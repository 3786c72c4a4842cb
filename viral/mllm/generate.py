"""Greedy decoding of many image questions at once; the same tokens as one at a time.

Shape letters: B prompts in a batch, L tokens of the longest prompt; N views of their images, T visual tokens per view,
V tower width.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from viral.data.conversation import IMAGE_TAG
from viral.data.image_source import ImageSource
from viral.data.tiles import Size
from viral.data.tokens import encode_prompt
from viral.errors import ConfigError, DataError
from viral.mllm.sight import Sight, naming
from viral.mllm.student import Student

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt with its single image; `key` is handed back with the reply."""

    key: str
    prompt: str
    image: ImageSource


def generate(
    student: Student,
    questions: Sequence[Question],
    *,
    max_new_tokens: int,
    image_mode: str,
    batch_size: int,
) -> Iterator[tuple[str, str]]:
    """Yield (key, reply) for every question, batch by batch, prompts of similar length together.

    A reply is the new text only: up to the end token, special tokens dropped. Where the device's memory
    does not hold a batch, the half is tried, and what fits is kept to.

    Raises:
        DataError: a prompt with other than one image, or one that leaves no room for the reply.
        ImageError: an image that cannot be read.
        ConfigError: the device's memory does not hold a single question.
    """
    ids = [
        encode_prompt(
            question.prompt, student.tokenizer, student.image, _blocks(question, student, image_mode)
        )
        for question in questions
    ]
    for question, prompt in zip(questions, ids, strict=True):
        _check_prompt(question, prompt, student, max_new_tokens)
    order = longest_first(questions, list(map(len, ids)))
    images = [questions[index].image for index in order]
    start = 0
    with Sight(student, image_mode, images) as sight:
        while start < len(order):
            end = start + batch_size
            prompts = [ids[index] for index in order[start:end]]
            sight.read_ahead(images[start : end + batch_size])
            replies = None
            try:
                seen = sight.features(images[start:end])
                replies = greedy(student, prompts, seen, max_new_tokens, sight.sizes(images[start:end]))
            except torch.OutOfMemoryError as error:
                if len(prompts) == 1:
                    raise _too_small(student, error) from error
            if replies is None:  # here, where the error no longer holds on to what filled the memory
                batch_size = _half(len(prompts), student)
                continue
            sight.answered(images[start:end])
            for index, tokens in zip(order[start:end], replies, strict=True):
                yield questions[index].key, str(student.tokenizer.decode(tokens, skip_special_tokens=True))
            start += len(prompts)


def longest_first(questions: Sequence[Question], lengths: Sequence[int]) -> list[int]:
    """Indices of the questions, neighbours alike in length, so that little is padded, and then in image.

    The longest come first: a batch too large for the memory fails at once and not after an hour.
    """
    return sorted(
        range(len(questions)), key=lambda index: (-lengths[index], str(questions[index].image), index)
    )


@torch.inference_mode()
def greedy(
    student: Student,
    prompts: Sequence[Sequence[int]],
    features_NTV: torch.Tensor,
    max_new_tokens: int,
    sizes: Sequence[Size] | None = None,
) -> list[list[int]]:
    """New token ids per prompt, without the end token, given the tower's features of the prompts' pictures; `sizes`
    of these pictures are asked for where the model sees tiles.

    Written out rather than left to `model.generate`, which takes sampling and penalties from a
    checkpoint's generation config unless each is switched off by name.
    """
    model = student.model
    ids_BL, mask_BL = left_pad(prompts, model.device)
    positions_BL = (mask_BL.cumsum(1) - 1).clamp(min=0)
    end = end_tokens(student).to(model.device)
    replies: list[list[int]] = [[] for _ in prompts]
    running_B = torch.ones(len(prompts), dtype=torch.bool, device=model.device)
    # The image enters with the prompt; from then on its keys and values are in the cache.
    state = model(
        input_ids=ids_BL,
        **student.visual_blocks(features_NTV, sizes),
        attention_mask=mask_BL,
        position_ids=positions_BL,
        use_cache=True,
        logits_to_keep=1,
    )
    position_B1 = positions_BL[:, -1:]
    for step in range(max_new_tokens):
        token_B = state.logits[:, -1].argmax(-1)
        running_B &= ~torch.isin(token_B, end)
        for reply, token, running in zip(replies, token_B.tolist(), running_B.tolist(), strict=True):
            if running:
                reply.append(token)
        if step + 1 == max_new_tokens or not running_B.any():
            break
        mask_BL = torch.cat([mask_BL, mask_BL.new_ones(len(prompts), 1)], dim=1)
        position_B1 = position_B1 + 1
        state = model(
            input_ids=token_B[:, None],
            attention_mask=mask_BL,
            position_ids=position_B1,
            past_key_values=state.past_key_values,
            use_cache=True,
        )
    return replies


def left_pad(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask [B, L], ends aligned so that every row's next token is in one column."""
    longest = max(map(len, prompts))
    # Padding is masked, so any id will do but the image token's: repeat the row's last one, a text token.
    ids = [[prompt[-1]] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def end_tokens(student: Student) -> torch.Tensor:
    """Every token id that ends a reply: the tokenizer's, and those of the model's generation config."""
    configured = student.model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return torch.tensor(sorted({id_ for id_ in [*ids, student.tokenizer.eos_token_id] if id_ is not None}))


def _half(batch_size: int, student: Student) -> int:
    """A batch size to try after one that did not fit."""
    log.warning(
        "%d questions at a time do not fit into the memory of %s; going on with %d",
        batch_size,
        student.model.device,
        batch_size // 2,
    )
    torch.cuda.empty_cache()
    return batch_size // 2


def _too_small(student: Student, error: torch.OutOfMemoryError) -> ConfigError:
    return ConfigError(
        f"The memory of {student.model.device} does not hold one question ({str(error).splitlines()[0]}); "
        "use another --device, or a smaller --dtype."
    )


def _blocks(question: Question, student: Student, image_mode: str) -> list[int]:
    if (count := question.prompt.count(IMAGE_TAG)) != 1:
        raise DataError(
            f"The prompt of {question.key!r} holds {count} image tags for one image; put exactly one {IMAGE_TAG} in it."
        )
    with naming(question.image):
        return student.blocks([question.image], image_mode)


def _check_prompt(question: Question, prompt: Sequence[int], student: Student, max_new_tokens: int) -> None:
    room = student.model.config.get_text_config().max_position_embeddings
    if len(prompt) + max_new_tokens > room:
        raise DataError(
            f"The prompt of {question.key!r} has {len(prompt)} tokens; with {max_new_tokens} new ones that is more "
            f"than the {room} positions of the model."
        )
