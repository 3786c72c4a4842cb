"""Language models: the families a student can be built on, and the template the release trains each with."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from viral.errors import WeightsError
from viral.mllm.load import load_strictly, read_model_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class LlmFamily:
    """Decoders of one layout: `model.layers[i].self_attn.{q,k,v,o}_proj`, `.mlp.{gate,up,down}_proj`, `lm_head`."""

    model_type: str
    template: str
    """Conversation template of its instruction tuning (release, finetune_lora*.sh)."""
    prompts_vary: bool = False
    """Whether the release evaluates it with another wording than it trains it with."""
    example: str


LLM_FAMILIES = {
    family.model_type: family
    for family in (
        LlmFamily(
            model_type="llama", template="vicuna_v1", prompts_vary=True, example="lmsys/vicuna-7b-v1.5"
        ),
        LlmFamily(model_type="qwen2", template="qwen_2", example="Qwen/Qwen2.5-7B-Instruct"),
    )
}


def get_llm_family(model_type: str, source: str) -> LlmFamily:
    """The family with this `model_type`; `source` is for the message.

    Raises:
        WeightsError: there is none.
    """
    if model_type not in LLM_FAMILIES:
        known = "; ".join(f"{family.model_type}, e.g. {family.example}" for family in LLM_FAMILIES.values())
        raise WeightsError(
            f"{source} is a {model_type} model, which is no language model we know. Known: {known}."
        )
    return LLM_FAMILIES[model_type]


def prompt_template(family: LlmFamily, wanted: str) -> str:
    """The template to ask a model with: the one `wanted`, or its family's where the release has no other."""
    return wanted if family.prompts_vary else family.template


def load_llm(source: str, dtype: str) -> "PreTrainedModel":
    """The causal language model of `source`, tied embeddings or not.

    Raises:
        WeightsError: nothing there, an unknown architecture, or weights that do not fit it.
    """
    from transformers import AutoModelForCausalLM

    config = read_model_config(source, "language model")
    get_llm_family(config.model_type, source)
    return load_strictly(AutoModelForCausalLM, source, dtype=dtype, config=config)
