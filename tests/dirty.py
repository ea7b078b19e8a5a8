"""A small data set with every fault that a record can have, and the code each ends up with.

JSON lines, because a syntax error is one record's fault there. Large files are made, never kept.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

SIDE_PX = 32
HUGE_PX = (10_000, 5_000)  # 50 megapixels
LONG_TEXT_CHARS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DirtySet:
    """Where the set lies, and the quarantine code of every bad line by its position."""

    path: Path
    images_root: Path
    num_records: int
    codes: dict[int, str]
    faults: dict[int, str]


def write_dirty(folder: Path, *, num_good: int = 40) -> DirtySet:
    """Writes `dirty.jsonl` and `images` into `folder`, bad records spread among good ones."""
    images = folder / "images"
    images.mkdir(parents=True)
    _write_images(images)
    lines = [_line(_record("good.png", number)) for number in range(num_good)]
    bad = _bad_lines()
    stride = max(1, num_good // len(bad))
    codes: dict[int, str] = {}
    faults: dict[int, str] = {}
    for number, (fault, (code, line)) in enumerate(bad.items()):
        position = number * (stride + 1)
        lines.insert(position, line)
        codes[position], faults[position] = code, fault
    path = folder / "dirty.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return DirtySet(
        path=path, images_root=images, num_records=len(lines), codes=codes, faults=faults
    )


def _bad_lines() -> dict[str, tuple[str, bytes]]:
    """Returns fault -> (code, line)."""
    question = {"from": "human", "value": "<image>\nWhat color is the star?"}
    answer = {"from": "gpt", "value": "The star is red."}

    def turns(*conversations: object) -> bytes:
        return _line({"id": "bad", "image": "good.png", "conversations": conversations})

    long_text = "word " * (LONG_TEXT_CHARS // 5)
    two_images = {**_record("good.png", 0), "image": ["good.png", "other.jpg"]}
    return {
        "wrong roles": ("invalid_record", turns(question, {**answer, "from": "bot"})),
        "answer before question": ("invalid_record", turns(answer, question)),
        "question without answer": ("invalid_record", turns(question)),
        "zero turns": ("invalid_record", turns()),
        "empty question": ("invalid_record", turns({**question, "value": "<image>\n"}, answer)),
        "empty answer": ("invalid_record", turns(question, {**answer, "value": " \n"})),
        "number for an answer": ("invalid_record", turns(question, {**answer, "value": 7})),
        "no object": ("invalid_record", b"[1, 2, 3]"),
        "missing image": ("image_missing", _line(_record("nowhere.png", 0))),
        "image outside of the root": ("image_missing", _line(_record("../dirty.jsonl", 0))),
        "text file for an image": ("image_invalid", _line(_record("text.png", 0))),
        "empty image": ("image_invalid", _line(_record("empty.png", 0))),
        "several images": ("unsupported_multi_image", _line(two_images)),
        "50 megapixels": ("too_large", _line(_record("huge.png", 0))),
        "100k characters": ("too_large", turns(question, {**answer, "value": long_text})),
        "not UTF-8": ("invalid_json", turns(question, answer).replace(b"star", b"\xff\xfe")),
        "broken JSON": ("invalid_json", turns(question, answer)[:-20]),
    }


def truncated_images(images: Path) -> dict[str, str]:
    """Writes images whose header is right and whose pixels are cut off; returns name -> code.

    Only who decodes them finds the fault: the service.
    """
    whole = (images / "good.png").read_bytes()
    (images / "cut.png").write_bytes(whole[: len(whole) * 2 // 3])
    whole = (images / "other.jpg").read_bytes()
    (images / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    return {"cut.png": "image_invalid", "cut.jpg": "image_invalid"}


def _record(image: str, number: int) -> dict[str, object]:
    return {
        "id": f"{number:06d}",
        "image": image,
        "conversations": [
            {"from": "human", "value": f"<image>\nWhat color is star {number}?"},
            {"from": "gpt", "value": f"Star {number} is red."},
        ],
    }


def _line(record: dict[str, object]) -> bytes:
    return json.dumps(record).encode("ascii")


def _write_images(images: Path) -> None:
    picture = Image.radial_gradient("L").resize((SIDE_PX, SIDE_PX)).convert("RGB")
    picture.save(images / "good.png")
    picture.save(images / "other.jpg")
    (images / "text.png").write_text("this is no image")
    (images / "empty.png").write_bytes(b"")
    Image.new("1", HUGE_PX).save(images / "huge.png")
