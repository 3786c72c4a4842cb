"""Attention within each sample of a packed row: the losses and gradients of padded rows, without the padding.

Transformers notices packing from position ids and builds a mask for it, but not when a cache or an attention mask is
handed in: then samples silently see each other, and the mask costs the square of the row. So the attention function
is one of our own, which is told where samples begin, looks at nothing else, and cannot run without being told.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from viral.errors import ConfigError

if TYPE_CHECKING:
    from transformers import LlamaModel

PACKED = "packed"
"""Name of the attention in transformers' registries."""


def use_packing(language_model: "LlamaModel") -> None:
    """From now on this decoder takes packed rows, and no others.

    Raises:
        ConfigError: its attention is not plain causal attention.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    config = language_model.config
    if getattr(config, "sliding_window", None) or config.attention_dropout:
        raise ConfigError(
            "data.pack=true: this LLM has sliding windows or dropout in its attention, which packing does not know; "
            "set data.pack=false."
        )
    AttentionInterface.register(PACKED, packed_attention)
    AttentionMaskInterface.register(PACKED, lambda *_args, **_kwargs: None)
    language_model.set_attn_implementation(PACKED)


def segments(cu_seq_lens: torch.Tensor, device: torch.device) -> dict[str, Any]:
    """What a decoder in `use_packing` is called with; `cu_seq_lens` int32 [samples + 1] best lies in host memory."""
    bounds = cu_seq_lens.tolist()
    lengths = [end - start for start, end in pairwise(bounds)]
    positions = torch.cat([torch.arange(length) for length in lengths])
    return {
        "position_ids": positions[None].to(device, non_blocking=True),
        "cu_seq_lens_q": cu_seq_lens.to(device, non_blocking=True),
        "max_length_q": max(lengths),
        "segment_lengths": lengths,
    }


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    segment_lengths: list[int],
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,  # noqa: ANN401 - what other attentions take
) -> tuple[torch.Tensor, None]:
    """Causal attention of each segment of one row; query [1, H, L, D], key and value [1, Hkv, L, D] -> [1, L, H, D].

    On a GPU in 16 bits one kernel does all segments, else they go one by one.
    """
    assert attention_mask is None
    assert dropout == 0.0
    assert query.shape[0] == 1
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        from torch.nn.attention.varlen import varlen_attn

        query_LHD, key_LHD, value_LHD = (states[0].transpose(0, 1) for states in (query, key, value))
        attended_LHD = varlen_attn(
            query_LHD,
            key_LHD,
            value_LHD,
            cu_seq_lens_q,
            cu_seq_lens_q,
            max_length_q,
            max_length_q,
            scale=scaling,
            window_size=(-1, 0),  # causal
            enable_gqa=True,
        )
        assert isinstance(attended_LHD, torch.Tensor)
        return attended_LHD[None], None
    attended = [
        F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
        for q, k, v in zip(*(states.split(segment_lengths, 2) for states in (query, key, value)), strict=True)
    ]
    return torch.cat(attended, dim=2).transpose(1, 2), None
