"""Views and visual tokens of tiled pictures, against the library whose models see them."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import LlavaNextImageProcessorPil, LlavaNextProcessor

from tests import tiny
from viral.data.images import PixelSpec, image_size, normalise
from viral.data.tiles import NEWLINE, Tiling, get_tiling, resize_views, tile_tokens, tiling_of_store, view_key
from viral.errors import ConfigError, ImageError, UnknownNameError
from viral.mllm.tiling import tiling_of, token_map

REAL = Tiling(name="llava-next")
SIZES = [
    (480, 640),
    (640, 480),
    (30, 100),
    (1000, 333),
    (336, 336),
    (5, 1),
    (37, 1024),
    (50, 50),
    (1501, 1500),
]


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def processor_for(tiling: Tiling) -> LlavaNextImageProcessorPil:
    side = {"height": tiling.side, "width": tiling.side}
    return LlavaNextImageProcessorPil(
        size={"shortest_edge": tiling.side}, crop_size=side, image_grid_pinpoints=tiling.pinpoints
    )


@lru_cache
def core():
    return tiny.llava_next().model


def test_the_grids_are_those_of_the_library():
    assert REAL.pinpoints == [
        list(pinpoint) for pinpoint in LlavaNextImageProcessorPil().image_grid_pinpoints
    ]
    assert tiling_of(tiny.llava_next().config) == tiny.TILING
    assert tiling_of(tiny.llava().config) is None


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_the_librarys(size):
    """To 1e-6 of normalised units: the uint8 values are the same, the arithmetic after them is float32 here."""
    theirs = processor_for(REAL)(picture(size), return_tensors="pt")
    ours = normalise(REAL.views(picture(size)), PixelSpec(size=REAL.side))
    assert len(ours) == REAL.num_views(size)
    torch.testing.assert_close(theirs["pixel_values"][0], ours, atol=1e-6, rtol=0)
    assert theirs["image_sizes"].tolist() == [list(size)]


@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(1, 120), st.integers(1, 120)).filter(lambda size: max(size) <= 64 * min(size)))
def test_tokens_follow_the_librarys_order(size):
    """Features that carry their own place go through the model's `pack_image_features`."""
    places = torch.arange(tiny.TILING.num_views(size) * tiny.GRID**2).float()
    features = places.view(-1, tiny.GRID**2, 1).expand(-1, -1, 48)
    newline = torch.full((48,), float(NEWLINE))
    packed, _ = core().pack_image_features([features], torch.tensor([size]), "default", image_newline=newline)
    ours = token_map(core().config, torch.tensor([size]))
    assert ours.index.tolist() == packed[0][:, 0].tolist()
    assert ours.lengths == [(packed[0][:, 0] >= 0).sum()]


def test_the_number_of_tokens_is_the_processors():
    library = LlavaNextProcessor(
        image_processor=processor_for(REAL), tokenizer=tiny.tokenizer(), patch_size=14,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
    )  # fmt: skip
    expected = library._get_num_multimodal_tokens(SIZES)["num_image_tokens"]
    assert [len(tile_tokens(REAL, size, 24).view) for size in SIZES] == expected
    assert len(tile_tokens(REAL, (672, 672), 24).view) == 576 + 48 * 49


def test_a_tile_holds_its_part_of_the_picture():
    """Four colours, one in each quarter of a square: each tile is of one, and the whole has all."""
    quarters = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)
    image = Image.fromarray(quarters.repeat(28, 0).repeat(28, 1))
    whole, *tiles = tiny.TILING.views(image)
    for tile, colour in zip(tiles, quarters.reshape(4, 3), strict=True):
        assert (tile == colour).all()
    assert len(np.unique(whole.reshape(-1, 3), axis=0)) >= 4
    tokens = tile_tokens(tiny.TILING, (56, 56), tiny.GRID)
    row = tokens.view[tiny.GRID**2 :].reshape(8, 9)
    assert row[0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2, NEWLINE]
    assert row[7].tolist() == [3, 3, 3, 3, 4, 4, 4, 4, NEWLINE]


def test_tokens_of_a_view_know_their_patches():
    """Six of eight columns are left beside the bars of this picture: three of each tile."""
    layout = tile_tokens(tiny.TILING, (56, 42), tiny.GRID)
    tokens, patches = layout.of_view(0)
    assert tokens.tolist() == patches.tolist() == list(range(16))
    tokens, patches = layout.of_view(3)  # the lower left
    assert patches.tolist() == [1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15]
    assert tokens[:4].tolist() == [16 + 4 * 7, 16 + 4 * 7 + 1, 16 + 4 * 7 + 2, 16 + 5 * 7]


def test_a_teacher_of_another_size_sees_the_same_views():
    views = tiny.TILING.views(picture((40, 90)))
    assert resize_views(views, tiny.SIZE) is views
    larger = resize_views(views, 56)
    assert larger.shape == (len(views), 56, 56, 3)
    assert abs(larger.mean() - views.mean()) < 1


def test_a_line_is_no_picture():
    with pytest.raises(ImageError, match="65 x 1 pixels are too long and thin"):
        REAL.num_views((1, 65))
    assert REAL.num_views((1, 64)) == 3


def test_names():
    assert get_tiling("llava-next") == REAL
    assert get_tiling("llava-next@384").pinpoints[0] == [384, 768]
    assert get_tiling(REAL.label) == REAL
    assert tiling_of_store({"tiles": tiny.TILING.describe()}) == tiny.TILING
    assert tiling_of_store({}) is None
    with pytest.raises(UnknownNameError, match=r"Unknown tiling 'qwen'. Known: llava-next"):
        get_tiling("qwen")
    with pytest.raises(ConfigError, match="expected a tiling and the side"):
        get_tiling("llava-next@big")


def test_views_have_keys_of_their_own():
    keys = {view_key(image * 64, view) for image in "ab" for view in range(5)}
    assert len(keys | {"a" * 64, "b" * 64}) == 12


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "BMP"])
def test_the_size_of_a_file_is_that_of_its_picture(tmp_path, kind):
    picture((40, 90)).save(tmp_path / "x", format=kind)
    assert image_size((tmp_path / "x").read_bytes()) == (40, 90)
    with pytest.raises(ImageError, match="no such file"):
        image_size(tmp_path / "y")
