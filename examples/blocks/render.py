"""Renders a scene with Pillow: 144x144 pixels, 48 per cell, no font files, no randomness."""

import io
import math
from collections.abc import Sequence
from typing import Literal

from PIL import Image, ImageDraw

from examples.blocks.scene import Block, Color, Look, Scene, Shape, Sign, Thing, Word

CELL_PX = 48
IMAGE_PX = 3 * CELL_PX
_GAP_PX = 8  # between the pictures of a contact sheet
_OVERSAMPLE = 3  # drawn larger, then averaged down: smooth edges

Point = tuple[float, float]
ImageFormat = Literal["png", "jpg"]

_FILL: dict[Color, tuple[int, int, int]] = {
    Color.RED: (214, 48, 49),
    Color.GREEN: (39, 158, 84),
    Color.BLUE: (44, 94, 214),
    Color.YELLOW: (246, 190, 22),
}
_EDGE: dict[Color, tuple[int, int, int]] = {
    Color.RED: (140, 24, 28),
    Color.GREEN: (20, 98, 50),
    Color.BLUE: (22, 50, 138),
    Color.YELLOW: (168, 120, 0),
}
_INK = (38, 40, 48)
_BOARD = (255, 255, 255)

# Letters of five columns and seven rows; each row is five bits, leftmost column first.
_LETTERS: dict[str, tuple[int, ...]] = {
    "B": (0b11110, 0b10001, 0b10001, 0b11110, 0b10001, 0b10001, 0b11110),
    "C": (0b01110, 0b10001, 0b10000, 0b10000, 0b10000, 0b10001, 0b01110),
    "E": (0b11111, 0b10000, 0b10000, 0b11110, 0b10000, 0b10000, 0b11111),
    "G": (0b01110, 0b10001, 0b10000, 0b10111, 0b10001, 0b10001, 0b01110),
    "H": (0b10001, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001),
    "I": (0b01110, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110),
    "O": (0b01110, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b01110),
    "P": (0b11110, 0b10001, 0b10001, 0b11110, 0b10000, 0b10000, 0b10000),
    "T": (0b11111, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100),
    "V": (0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b01010, 0b00100),
    "W": (0b10001, 0b10001, 0b10001, 0b10101, 0b10101, 0b11011, 0b10001),
    "Y": (0b10001, 0b10001, 0b01010, 0b00100, 0b00100, 0b00100, 0b00100),
}
_LETTER_COLUMNS, _LETTER_ROWS = 5, 7
_DOT_SHARE = 1 / 16  # side of one letter dot, as a share of the cell


def render(scene: Scene) -> Image.Image:
    """Returns the RGB picture of a scene."""
    side = IMAGE_PX * _OVERSAMPLE
    image = _background(scene, side)
    draw = ImageDraw.Draw(image)
    cell_px = CELL_PX * _OVERSAMPLE
    for index, (thing, look) in enumerate(zip(scene.things, scene.looks, strict=True)):
        if thing is not None:
            row, column = divmod(index, 3)
            corner = (column * cell_px, row * cell_px)
            _draw_thing(draw, thing, look=look, corner=corner, cell_px=cell_px)
    return image.resize((IMAGE_PX, IMAGE_PX), Image.Resampling.BOX)


def encoded(scene: Scene, image_format: ImageFormat) -> bytes:
    """Returns the picture as a PNG or JPEG file."""
    buffer = io.BytesIO()
    if image_format == "png":
        render(scene).save(buffer, "PNG", compress_level=6)
    else:
        render(scene).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def contact_sheet(scenes: Sequence[Scene], *, columns: int) -> Image.Image:
    """Returns the pictures of all scenes on one white page, row by row."""
    pitch = IMAGE_PX + _GAP_PX
    rows = math.ceil(len(scenes) / columns)
    sheet = Image.new("RGB", (columns * pitch + _GAP_PX, rows * pitch + _GAP_PX), _BOARD)
    for index, scene in enumerate(scenes):
        row, column = divmod(index, columns)
        sheet.paste(render(scene), (_GAP_PX + column * pitch, _GAP_PX + row * pitch))
    return sheet


def _background(scene: Scene, side: int) -> Image.Image:
    top, bottom = scene.tints
    column = Image.new("RGB", (1, 2))
    column.putdata([top, bottom])
    return column.resize((1, side // 8), Image.Resampling.BILINEAR).resize(
        (side, side), Image.Resampling.NEAREST
    )


def _draw_thing(
    draw: ImageDraw.ImageDraw, thing: Thing, *, look: Look, corner: Point, cell_px: int
) -> None:
    x = corner[0] + cell_px * (0.5 + look.dx)
    y = corner[1] + cell_px * (0.5 + look.dy)
    match thing:
        case Block():
            radius = cell_px * look.size / 2
            _draw_block(draw, thing, center=(x, y), radius=radius)
        case Sign():
            # A sign is wider than a block: less room to move.
            center = (corner[0] + cell_px * (0.5 + look.dx / 3), y)
            _draw_sign(draw, thing.word, center=center, dot=cell_px * _DOT_SHARE)


def _draw_block(draw: ImageDraw.ImageDraw, block: Block, *, center: Point, radius: float) -> None:
    fill, edge = _FILL[block.color], _EDGE[block.color]
    width = 1 + round(radius / 14)
    if block.shape is Shape.CIRCLE:
        x, y = center
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, fill=fill, outline=edge, width=width + 1)
        return
    points = [
        (center[0] + radius * dx, center[1] + radius * dy) for dx, dy in _OUTLINES[block.shape]
    ]
    draw.polygon(points, fill=fill)
    draw.line([*points, points[0], points[1]], fill=edge, width=width + 1, joint="curve")


def _draw_sign(draw: ImageDraw.ImageDraw, word: Word, *, center: Point, dot: float) -> None:
    columns = len(word) * (_LETTER_COLUMNS + 1) - 1
    half_width, half_height = dot * (columns + 3) / 2, dot * (_LETTER_ROWS + 3) / 2
    x, y = center
    board = (x - half_width, y - half_height, x + half_width, y + half_height)
    draw.rounded_rectangle(board, radius=dot, fill=_BOARD, outline=_INK, width=round(dot / 2))
    left, top = round(x - dot * columns / 2), round(y - dot * _LETTER_ROWS / 2)
    for place, letter in enumerate(word):
        corner = (left + place * dot * (_LETTER_COLUMNS + 1), top)
        _draw_letter(draw, letter, corner=corner, dot=dot)


def _draw_letter(draw: ImageDraw.ImageDraw, letter: str, *, corner: Point, dot: float) -> None:
    for row, bits in enumerate(_LETTERS[letter]):
        for column in range(_LETTER_COLUMNS):
            if bits >> (_LETTER_COLUMNS - 1 - column) & 1:
                x, y = corner[0] + column * dot, corner[1] + row * dot
                draw.rectangle((x, y, x + dot - 1, y + dot - 1), fill=_INK)


def _star() -> tuple[Point, ...]:
    tips = [(1.08 if index % 2 == 0 else 0.46, math.pi * index / 5) for index in range(10)]
    return tuple((reach * math.sin(turn), 0.06 - reach * math.cos(turn)) for reach, turn in tips)


_OUTLINES: dict[Shape, tuple[Point, ...]] = {
    Shape.SQUARE: ((-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)),
    Shape.TRIANGLE: ((0.0, -0.98), (1.04, 0.84), (-1.04, 0.84)),
    Shape.STAR: _star(),
    Shape.CROSS: (
        (-0.34, -1.0), (0.34, -1.0), (0.34, -0.34), (1.0, -0.34), (1.0, 0.34), (0.34, 0.34),
        (0.34, 1.0), (-0.34, 1.0), (-0.34, 0.34), (-1.0, 0.34), (-1.0, -0.34), (-0.34, -0.34),
    ),
}  # fmt: skip
