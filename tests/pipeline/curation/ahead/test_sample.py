import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align2llava.pipeline.config.schema import Config, load_config
from align2llava.pipeline.curation.ahead.sample import (
    Sample,
    Stratum,
    allocated,
    draw_sample,
    write_sample,
)
from align2llava.pipeline.errors import ConfigError, InputError
from align2llava.pipeline.process.progress import LineProgress
from tests.pipeline.curation.small_world import record, records, write_world


def drawn(config: Path | Config, size: int, *sets: str) -> Sample:
    loaded = load_config(config, sets=sets) if isinstance(config, Path) else config
    return draw_sample(loaded, size=size, progress=LineProgress())


def positions(sample: Sample) -> list[int]:
    return [one.position for one in sample.records]


@pytest.mark.parametrize("dialect", ["json", "jsonl"])
def test_sample_is_records_of_the_input_in_its_order(tmp_path: Path, dialect: str):
    data = records(50)
    sample = drawn(write_world(tmp_path, data, dialect=dialect), 12)
    assert len(sample.records) == 12
    assert positions(sample) == sorted(set(positions(sample)))
    assert [json.loads(one.raw) for one in sample.records] == [data[i] for i in positions(sample)]
    assert sample.num_input == 50


def test_same_seed_draws_the_same_and_another_seed_others(tmp_path: Path):
    config = write_world(tmp_path, records(90))
    assert positions(drawn(config, 9)) == positions(drawn(config, 9))
    assert positions(drawn(config, 9)) != positions(drawn(config, 9, "run.seed=1"))


def test_every_record_is_drawn_about_equally_often(tmp_path: Path):
    config = load_config(write_world(tmp_path, [record(number) for number in range(20)]))
    counts: Counter[int] = Counter()
    for seed in range(400):
        seeded = config.model_copy(update={"run": config.run.model_copy(update={"seed": seed})})
        counts.update(positions(drawn(seeded, 5)))
    assert sum(counts.values()) == 400 * 5
    assert all(60 < counts[position] < 140 for position in range(20))  # 100 expected, sd 8.7


def test_small_strata_occur(tmp_path: Path):
    text_only = {key: value for key, value in record(300).items() if key != "image"}
    data = [*records(300), text_only, {"id": 1}, {**record(302), "type": "rare"}]
    sample = drawn(write_world(tmp_path, data), 10)
    found = {one.stratum for one in sample.records}
    assert {"rare", "unknown"} < {one.type for one in found}
    assert Stratum(type="complex_reasoning", is_text_only=True) in found


def test_whole_input_is_the_sample_where_it_is_asked_for_more(tmp_path: Path):
    assert positions(drawn(write_world(tmp_path, records(7)), 20)) == list(range(7))


def test_limit_bounds_what_is_drawn_from(tmp_path: Path):
    sample = drawn(write_world(tmp_path, records(60)), 30, "run.limit=8")
    assert positions(sample) == list(range(8))


def test_records_of_the_whole_input_are_counted_by_image(tmp_path: Path):
    data = records(50)
    sample = drawn(write_world(tmp_path, data), 10)
    counts = Counter(one["image"] for one in data)
    assert sample.num_of_image
    assert all(counts[image] == number for image, number in sample.num_of_image.items())


def test_syntax_error_is_told_with_its_byte(tmp_path: Path):
    config = write_world(tmp_path, [])
    (tmp_path / "raw.json").write_text('[{"a": 1} 2]')
    with pytest.raises(InputError, match="byte 10"):
        drawn(config, 1)


@pytest.mark.parametrize("size", [0, 100_001])
def test_size_outside_of_its_range_is_refused(tmp_path: Path, size: int):
    with pytest.raises(ConfigError, match="between 1 and 100000"):
        drawn(write_world(tmp_path, records(3)), size)


@pytest.mark.parametrize("dialect", ["json", "jsonl"])
def test_written_sample_has_the_bytes_of_its_records_and_their_files_types(
    tmp_path: Path, dialect: str
):
    write_world(tmp_path / "b", records(20), dialect=dialect)
    config = load_config(
        write_world(tmp_path, records(20), dialect=dialect),
        sets=(f"input.path=[raw.{dialect}, {{path: b/raw.{dialect}, type: mine}}]",),
    )
    sample = drawn(config, 10)
    written = write_sample(sample, tmp_path / "out", config=config)
    files = written.input.files()
    assert [file.type for file in files] == ["auto", "mine"]
    assert written.input.images_root == config.input.images_root
    raws = [[one.raw for one in sample.records if one.file == at] for at in (0, 1)]
    for file, of_file in zip(files, raws, strict=True):
        text = file.path.read_bytes()
        assert of_file
        assert all(raw in text for raw in of_file)
        loaded = json.loads(text) if dialect == "json" else list(map(json.loads, text.splitlines()))
        assert len(loaded) == len(of_file)


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=12),
    st.integers(1, 600),
)
def test_allocation_is_exact_and_gives_every_stratum_one(sizes: list[int], size: int):
    strata = {Stratum(type=f"t{at}", is_text_only=False): n for at, n in enumerate(sizes)}
    taken = allocated(strata, size=size)
    assert sum(taken.values()) == min(size, sum(sizes))
    assert all(1 <= number <= strata[one] for one, number in taken.items())
    if size >= len(strata):
        assert set(taken) == set(strata)
