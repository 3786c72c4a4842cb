"""Greedy decoding of many image questions at once; the same tokens as one at a time.

Shape letters: B prompts in a batch, L tokens of the longest prompt.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from viral.data.conversation import IMAGE_TAG
from viral.data.image_source import ImageSource
from viral.data.images import decode_image
from viral.data.tokens import encode_prompt
from viral.errors import DataError, ImageError
from viral.mllm.student import Seen, Student


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

    A reply is the new text only: up to the end token, special tokens dropped, stripped.

    Raises:
        DataError: a prompt with other than one image, or one that leaves no room for the reply.
        ImageError: an image that cannot be read.
    """
    prompts = {
        question.key: encode_prompt(
            question.prompt, student.tokenizer, student.image, _blocks(question, student, image_mode)
        )
        for question in questions
    }
    for question in questions:
        _check_prompt(question, prompts[question.key], student, max_new_tokens)
    for batch in buckets(questions, [len(prompts[question.key]) for question in questions], batch_size):
        images = load_pixels((question.image for question in batch), student, image_mode)
        token_lists = greedy(student, [prompts[question.key] for question in batch], images, max_new_tokens)
        for question, tokens in zip(batch, token_lists, strict=True):
            yield question.key, str(student.tokenizer.decode(tokens, skip_special_tokens=True)).strip()


def buckets(
    questions: Sequence[Question], lengths: Sequence[int], batch_size: int
) -> Iterator[list[Question]]:
    """Batches of neighbours in length, so that little is padded, and then in image, so that it is read once.

    The longest come first: a batch too large for the memory fails at once and not after an hour.
    """
    order = sorted(
        range(len(questions)), key=lambda index: (-lengths[index], str(questions[index].image), index)
    )
    for start in range(0, len(order), batch_size):
        yield [questions[index] for index in order[start : start + batch_size]]


def load_pixels(images: Iterable[ImageSource], student: Student, image_mode: str) -> dict[str, torch.Tensor]:
    """What the model's forward takes of these images (`Student.inputs`); a picture that comes twice is read once.

    Raises:
        ImageError: an image that cannot be read; the message names it.
    """
    seen: dict[ImageSource, Seen] = {}
    order = list(images)
    for path in order:
        if path not in seen:
            try:
                seen[path] = student.look(decode_image(path), image_mode)
            except ImageError as error:
                raise ImageError(f"{path}: {error}. Replace the file; no question may be skipped.") from error
    return student.inputs([seen[path] for path in order])


@torch.inference_mode()
def greedy(
    student: Student, prompts: Sequence[Sequence[int]], images: dict[str, torch.Tensor], max_new_tokens: int
) -> list[list[int]]:
    """New token ids per prompt, without the end token; `images` as `load_pixels` gives them.

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
        **images,
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


def _blocks(question: Question, student: Student, image_mode: str) -> list[int]:
    if (count := question.prompt.count(IMAGE_TAG)) != 1:
        raise DataError(
            f"The prompt of {question.key!r} holds {count} image tags for one image; put exactly one {IMAGE_TAG} in it."
        )
    try:
        return student.blocks([question.image], image_mode)
    except ImageError as error:
        raise ImageError(
            f"{question.image}: {error}. Replace the file; no question may be skipped."
        ) from error


def _check_prompt(question: Question, prompt: Sequence[int], student: Student, max_new_tokens: int) -> None:
    room = student.model.config.get_text_config().max_position_embeddings
    if len(prompt) + max_new_tokens > room:
        raise DataError(
            f"The prompt of {question.key!r} has {len(prompt)} tokens; with {max_new_tokens} new ones that is more "
            f"than the {room} positions of the model."
        )
