"""Maps: one word per patch, in reading order, true of the scene."""

import re

from viral.microworld.cells import BLANK, CELL_WORDS, place_of, text_map
from viral.microworld.scenes import Scene, sample_scene, scene_rng

SCENES = [sample_scene(scene_rng(7, index)) for index in range(60)]


def _rows(scene: Scene) -> list[list[str]]:
    words = re.findall(r"\[[^\]]+\]", text_map(scene))
    assert len(words) == 64
    return [words[row * 8 : row * 8 + 8] for row in range(8)]


def test_a_map_is_made_of_known_words_only() -> None:
    assert all(set(row) <= set(CELL_WORDS) for scene in SCENES for row in _rows(scene))


def test_only_padding_is_blank() -> None:
    for scene in SCENES:
        rows = _rows(scene)
        columns = [list(column) for column in zip(*rows, strict=True)]
        wide, high = scene.width > scene.height, scene.height > scene.width
        for padded, lines in ((wide, rows), (high, columns)):
            assert [set(line) == {BLANK} for line in lines] == [padded] + [False] * 6 + [padded]
        assert sum(row.count(BLANK) for row in rows) == 16 * (wide or high)


def test_a_thing_stands_where_its_middle_is() -> None:
    for scene in SCENES:
        rows, side = _rows(scene), max(scene.width, scene.height)
        left, top = (side - scene.width) / 2, (side - scene.height) / 2
        named = {word for row in rows for word in row if " " in word}
        assert named == {f"[{thing.colour} {thing.shape}]" for thing in scene.things}
        for thing in scene.things:
            column, row = int((thing.x + left) / side * 8), int((thing.y + top) / side * 8)
            assert place_of(thing, scene) == f"column {column + 1} row {row + 1}"
            word = rows[row][column]
            open_middle = {f"[{scene.ground}]"} if thing.shape == "ring" else set()
            assert word in {f"[{thing.colour} {thing.shape}]", *open_middle}
