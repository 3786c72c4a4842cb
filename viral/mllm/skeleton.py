"""A student without its weights, from configurations alone: what a run would be, before anything is loaded."""

from typing import TYPE_CHECKING

import torch

from viral.mllm.assemble import assembled_config
from viral.mllm.llms import get_llm_family
from viral.mllm.load import read_model_config
from viral.mllm.student import llava_class
from viral.mllm.towers import read_tower

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from viral.mllm.student import Llava


def llava_skeleton(source: str, dtype: str) -> "Llava":
    """The architecture of a LLaVA folder or hub id, on the meta device.

    Raises:
        WeightsError: no configuration there or in the hub's cache, or of no LLaVA of a known family.
    """
    config = read_model_config(source, "LLaVA")
    llava_class(config, source)
    get_llm_family(config.text_config.model_type, source)
    return _on_meta(config, dtype)


def assembled_skeleton(llm: str, tower: str, dtype: str, tiles: str | None = None) -> "Llava":
    """The architecture that `assemble_student` makes of these parts, on the meta device.

    Raises:
        WeightsError: a configuration is missing, or of an unknown architecture.
    """
    language = read_model_config(llm, "language model")
    get_llm_family(language.model_type, llm)
    seen = read_tower(tower)
    config = assembled_config(language, seen.tower, seen.config, language.vocab_size, tiles)
    return _on_meta(config, dtype)


def _on_meta(config: "PretrainedConfig", dtype: str) -> "Llava":
    with torch.device("meta"):
        return llava_class(config)(config).to(getattr(torch, dtype))
