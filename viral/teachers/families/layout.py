"""Checkpoint layouts: the tensors of one library under the names of another."""

import re
from collections.abc import Iterable

import torch
from torch import Tensor

from viral.teachers.families.family import State

Rules = Iterable[tuple[str, str]]
"""Patterns and what takes their place, applied one after the other to every name."""

_SPLIT = re.compile(r"(.*attn\.)([qkv])_proj(\.\w+)")


def rename(state: State, rules: Rules) -> State:
    """Every tensor under its new name."""
    renamed = {}
    for old, tensor in state.items():
        name = old
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def without(state: State, prefixes: tuple[str, ...]) -> State:
    """The tensors whose names begin with none of the prefixes."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}


def fuse_qkv(state: State) -> State:
    """`...attn.q_proj`, `k_proj` and `v_proj` stacked into timm's one `...attn.qkv`.

    Raises:
        KeyError: one of the three is missing.
    """
    fused: State = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if match := _SPLIT.fullmatch(name):
            block, part, kind = match.groups()
            parts.setdefault(f"{block}qkv{kind}", {})[part] = tensor
        else:
            fused[name] = tensor
    return fused | {name: torch.cat([three[part] for part in "qkv"]) for name, three in parts.items()}
