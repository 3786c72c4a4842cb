"""Scenes: the same seed gives the same picture, things lie apart and show their colour."""

import math

import numpy as np
import pytest

from viral.microworld.scenes import COLOURS, SHAPES, SIZES, draw, sample_scene, scene_rng

SCENES = [sample_scene(scene_rng(7, index)) for index in range(150)]


def test_a_scene_depends_on_its_index_alone() -> None:
    assert sample_scene(scene_rng(7, 3)) == SCENES[3]
    assert draw(SCENES[3]).tobytes() == draw(sample_scene(scene_rng(7, 3))).tobytes()
    assert len(set(SCENES)) == len(SCENES)


def test_things_neither_touch_nor_leave_the_picture() -> None:
    for scene in SCENES:
        for index, thing in enumerate(scene.things):
            assert thing.radius <= thing.x <= scene.width - thing.radius
            assert thing.radius <= thing.y <= scene.height - thing.radius
            for other in scene.things[index + 1 :]:
                assert math.dist((thing.x, thing.y), (other.x, other.y)) > thing.radius + other.radius


def test_every_variety_occurs() -> None:
    assert {(scene.width, scene.height) for scene in SCENES} == set(SIZES)
    assert {thing.shape for scene in SCENES for thing in scene.things} == set(SHAPES)
    assert {thing.colour for scene in SCENES for thing in scene.things} == set(COLOURS)
    assert {scene.count("circle") for scene in SCENES} == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_thing_is_drawn_where_it_lies_in_its_colour(shape: str) -> None:
    seen = 0
    for scene in SCENES:
        pixels = np.asarray(draw(scene)).astype(int)
        assert pixels.shape == (scene.height, scene.width, 3)
        for thing in scene.things:
            if thing.shape == shape:
                # A ring's middle is a hole; its band runs at three quarters of the radius. Markings darken a
                # shape in places, so its colour is the one that some pixel near its middle shows best.
                x = int(thing.x + (0.78 * thing.radius if shape == "ring" else 0))
                y, reach = int(thing.y), 1 if shape == "ring" else int(0.4 * thing.radius)
                near = pixels[y - reach : y + reach + 1, x - reach : x + reach + 1].reshape(-1, 3)
                nearest = min(COLOURS, key=lambda name: np.abs(near - COLOURS[name]).sum(axis=1).min())
                assert nearest == thing.colour
                seen += 1
    assert seen > 5


def test_num_shapes_and_square_are_obeyed() -> None:
    scenes = [sample_scene(scene_rng(1, index), num_shapes=3, square=True) for index in range(30)]
    assert all(len(scene.shapes) == 3 and scene.width == scene.height for scene in scenes)
