"""A plain Hugging Face folder that `from_pretrained` and `AutoProcessor` load without us."""

from pathlib import Path

import torch

from viral.data.conversation import Template
from viral.mllm.assemble import add_image_token
from viral.mllm.chat import chat_template, end_token
from viral.mllm.student import Student, tower_of


def save_student(
    student: Student,
    folder: Path,
    template: Template,
    *,
    image_mode: str = "pad",
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write model, tokenizer and processor.

    The image processor makes squares (`image_mode`) and the chat template speaks (`template`) as in training; a
    reply ends at the LLM's own end tokens or at the template's.
    """
    from transformers import (
        LlavaImageProcessorPil,
        LlavaNextImageProcessorPil,
        LlavaNextProcessor,
        LlavaProcessor,
    )

    add_image_token(student)
    model, tokenizer, side = student.model, student.tokenizer, student.pixels.size
    _end_replies_at(student, end_token(template, tokenizer))
    model.to(dtype).save_pretrained(folder)
    tiling = student.image.tiling
    seeing = {"image_grid_pinpoints": tiling.pinpoints} if tiling else {"do_pad": image_mode == "pad"}
    image_processor = (LlavaNextImageProcessorPil if tiling else LlavaImageProcessorPil)(
        **seeing,
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=list(student.pixels.mean),
        image_std=list(student.pixels.std),
    )
    # The LLM's own chat template is not what this model was trained on.
    tokenizer.chat_template = chat_template(template)
    processor = (LlavaNextProcessor if tiling else LlavaProcessor)(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=model.config.vision_config.patch_size,
        vision_feature_select_strategy=model.config.vision_feature_select_strategy,
        # The processor counts these in and, for "default", takes one off: a picture is one token for each patch.
        num_additional_image_tokens=tower_of(model).class_tokens,
        chat_template=chat_template(template),
    )
    processor.save_pretrained(folder)


def _end_replies_at(student: Student, token: int | None) -> None:
    generation = student.model.generation_config
    known = (
        generation.eos_token_id if isinstance(generation.eos_token_id, list) else [generation.eos_token_id]
    )
    ends = sorted({*known, token} - {None})
    generation.eos_token_id = ends if len(ends) > 1 else next(iter(ends), None)
