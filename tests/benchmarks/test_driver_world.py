from collections import Counter
from pathlib import Path

from align2llava.pipeline.config.schema import load_config
from align2llava.pipeline.curation.input.files import read_elements
from align2llava.pipeline.curation.input.images import ImageLimits, look_at
from align2llava.pipeline.curation.input.records import Record, read_record
from benchmarks.driver_world import (
    WorldSize,
    config_text,
    image_name,
    records,
    remove_world,
    write_world,
)

LIMITS = ImageLimits(max_bytes=200_000, max_pixels=10_000)


def test_records_are_valid_different_and_of_llavas_types():
    size = WorldSize(num_records=1000)
    raws = [record.encode() for record in records(size)]
    readings = [read_record(raw, configured_type="auto", max_text_chars=65_536) for raw in raws]
    assert all(isinstance(reading.outcome, Record) for reading in readings)
    assert len({reading.canonical for reading in readings}) == 1000
    kinds = Counter(reading.type for reading in readings)
    assert kinds == {"conversation": 360, "detail": 150, "complex_reasoning": 490}
    assert 1_200 < sum(map(len, raws)) / 1000 < 1_500


def test_images_are_distinct_valid_and_as_large_as_asked(tmp_path: Path):
    size = WorldSize(num_records=6, records_per_image=2, image_bytes=100_000)
    world = write_world(tmp_path, size)
    paths = sorted(world.images.rglob("*.jpg"))
    assert paths == [world.images / image_name(number) for number in range(3)]
    assert {path.stat().st_size for path in paths} == {100_000}
    looks = [look_at(path, limits=LIMITS) for path in paths]
    assert [fault for _, fault in looks] == [None] * 3
    assert len({sha256 for sha256, _ in looks}) == 3


def test_both_dialects_hold_the_same_records(tmp_path: Path):
    size = WorldSize(num_records=5)
    found = {
        dialect: [
            one.raw
            for one in read_elements(
                write_world(tmp_path / dialect, size, dialect=dialect).raw, dialect
            )
        ]
        for dialect in ("json", "jsonl")
    }
    assert found["json"] == found["jsonl"] == [text.encode() for text in records(size)]


def test_config_is_the_drivers_and_turns_alignment_off(tmp_path: Path):
    world = write_world(tmp_path, WorldSize(num_records=2))
    text = config_text(world, question_url="grpc://a:1", answer_url="grpc://b:1", answer=True)
    path = tmp_path / "curate.yaml"
    path.write_text(text)
    config = load_config(path, environ={})
    assert config.input.files()[0].path == world.raw
    assert config.selection.answer
    assert not config.alignment.rewrite


def test_removed_world_leaves_nothing(tmp_path: Path):
    remove_world(write_world(tmp_path, WorldSize(num_records=3)))
    assert list(tmp_path.iterdir()) == []
