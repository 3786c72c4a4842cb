"""From adapter to a plain Hugging Face folder that `from_pretrained` loads without us."""

from pathlib import Path

import torch

from viral.errors import WeightsError
from viral.mllm.assemble import add_image_token
from viral.mllm.student import Student
from viral.tensors import read_tensors


def merge_adapter(student: Student, adapter: Path) -> Student:
    """W <- W + (alpha / r) B A for every adapted linear, and the trained projector in place of the old one.

    Raises:
        WeightsError: no adapter there, or one made for another base.
    """
    from peft import PeftModel, get_peft_model_state_dict

    found = read_tensors(adapter / "adapter_model.safetensors")
    try:
        adapted = PeftModel.from_pretrained(student.model, str(adapter))
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"The adapter in {adapter} does not load onto this base: {reason}") from error
    expected = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    if odd := sorted(found.keys() ^ expected.keys()):  # PEFT itself only warns
        raise WeightsError(
            f"The adapter in {adapter} is not of this base: {len(odd)} tensors differ, first {odd[0]}."
        )
    student.model = adapted.merge_and_unload()
    return student


def save_student(student: Student, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write model, tokenizer and processor; the image processor pads to a square as training did."""
    from transformers import LlavaImageProcessorPil, LlavaProcessor

    add_image_token(student)
    student.model.to(dtype).save_pretrained(folder)
    side = student.pixels.size
    image_processor = LlavaImageProcessorPil(
        do_pad=True,
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=list(student.pixels.mean),
        image_std=list(student.pixels.std),
    )
    config = student.model.config
    processor = LlavaProcessor(
        image_processor=image_processor,
        tokenizer=student.tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,  # the tower's class token, which "default" drops again
    )
    processor.save_pretrained(folder)
