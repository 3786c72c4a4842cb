"""A student without its weights, from configurations alone: what a run would be, before anything is loaded."""

from typing import TYPE_CHECKING

import torch

from viral.errors import WeightsError
from viral.mllm.assemble import assembled_config
from viral.mllm.llms import get_llm_family
from viral.mllm.load import read_model_config
from viral.mllm.towers import read_tower

if TYPE_CHECKING:
    from transformers import LlavaConfig, LlavaForConditionalGeneration


def llava_skeleton(source: str, dtype: str) -> "LlavaForConditionalGeneration":
    """The architecture of a LLaVA folder or hub id, on the meta device.

    Raises:
        WeightsError: no configuration there or in the hub's cache, or of no LLaVA of a known family.
    """
    config = read_model_config(source, "LLaVA")
    if config.model_type != "llava":
        raise WeightsError(
            f"{source} is a {config.model_type} model, no LLaVA; give its parts with model.llm, ..."
        )
    get_llm_family(config.text_config.model_type, source)
    return _on_meta(config, dtype)


def assembled_skeleton(llm: str, tower: str, dtype: str) -> "LlavaForConditionalGeneration":
    """The architecture that `assemble_student` makes of these parts, on the meta device.

    Raises:
        WeightsError: a configuration is missing, or of an unknown architecture.
    """
    language = read_model_config(llm, "language model")
    get_llm_family(language.model_type, llm)
    seen = read_tower(tower)
    return _on_meta(assembled_config(language, seen.tower, seen.config, language.vocab_size), dtype)


def _on_meta(config: "LlavaConfig", dtype: str) -> "LlavaForConditionalGeneration":
    from transformers import LlavaForConditionalGeneration as Llava

    with torch.device("meta"):
        return Llava(config).to(getattr(torch, dtype))
