import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from align2llava.pipeline.config.schema import load_config
from examples.blocks import generate
from examples.blocks.generate import NUM_PICTURES, draw_pictures
from examples.blocks.render import render

BLOCKS = Path(generate.__file__).parent
SEED = 0
MAX_COMMITTED_BYTES = 10 * 2**20


def data_files(folder: Path) -> list[Path]:
    """What the repository holds of the data: all but the preference training split."""
    patterns = (
        "raw.json",
        "truth.jsonl",
        "images/*",
        "eval/**/*",
        "preferences/*_test.*",
        "preferences/images/0000003*",
    )
    return sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file())


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in data_files(folder)
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_one_command_makes_the_committed_files_again(tmp_path: Path):
    """Texts byte for byte. Pictures by their pixels: zlib differs between machines, not content."""
    generate.generate(tmp_path, seed=SEED)
    committed, made = hashes(BLOCKS), hashes(tmp_path)
    assert set(made) == set(committed)
    different = [name for name in made if made[name] != committed[name]]
    for name in different:
        assert name.endswith((".png", ".jpg")), name
        with Image.open(tmp_path / name) as image, Image.open(BLOCKS / name) as other:
            assert ImageChops.difference(image, other).getbbox() is None, name


def test_committed_pictures_show_their_scenes():
    pictures = draw_pictures(SEED)["raw"]
    assert len(pictures) == NUM_PICTURES["raw"]
    for picture in pictures[:200:10]:
        if picture.file_name.endswith(".png"):
            with Image.open(BLOCKS / "images" / picture.file_name) as image:
                assert ImageChops.difference(image, render(picture.scene)).getbbox() is None


def test_pictures_of_one_purpose_serve_no_other():
    pictures = draw_pictures(SEED)
    things = [picture.scene.things for group in pictures.values() for picture in group]
    names = [picture.file_name for group in pictures.values() for picture in group]
    assert len(set(things)) == len(things) == len(set(names)) == sum(NUM_PICTURES.values())


def test_the_raw_set_is_large_enough_and_its_ids_repeat():
    records = json.loads((BLOCKS / "raw.json").read_text())
    truths = [json.loads(line) for line in (BLOCKS / "truth.jsonl").read_text().splitlines()]
    assert len(records) == len(truths) >= 2000
    assert [record["id"] for record in records] == [truth["id"] for truth in truths]
    assert len({(truth["id"], truth["type"]) for truth in truths}) == len(truths)
    assert max(Counter(record["id"] for record in records).values()) == 3
    assert 800 <= len({record["image"] for record in records}) <= 900
    assert sum(truth["good"] for truth in truths) <= 0.45 * len(truths)


def test_raw_images_occur_in_no_other_file():
    raw = {record["image"] for record in json.loads((BLOCKS / "raw.json").read_text())}
    others = [*BLOCKS.glob("preferences/*_test.json"), *BLOCKS.glob("eval/*.json")]
    assert len(others) == 10
    for path in others:
        entries = json.loads(path.read_text())
        assert entries
        assert not raw & {entry["image"] for entry in entries}


def test_every_named_image_exists():
    for name, images in (
        ("raw.json", "images"),
        ("preferences/answer_test.json", "preferences/images"),
        ("eval/word.json", "eval/images"),
    ):
        for entry in json.loads((BLOCKS / name).read_text()):
            assert (BLOCKS / images / entry["image"]).is_file()


def test_the_committed_data_is_small():
    assert sum(path.stat().st_size for path in data_files(BLOCKS)) <= MAX_COMMITTED_BYTES


def test_the_demo_config_is_valid_and_finds_the_raw_set():
    config = load_config(BLOCKS / "curate.yaml", environ={})
    assert [file.path for file in config.input.files()] == [BLOCKS / "raw.json"]
    assert config.input.images_root == BLOCKS / "images"
