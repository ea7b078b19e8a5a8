"""An input for the driver's benchmark: records shaped as LLaVA's 158,000 are, and their images.

About 1.3 kB a record; of 100 records 36 are conversations of four turns, 15 descriptions, 49 one
question of complex reasoning. Records of one image are neighbours. An image is a small valid JPEG with
a number and, for its size, bytes that do not compress behind it. Everything follows from the numbers.
"""

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from PIL import Image

IMAGES_A_FOLDER = 1000
_NUM_TEXTS = 4096  # of each length; the number of its record makes a text unique
_CONVERSATION, _DETAIL = 36, 15  # of 100
_TURNS = 4
_WORDS = [
    "the",
    "a",
    "of",
    "on",
    "in",
    "with",
    "two",
    "people",
    "street",
    "car",
    "left",
    "right",
    "near",
    "red",
    "blue",
    "green",
    "table",
    "dog",
    "standing",
    "sitting",
    "while",
    "holding",
    "background",
    "because",
    "suggests",
    "could",
    "might",
    "image",
    "shows",
    "person",
    "wearing",
    "large",
    "small",
    "several",
    "visible",
    "scene",
    "appears",
    "their",
    "activity",
    "possible",
    "reason",
    "atmosphere",
]
_DETAIL_QUESTION = "Can you describe the main features of this image for me?"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldSize:
    """How much is written; `image_bytes` 0 = as small as a JPEG can be."""

    num_records: int
    records_per_image: int = 2
    image_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What was written."""

    raw: Path
    images: Path
    size: WorldSize


class Texts:
    """A pool of texts of each length, JSON-safe."""

    def __init__(self, seed: int) -> None:
        random = Random(seed)
        self.short = [_text(random, num_words=9) for _ in range(_NUM_TEXTS)]
        self.medium = [_text(random, num_words=30) for _ in range(_NUM_TEXTS)]
        self.long = [_text(random, num_words=180) for _ in range(_NUM_TEXTS)]


def _text(random: Random, *, num_words: int) -> str:
    return " ".join(random.choices(_WORDS, k=num_words))


def write_world(
    folder: Path, size: WorldSize, *, dialect: Literal["json", "jsonl"] = "json"
) -> World:
    """Writes raw.json (or raw.jsonl) and images/ into `folder`."""
    images = folder / "images"
    _write_images(images, size)
    raw = folder / f"raw.{dialect}"
    opening, between, closing = ("[\n", ",\n", "\n]\n") if dialect == "json" else ("", "\n", "\n")
    with raw.open("w", encoding="ascii") as file:
        file.write(opening)
        for number, record in enumerate(records(size)):
            file.write(between if number else "")
            file.write(record)
        file.write(closing)
    return World(raw=raw, images=images, size=size)


def remove_world(world: World) -> None:
    """Removes what was written."""
    world.raw.unlink()
    shutil.rmtree(world.images)


def records(size: WorldSize) -> Iterator[str]:
    """Yields each record as its JSON text."""
    texts = Texts(0)
    for number in range(size.num_records):
        image = image_name(number // size.records_per_image)
        turns = ", ".join(_messages(number, texts))
        yield f'{{"id": "{number:012d}", "image": "{image}", "conversations": [{turns}]}}'


def image_name(number: int) -> str:
    """Returns the path of an image under the root."""
    return f"{number // IMAGES_A_FOLDER:04d}/{number:08d}.jpg"


def _messages(number: int, texts: Texts) -> Iterator[str]:
    at = number * 7 % _NUM_TEXTS
    kind = number * 37 % 100
    if kind < _CONVERSATION:
        for turn in range(_TURNS):
            asked, told = texts.short[(at + turn) % _NUM_TEXTS], texts.medium[at - turn]
            yield _turn(f"What is {asked} of number {number}?", told, is_first=not turn)
    elif kind < _CONVERSATION + _DETAIL:
        yield _turn(_DETAIL_QUESTION, f"{texts.long[at]} number {number}.", is_first=True)
    else:
        asked = f"Why {texts.short[at]} of number {number}?"
        yield _turn(asked, f"{texts.long[at]} {texts.short[at]}.", is_first=True)


def _turn(question: str, answer: str, *, is_first: bool) -> str:
    token = "<image>\\n" if is_first else ""
    return (
        f'{{"from": "human", "value": "{token}{question}"}}, {{"from": "gpt", "value": "{answer}"}}'
    )


def _write_images(folder: Path, size: WorldSize) -> None:
    head = _jpeg()
    tail = Random(0).randbytes(max(0, size.image_bytes - len(head) - 8))
    num_images = -(-size.num_records // size.records_per_image)
    for number in range(num_images):
        if not number % IMAGES_A_FOLDER:
            (folder / image_name(number)).parent.mkdir(parents=True)
        with open(f"{folder}/{image_name(number)}", "wb") as file:  # noqa: PTH123  (4 times as fast)
            file.write(head + number.to_bytes(8, "little") + tail)


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (90, 120, 60)).save(buffer, "JPEG")
    return buffer.getvalue()


def config_text(
    world: World, *, question_url: str, answer_url: str, answer: bool, keep: str = "0.3"
) -> str:
    """Returns the config of a curation of the world, alignment off; every other key its default."""
    config = {
        "input": {"path": str(world.raw), "images_root": str(world.images)},
        "endpoints": {
            "question_reward": {"url": question_url},
            "answer_reward": {"url": answer_url},
        },
        "selection": {"answer": answer, "question_keep": float(keep), "answer_keep": float(keep)},
        "alignment": {"rewrite": False, "review": False},
    }
    return json.dumps(config, indent=1)  # JSON is YAML
