"""Writes all data of blocks world: `python -m examples.blocks.generate [--out DIR] [--seed N]`.

The same seed gives the same bytes with the same Pillow version. What the repository does not hold
(pictures and files of the preference training split) is made by the same command.
"""

import argparse
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

from examples.blocks.preferences import PreferenceFile, answer_preferences, question_preferences
from examples.blocks.records import Picture, RecordType, draw_records, llava_record, truth_line
from examples.blocks.render import ImageFormat, contact_sheet, encoded
from examples.blocks.scene import draw_scenes
from examples.blocks.skills import Skill, skill_items

RECORD_COUNTS: dict[RecordType, int] = {
    RecordType.CONVERSATION: 820,
    RecordType.DETAIL: 560,
    RecordType.COMPLEX_REASONING: 740,
}
FIRST_IDS = {"raw": 100001, "train": 200001, "test": 300001, "eval": 400001}
NUM_PICTURES = {"raw": 900, "train": 3000, "test": 300, "eval": 160}
_JPEG_EVERY = 8  # real data holds both formats


def main() -> None:
    """Reads the command line and writes everything."""
    parser = argparse.ArgumentParser(description="Writes all data of blocks world.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    out: Path = arguments.out
    generate(out, seed=arguments.seed)
    print(f"wrote blocks world, seed {arguments.seed}, to {out}")


def generate(out: Path, *, seed: int) -> None:
    """Writes raw data, preferences and evaluation items under `out`, over what is there."""
    groups = draw_pictures(seed)
    write_raw(out, groups["raw"], rng=Random(f"{seed}/records"))
    for split in ("train", "test"):
        write_preferences(
            out / "preferences", split, groups[split], rng=Random(f"{seed}/preferences/{split}")
        )
    write_skills(out / "eval", groups["eval"], rng=Random(f"{seed}/skills"))


def write_raw(out: Path, pictures: Sequence[Picture], *, rng: Random) -> None:
    """Writes `raw.json`, `truth.jsonl`, `images` and a contact sheet of some."""
    _write_images(out / "images", pictures)
    scenes = [picture.scene for picture in pictures[:10]]
    contact_sheet(scenes, columns=5).save(out / "contact_sheet.png")
    records = draw_records(pictures, RECORD_COUNTS, rng=rng)
    _write_array(out / "raw.json", [llava_record(record, rng) for record in records])
    _write_lines(out / "truth.jsonl", [truth_line(record) for record in records])


def write_preferences(out: Path, split: str, pictures: Sequence[Picture], *, rng: Random) -> None:
    """Writes one split's two preference files, their truths and `images`."""
    _write_images(out / "images", pictures)
    _write_preference_file(out, f"question_{split}", question_preferences(pictures, rng=rng))
    _write_preference_file(out, f"answer_{split}", answer_preferences(pictures, rng=rng))


def write_skills(out: Path, pictures: Sequence[Picture], *, rng: Random) -> None:
    """Writes one file of items per skill, and `images`."""
    _write_images(out / "images", pictures)
    for skill in Skill:
        _write_array(out / f"{skill}.json", skill_items(skill, pictures, rng=rng))


def draw_pictures(seed: int) -> dict[str, list[Picture]]:
    """Returns the pictures of every purpose; no contents occur twice."""
    scenes = draw_scenes(seed, "pictures")
    return {
        purpose: [
            Picture(file_name=f"{first_id + index:012d}.{_image_format(index)}", scene=scene)
            for index, scene in enumerate(itertools.islice(scenes, NUM_PICTURES[purpose]))
        ]
        for purpose, first_id in FIRST_IDS.items()
    }


def _image_format(index: int) -> ImageFormat:
    return "jpg" if index % _JPEG_EVERY == _JPEG_EVERY - 1 else "png"


def _write_images(folder: Path, pictures: Iterable[Picture]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        image_format: ImageFormat = "jpg" if picture.file_name.endswith("jpg") else "png"
        (folder / picture.file_name).write_bytes(encoded(picture.scene, image_format))


def _write_preference_file(out: Path, name: str, file: PreferenceFile) -> None:
    _write_array(out / f"{name}.json", file.entries)
    _write_lines(out / f"{name}.truth.jsonl", file.truths)


def _write_array(path: Path, rows: Iterable[dict[str, object]]) -> None:
    """Writes a JSON array with one row a line."""
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")


def _write_lines(path: Path, rows: Iterable[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
