"""What the tests of the teachers share: lively weights, squares, and the one-patch shift."""

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from viral.data.images import PixelSpec, normalise
from viral.teachers.load import load_teacher


def lively(model: nn.Module) -> nn.Module:
    """Weights of a size at which every part of the model changes its output, positions included."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        numbers = torch.randn(parameter.shape, generator=generator)
        if "pos" in name or "token" in name:
            parameter.data = numbers * 0.5
        elif parameter.ndim > 1:
            parameter.data = numbers / parameter[0].numel() ** 0.5
        else:
            scales = name.endswith(("weight", "gamma", "gamma_1", "gamma_2", "lambda1"))
            parameter.data = numbers * 0.1 + (1.0 if scales else 0.0)
    return model.eval()


def squares(side: int, count: int = 2) -> torch.Tensor:
    numbers = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return torch.from_numpy(numbers)


def pixels(spec, squares_BSSC):
    """Normalised in another way than the teacher does it."""
    return normalise(squares_BSSC.numpy(), PixelSpec(size=spec.image_size, mean=spec.mean, std=spec.std))


def load(spec, state, tmp_path):
    """Save tensors as a checkpoint and load the teacher from it."""
    path = tmp_path / "checkpoint.safetensors"
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)
    return load_teacher(spec, str(path))


def lively_teacher(spec, tmp_path):
    """A teacher that was loaded from timm's own names."""
    return load(spec, lively(load_teacher(spec, "random").backbone).state_dict(), tmp_path)


def assert_one_patch_is_one_token(teacher) -> None:
    """Blind to positions, a picture moved by one patch gives the tokens moved by one place."""
    model, patch = teacher.backbone, teacher.spec.patch_size
    rows, columns = teacher.grid
    if model.pos_embed is not None:
        model.pos_embed.data.zero_()
    if (rope := getattr(model, "rope", None)) is not None:
        if rope.feat_shape is None:
            rope.periods.fill_(torch.inf)
        else:
            sine, cosine = rope.pos_embed.chunk(2, dim=-1)
            sine.zero_()
            cosine.fill_(1)
    picture = squares(teacher.spec.image_size, 1)
    moved = [picture, picture.roll(patch, dims=2), picture.roll(patch, dims=1)]
    grids_BRCD = teacher(torch.cat(moved)).unflatten(1, (rows, columns))
    torch.testing.assert_close(grids_BRCD[1], grids_BRCD[0].roll(1, dims=1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(grids_BRCD[2], grids_BRCD[0].roll(1, dims=0), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(grids_BRCD[0], grids_BRCD[0].roll(1, dims=1), atol=0.1)
    assert not torch.allclose(grids_BRCD[0], grids_BRCD[0].transpose(0, 1), atol=0.1)
