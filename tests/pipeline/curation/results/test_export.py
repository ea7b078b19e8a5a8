import hashlib
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from align2llava.pipeline.curation.layout import SCORES, RewardStage, RunPaths
from align2llava.pipeline.curation.results.export import (
    export_baseline,
    export_dataset,
    exported_text,
)
from align2llava.pipeline.curation.selection.baselines import Baseline
from align2llava.pipeline.errors import InputError, RunError
from tests.pipeline.curation.run_fixture import RunFixture, make_run
from tests.pipeline.curation.small_world import record, records, run, write_world


def kept_records(fixture: RunFixture) -> list[dict]:
    pairs = zip(fixture.rows, fixture.records, strict=True)
    return [record for row, record in pairs if row["decision"] == "kept"]


def written(path: Path) -> list[dict]:
    return orjson.loads(path.read_bytes())


def test_without_rewrites_the_kept_records_are_the_inputs_own(own_run: RunFixture):
    exported = export_dataset(own_run.run, with_rewrites=False)
    assert exported.num_changed == 0
    assert written(exported.path) == kept_records(own_run)


def test_untouched_records_are_byte_identical(own_run: RunFixture):
    raw = own_run.raw.read_bytes()
    exported = export_dataset(own_run.run, with_rewrites=False)
    for one in written(exported.path):
        assert orjson.dumps(one) in raw
        assert orjson.dumps(one) in exported.path.read_bytes()


def test_with_rewrites_exactly_the_rewritten_turns_change(own_run: RunFixture):
    ledger = pq.read_table(RunPaths(own_run.run).rewrites).to_pylist()
    rewritten = [row for row in ledger if row["status"] == "rewritten"]
    exported = export_dataset(own_run.run, with_rewrites=True)
    pairs = list(zip(kept_records(own_run), written(exported.path), strict=True))
    changed = [
        after
        for before, new in pairs
        for old, after in zip(before["conversations"], new["conversations"], strict=True)
        if old != after
    ]
    assert len(changed) == 2 * len(rewritten) > 0
    assert exported.num_changed == sum(before != new for before, new in pairs)
    answers = {row["rewrite_answer"] for row in rewritten}
    assert {one["value"] for one in changed if one["from"] == "gpt"} == answers


def test_export_back_and_forth_ends_where_it_began(own_run: RunFixture):
    first = export_dataset(own_run.run, with_rewrites=True).path.read_bytes()
    export_dataset(own_run.run, with_rewrites=False)
    assert export_dataset(own_run.run, with_rewrites=True).path.read_bytes() == first


def test_manifest_and_card_tell_of_the_new_dataset(own_run: RunFixture):
    paths = RunPaths(own_run.run)
    before = orjson.loads(paths.manifest.read_bytes())
    exported = export_dataset(own_run.run, with_rewrites=False)
    after = orjson.loads(paths.manifest.read_bytes())
    sha256 = hashlib.sha256(exported.path.read_bytes()).hexdigest()
    assert after["files"]["dataset/train.json"] == sha256
    assert {key: after[key] for key in ("seed", "inputs", "counts")} == {
        key: before[key] for key in ("seed", "inputs", "counts")
    }
    assert "rewrite: off" in paths.card.read_text()


@pytest.mark.parametrize("name", list(Baseline))
def test_baseline_holds_original_records_of_the_selections_size(
    own_run: RunFixture, name: Baseline
):
    exported = export_baseline(own_run.run, name)
    assert exported.path == own_run.run / "baselines" / f"{name}.json"
    records = written(exported.path)
    assert len(records) == exported.figures.num_records == len(kept_records(own_run))
    positions = [own_run.records.index(record) for record in records]
    assert positions == sorted(positions)
    for kind in ("conversation", "detail", "complex_reasoning"):
        of_kept = [record for record in kept_records(own_run) if record["type"] == kind]
        assert sum(record["type"] == kind for record in records) == len(of_kept)


def test_baseline_is_the_same_twice(own_run: RunFixture):
    first = export_baseline(own_run.run, Baseline.RANDOM).path.read_bytes()
    assert export_baseline(own_run.run, Baseline.RANDOM).path.read_bytes() == first


def test_best_candidate_goes_out_and_the_original_into_a_baseline(tmp_path: Path):
    fixture = make_run(tmp_path, num_records=120, candidates=2)
    paths = RunPaths(fixture.run)
    scores = pq.read_table(paths.scores(RewardStage.ANSWER)).to_pylist()
    for row in scores:
        row["reward"] = float(row["candidate"])
    part = next(paths.scores(RewardStage.ANSWER).iterdir())
    pq.write_table(pa.Table.from_pylist(scores, schema=SCORES), part)
    answers = {
        "dataset": written(export_dataset(fixture.run, with_rewrites=False).path),
        "baseline": written(export_baseline(fixture.run, Baseline.RANDOM).path),
    }
    values = {
        name: {str(record["conversations"][1]["value"]).endswith("(second)") for record in records}
        for name, records in answers.items()
    }
    assert values == {"dataset": {True}, "baseline": {False}}


def test_unfinished_run_is_refused(own_run: RunFixture):
    RunPaths(own_run.run).manifest.unlink()
    with pytest.raises(RunError, match="not a finished run"):
        export_dataset(own_run.run, with_rewrites=True)


def test_changed_input_is_refused_and_the_run_left_as_it_is(tmp_path: Path):
    fixture = make_run(tmp_path, num_records=60)
    fixture.raw.write_bytes(fixture.raw.read_bytes() + b" ")
    manifest = RunPaths(fixture.run).manifest.read_bytes()
    with pytest.raises(InputError, match="changed since the run"):
        export_dataset(fixture.run, with_rewrites=False)
    assert RunPaths(fixture.run).manifest.read_bytes() == manifest


@pytest.mark.parametrize("dialect", ["json", "jsonl"])
def test_export_writes_what_the_driver_wrote(tmp_path: Path, dialect: str):
    """Several candidates, several turns, text-only records, rewrites: byte for byte the same."""
    data = [*records(40), *(record(number, answer=["Yes.", "It is so."]) for number in (70, 71))]
    data.append({key: value for key, value in record(80).items() if key != "image"})
    config = write_world(tmp_path, data, dialect=dialect)
    run_dir = tmp_path / "run"
    run(config, run_dir, sets=("input.text_only=keep", "selection.answer_keep=1"))
    paths = RunPaths(run_dir)
    manifest = paths.manifest.read_bytes()
    dataset = paths.train(dialect).read_bytes()
    assert export_dataset(run_dir, with_rewrites=False).path.read_bytes() != dataset
    assert export_dataset(run_dir, with_rewrites=True).path.read_bytes() == dataset
    assert paths.manifest.read_bytes() == manifest
    baseline = export_baseline(run_dir, Baseline.RANDOM).path
    assert baseline == run_dir / "baselines" / f"random.{dialect}"


def test_export_is_told_in_one_line(own_run: RunFixture):
    dataset = exported_text(export_dataset(own_run.run, with_rewrites=False))
    assert dataset.endswith("records, 0 of them differ from the input")
    baseline = exported_text(export_baseline(own_run.run, Baseline.LONGEST))
    assert "longest.json" in baseline
    assert "the most words" in baseline
