"""Architectures of the micro parts: stock transformers classes, only small."""

from typing import TYPE_CHECKING

from viral.data.images import CLIP_MEAN, CLIP_STD

if TYPE_CHECKING:
    from transformers import CLIPConfig, CLIPImageProcessorPil, LlamaConfig, PreTrainedTokenizerFast

IMAGE_SIZE, PATCH_SIZE = 64, 8
GRID = IMAGE_SIZE // PATCH_SIZE
TOWER_WIDTH, TOWER_LAYERS = 96, 4
LLM_WIDTH, LLM_LAYERS, LLM_CONTEXT = 96, 6, 512
VOCABULARY = 592


def clip_config(tokenizer: "PreTrainedTokenizerFast") -> "CLIPConfig":
    """The contrastive pair; its vision half becomes the student's tower."""
    from transformers import CLIPConfig

    vision = {
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH_SIZE,
        "hidden_size": TOWER_WIDTH,
        "intermediate_size": 4 * TOWER_WIDTH,
        "num_hidden_layers": TOWER_LAYERS,
        "num_attention_heads": 4,
        "projection_dim": 64,
    }
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": 96,
        "intermediate_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 40,
        "projection_dim": 64,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPConfig(vision_config=vision, text_config=text, projection_dim=64)


def llm_config(tokenizer: "PreTrainedTokenizerFast") -> "LlamaConfig":
    """A Vicuna in miniature."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=LLM_WIDTH,
        intermediate_size=3 * LLM_WIDTH,
        num_hidden_layers=LLM_LAYERS,
        num_attention_heads=4,
        max_position_embeddings=LLM_CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )


def image_processor() -> "CLIPImageProcessorPil":
    """The tower's own preprocessing: short side to 64 px, centre crop, CLIP statistics."""
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=list(CLIP_MEAN),
        image_std=list(CLIP_STD),
    )
