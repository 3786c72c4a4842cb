"""Parts of every supported family at toy size, saved as their users have them: real classes, seeded random weights."""

import io
import json
from pathlib import Path

import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from pipelines.training.config import TrainConfig, with_overrides
from tests import tiny
from viral.data.conversation import get_template

WIDTH, TOWER_WIDTH, TOWER_LAYERS = 48, 32, 3
SIGLIP_SIZE, SIGLIP_PATCH = 32, 8
LLMS = ("llama", "llama-tied", "qwen2", "qwen2-tied")
TOWERS = ("clip", "clip-whole", "siglip", "siglip-whole")
TEMPLATES = {"llama": "vicuna_v1", "qwen2": "qwen_2"}


def save_llm(folder: Path, kind: str, *, width: int = WIDTH, seed: int = 0) -> str:
    """`llama` or `qwen2`, with `-tied` where the output matrix is the input embedding."""
    family, _, tied = kind.partition("-")
    tokenizer = tiny.tokenizer_without_image() if family == "llama" else qwen_tokenizer()
    sizes = {
        "hidden_size": width, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
        "max_position_embeddings": 512, "tie_word_embeddings": bool(tied), "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    torch.manual_seed(seed)
    if family == "llama":
        model = LlamaForCausalLM(LlamaConfig(num_key_value_heads=4, vocab_size=len(tokenizer), **sizes))
    else:  # Qwen's matrices have more rows than its tokenizer has tokens
        model = Qwen2ForCausalLM(Qwen2Config(num_key_value_heads=2, vocab_size=len(tokenizer) + 11, **sizes))
    _shake(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def save_tower(folder: Path, kind: str, *, width: int = TOWER_WIDTH) -> str:
    """`clip` or `siglip`, with `-whole` as the checkpoint of both halves that the hub holds."""
    family, _, whole = kind.partition("-")
    torch.manual_seed(1)
    vision = {
        "hidden_size": width, "intermediate_size": 64, "num_hidden_layers": TOWER_LAYERS, "num_attention_heads": 2
    }  # fmt: skip
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    if family == "clip":
        vision |= {"image_size": tiny.SIZE, "patch_size": tiny.PATCH}
        model = (
            CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=16))
            if whole
            else CLIPVisionModel(CLIPVisionConfig(**vision))
        )
        processor = tiny.image_processor()
    else:
        vision |= {"image_size": SIGLIP_SIZE, "patch_size": SIGLIP_PATCH}
        model = (
            SiglipModel(SiglipConfig(vision_config=vision, text_config=text))
            if whole
            else SiglipVisionModel(SiglipVisionConfig(**vision))
        )
        processor = SiglipImageProcessorPil(size={"height": SIGLIP_SIZE, "width": SIGLIP_SIZE})
    _shake(model).save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def save_projector(path: Path, *, inputs: int = TOWER_WIDTH, outputs: int = WIDTH) -> str:
    """As LLaVA releases it: `mm_projector.bin`, half precision."""
    generator = torch.Generator().manual_seed(2)
    shapes = {
        "0.weight": (outputs, inputs), "0.bias": (outputs,), "2.weight": (outputs, outputs), "2.bias": (outputs,)
    }  # fmt: skip
    state = {
        f"model.mm_projector.{name}": 0.2 * torch.randn(shape, generator=generator).half()
        for name, shape in shapes.items()
    }
    torch.save(state, path)
    return str(path)


def with_parts(config: TrainConfig, root: Path, llm: str, tower: str) -> TrainConfig:
    """A run like `config` on parts of these kinds, which are saved below `root`."""
    return with_overrides(
        config,
        {
            "model.llava": None,
            "model.llm": save_llm(root / "llm", llm),
            "model.tower": save_tower(root / "tower", tower),
            "model.projector": save_projector(root / "mm_projector.bin"),
            "data.template": TEMPLATES[llm.split("-")[0]],
        },
    )


def rename_weights(folder: Path, old: str, new: str) -> None:
    """Rename the tensors of a saved model, as another version of transformers would have named them."""
    tensors = load_file(folder / "model.safetensors")
    renamed = {name.replace(old, new): tensor for name, tensor in tensors.items()}
    assert renamed.keys() != tensors.keys()
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})


def qwen_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE that adds nothing in front, like Qwen's."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([get_template("qwen_2").system, "How many circles are there? yes no"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
    )


def make_like_vicunas(folder: Path) -> None:
    """Turn a saved Llama into what the hub holds of Vicuna: pickled weights, old buffers, a sentencepiece model."""
    weights = folder / "model.safetensors"
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6)}
    torch.save(load_file(weights) | buffer, folder / "pytorch_model.bin")
    weights.unlink()
    for path in folder.glob("tokenizer*"):
        path.unlink()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(tiny.CORPUS), model_writer=model, vocab_size=400, hard_vocab_limit=False,
        model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "legacy": False,
        "add_bos_token": True,
        "pad_token": None,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _shake(model: PreTrainedModel) -> PreTrainedModel:
    """Norms and biases away from one and zero, so that one that is left out shows."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.uniform_(0.5, 1.5)
            if name.endswith("bias"):
                parameter.normal_(std=0.2)
    return model.eval()
