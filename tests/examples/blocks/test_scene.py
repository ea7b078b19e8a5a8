import itertools

import pytest

from examples.blocks.scene import (
    COLORS,
    SHAPES,
    Block,
    Cell,
    Color,
    Scene,
    Shape,
    Sign,
    Word,
    column_of,
    draw_scenes,
    is_plausible,
    row_of,
)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(itertools.islice(draw_scenes(7, "test"), 600))


def test_equal_seed_and_purpose_draw_equal_scenes(scenes: list[Scene]):
    assert list(itertools.islice(draw_scenes(7, "test"), 20)) == scenes[:20]
    assert list(itertools.islice(draw_scenes(8, "test"), 20)) != scenes[:20]
    assert list(itertools.islice(draw_scenes(7, "other"), 20)) != scenes[:20]


def test_every_scene_is_plausible(scenes: list[Scene]):
    assert all(is_plausible([thing for _, thing in scene.contents]) for scene in scenes)


def test_no_contents_come_twice(scenes: list[Scene]):
    assert len({scene.things for scene in scenes}) == len(scenes)


def test_every_scene_lacks_a_shape_and_holds_another_once_often(scenes: list[Scene]):
    lacking = [s for s in scenes if any(not s.colors_of(shape) for shape in SHAPES)]
    single = [s for s in scenes if any(len(s.colors_of(shape)) == 1 for shape in SHAPES)]
    assert len(lacking) == len(scenes)
    assert len(single) > 0.9 * len(scenes)


def test_colors_and_cells_are_uniform(scenes: list[Scene]):
    colors = [block.color for scene in scenes for block in scene.blocks]
    cells = [cell for scene in scenes for cell, _ in scene.contents]
    assert all(abs(colors.count(color) / len(colors) - 1 / 4) < 0.03 for color in COLORS)
    assert all(abs(cells.count(cell) / len(cells) - 1 / 9) < 0.03 for cell in Cell)


def test_cells_have_rows_and_columns():
    assert (row_of(Cell.TOP_RIGHT), column_of(Cell.TOP_RIGHT)) == (0, 2)
    assert (row_of(Cell.BOTTOM), column_of(Cell.BOTTOM)) == (2, 1)


def test_a_scene_finds_its_things(scenes: list[Scene]):
    scene = scenes[0]
    for cell, thing in scene.contents:
        assert cell in scene.cells_of(thing)
    absent = next(
        block
        for block in itertools.starmap(Block, itertools.product(COLORS, SHAPES))
        if block not in scene.blocks
    )
    assert scene.cells_of(absent) == ()


@pytest.mark.parametrize(
    "things",
    [
        pytest.param([Block(Color.RED, Shape.STAR)] * 3, id="one shape only"),
        pytest.param([Block(Color.RED, shape) for shape in SHAPES], id="all shapes"),
        pytest.param(
            [*(Block(Color.RED, shape) for shape in SHAPES[:3]), *[Sign(Word.GO)] * 2],
            id="one word twice",
        ),
    ],
)
def test_what_cannot_be_a_scene_is_not_plausible(things: list[Block | Sign]):
    assert not is_plausible(things)
