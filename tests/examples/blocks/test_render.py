import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageChops

from examples.blocks.render import CELL_PX, IMAGE_PX, contact_sheet, encoded, render
from examples.blocks.scene import (
    CELLS,
    COLORS,
    SHAPES,
    WORDS,
    Block,
    Look,
    Scene,
    Sign,
    Thing,
    draw_scenes,
)

THINGS: list[Thing] = [
    *itertools.starmap(Block, itertools.product(COLORS, SHAPES)),
    *map(Sign, WORDS),
]
MIDDLE = Look(dx=0.0, dy=0.0, size=0.68)
MODEL_PX = 24  # what a model sees of one cell


def alone(thing: Thing | None, *, look: Look = MIDDLE, cell: int = 4) -> Scene:
    things = tuple(thing if index == cell else None for index in range(len(CELLS)))
    return Scene(things=things, looks=(look,) * 9, tints=((240, 240, 240), (235, 235, 235)))


def seen_cell(scene: Scene) -> np.ndarray:
    small = render(scene).resize((3 * MODEL_PX, 3 * MODEL_PX), Image.Resampling.BICUBIC)
    middle = small.crop((MODEL_PX, MODEL_PX, 2 * MODEL_PX, 2 * MODEL_PX))
    return np.asarray(middle, dtype=np.float32)


def test_pictures_have_their_size_and_mode():
    image = render(next(draw_scenes(0, "render")))
    assert (image.size, image.mode) == ((IMAGE_PX, IMAGE_PX), "RGB")


def test_equal_scenes_give_equal_files():
    scene = next(draw_scenes(0, "render"))
    assert encoded(scene, "png") == encoded(scene, "png")
    assert encoded(scene, "jpg") == encoded(scene, "jpg")


def test_files_are_of_the_asked_format():
    scene = next(draw_scenes(0, "render"))
    assert Image.open(io.BytesIO(encoded(scene, "png"))).format == "PNG"
    assert Image.open(io.BytesIO(encoded(scene, "jpg"))).format == "JPEG"


@pytest.mark.parametrize("dx", [-0.08, 0.08])
@pytest.mark.parametrize("thing", [*THINGS[:5], THINGS[-1]], ids=lambda thing: thing.name)
def test_things_stay_inside_their_cell(thing: Thing, dx: float):
    look = Look(dx=dx, dy=dx, size=0.74)
    changed = ImageChops.difference(render(alone(thing, look=look)), render(alone(None))).getbbox()
    assert changed is not None
    assert min(changed) >= CELL_PX
    assert max(changed) <= 2 * CELL_PX


def test_every_thing_is_told_apart_at_the_size_a_model_sees():
    """The most similar of the 26 things, each in nine places, is the right one in between."""
    places = [
        Look(dx=dx, dy=dy, size=0.68)
        for dx, dy in itertools.product((-0.06, 0, 0.06), (-0.06, 0, 0.06))
    ]
    known = [(thing, seen_cell(alone(thing, look=look))) for thing in THINGS for look in places]
    wrong: list[str] = []
    for thing, (dx, dy) in itertools.product(THINGS, ((0.03, -0.02), (-0.04, 0.03))):
        seen = seen_cell(alone(thing, look=Look(dx=dx, dy=dy, size=0.7)))
        nearest, _ = min(known, key=lambda pair: float(np.abs(pair[1] - seen).mean()))
        if nearest != thing:
            wrong.append(f"{thing.name} as {nearest.name}")
    assert not wrong


def test_the_background_is_light_and_varies():
    scenes = list(itertools.islice(draw_scenes(0, "render"), 5))
    empty = [render(replace(scene, things=(None,) * 9)) for scene in scenes]
    assert len({image.tobytes() for image in empty}) == len(empty)
    assert all(min(image.tobytes()) > 200 for image in empty)


def test_a_contact_sheet_shows_every_picture():
    scenes = list(itertools.islice(draw_scenes(0, "render"), 3))
    sheet = contact_sheet(scenes, columns=2)
    gap = (sheet.width - 2 * IMAGE_PX) // 3
    assert sheet.height == sheet.width
    last = sheet.crop((gap, 2 * gap + IMAGE_PX, gap + IMAGE_PX, 2 * gap + 2 * IMAGE_PX))
    assert last.tobytes() == render(scenes[2]).tobytes()
