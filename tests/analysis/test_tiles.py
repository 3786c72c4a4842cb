"""Groups of a student that sees tiles: one for each view, its tokens beside the tower's features of their patches."""

import numpy as np
import torch
from PIL import Image

from tests import tiny
from viral.analysis.layers import token_groups
from viral.data.images import normalise
from viral.data.tiles import tile_tokens
from viral.mllm.student import load_student
from viral.mllm.towers import patch_features

SIZES = [(57, 55), (20, 90)]


def test_each_view_is_a_group_and_layer_0_its_projection(tmp_path):
    student = load_student(str(tiny.save_llava_next(tmp_path / "model")))
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in SIZES]
    for picture, groups in zip(pictures, token_groups(student, pictures, (0, 2)), strict=True):
        seen = student.look(picture)
        places = tile_tokens(tiny.TILING, seen.size, tiny.GRID)
        tower = patch_features(student.model.model, normalise(seen.views, student.pixels))
        assert len(groups) == len(seen.views)
        assert len(groups[0].tower) == tiny.GRID**2
        for view, group in enumerate(groups):
            assert torch.equal(group.tower, tower[view][places.patch[places.view == view]])
            with torch.inference_mode():
                projected = student.model.model.multi_modal_projector(group.tower)
            torch.testing.assert_close(group.hidden[0], projected, atol=1e-5, rtol=1e-5)
            assert group.hidden[2].shape == group.hidden[0].shape
