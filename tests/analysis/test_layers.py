"""Visual tokens at the layers: those of one forward pass with all hidden states, beside the tower's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from viral.analysis.layers import PROMPT, square_pictures, token_groups, visual_tokens
from viral.data.conversation import get_template
from viral.data.images import normalise
from viral.data.tokens import encode_prompt
from viral.errors import ConfigError
from viral.mllm.student import Student, load_student
from viral.mllm.towers import patch_features

PICTURES = [Image.effect_noise((40, 30), 90).convert("RGB"), Image.new("RGB", (30, 30), (200, 30, 60))]


@pytest.fixture(scope="module")
def student(llava_dir: Path) -> Student:
    return load_student(str(llava_dir))


def test_groups_are_hidden_states_and_tower_features(student):
    groups = token_groups(student, PICTURES, range(5))
    ids = encode_prompt(get_template("vicuna_v1").prompt(PROMPT), student.tokenizer, student.image)
    pixels = normalise(square_pictures(student, PICTURES), student.pixels)
    with torch.inference_mode():
        hidden = student.model(
            input_ids=torch.tensor([ids, ids]), pixel_values=pixels, output_hidden_states=True
        ).hidden_states
    is_image = torch.tensor(ids) == student.image.id
    tower = patch_features(student.model.model, pixels)
    for index, (group,) in enumerate(groups):
        assert torch.equal(group.tower, tower[index])
        for layer, state_TD in group.hidden.items():
            torch.testing.assert_close(state_TD, hidden[layer][index, is_image])


def test_one_layer_as_an_array(student):
    tokens = visual_tokens(student, PICTURES, 2)
    assert tokens.shape == (2, student.image.count, 48)
    assert np.array_equal(tokens[1], token_groups(student, PICTURES, (2,))[1][0].hidden[2].numpy())


def test_no_such_layer(student):
    with pytest.raises(ConfigError, match=r"layers 0 \(input\) to 4"):
        token_groups(student, PICTURES, (5,))
