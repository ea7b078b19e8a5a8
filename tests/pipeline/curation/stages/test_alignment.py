import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from align2llava.pipeline.curation.layout import Gate
from align2llava.pipeline.curation.run.resume import Resume
from tests.pipeline.curation.fake_clients import Calls, FakeConnector
from tests.pipeline.curation.small_world import record, run, write_world

ALL = ("selection.question=off", "selection.answer=off")


def ledger(run_dir: Path) -> dict[tuple[str, int], dict[str, Any]]:
    rows = [
        row
        for path in sorted((run_dir / "rewrites").glob("part-*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
    return {(row["original_answer"], row["turn"]): row for row in rows}


def answers(run_dir: Path) -> list[str]:
    data = json.loads((run_dir / "dataset" / "train.json").read_bytes())
    return [one["conversations"][1]["value"] for one in data]


def aligned(tmp_path: Path, *replies: str, sets: tuple[str, ...] = ()) -> Path:
    data = [record(number, answer=reply) for number, reply in enumerate(replies)]
    run(write_world(tmp_path, data), tmp_path / "run", sets=(*ALL, *sets))
    return tmp_path / "run"


def test_rewrite_that_passes_gates_and_review_replaces_the_turn(tmp_path: Path):
    run_dir = aligned(tmp_path, "It is a red thing.")
    messages = json.loads((run_dir / "dataset" / "train.json").read_bytes())[0]["conversations"]
    assert messages[0]["value"] == "<image>\nSay: What is object 0 in turn 0?"
    assert messages[1]["value"] == "So: It is a red thing."
    row = ledger(run_dir)["It is a red thing.", 0]
    assert row["status"] == "rewritten"
    assert row["original_question"] == "What is object 0 in turn 0?"
    assert row["rewrite_answer"] == "So: It is a red thing."
    assert (row["original_first"], row["rewrite_first"], row["verdict"]) == ("rewrite",) * 3
    assert all(row[gate.column] for gate in Gate)
    assert (row["identity"], row["prompt_version"], row["seed"]) == ("inner-llm-a", "1", 0)
    assert row["sampling"] == {"temperature": 0.0, "max_tokens": 0}


@pytest.mark.parametrize(
    ("reply", "status", "gate"),
    [
        ("It is red. [[reject]]", "original", None),
        ("It is red. [[unparsed]]", "gated", Gate.PARSED),
        ("It is red. [[long]]", "gated", Gate.FINISHED),
        ("It is red. [[leak]]", "gated", Gate.NO_LEAK),
        ("red", "hard_format", Gate.SOFT_FORMAT),
    ],
)
def test_otherwise_the_original_stands_and_the_ledger_says_why(
    tmp_path: Path, reply: str, status: str, gate: Gate | None
):
    run_dir = aligned(tmp_path, reply, "It is a thing.")
    assert answers(run_dir) == [reply, "So: It is a thing."]
    row = ledger(run_dir)[reply, 0]
    assert row["status"] == status
    assert [one for one in Gate if row[one.column] is False] == ([] if gate is None else [gate])
    if gate is not None:
        assert row["verdict"] is None


def test_failed_turn_goes_out_as_original_and_is_asked_again_on_resume(tmp_path: Path):
    reply = "It is red. [[item internal]]"
    run_dir = aligned(tmp_path, reply, "It is a thing.")
    assert answers(run_dir)[0] == reply
    row = ledger(run_dir)[reply, 0]
    assert (row["status"], row["error_code"]) == ("not_aligned", "internal")
    again = FakeConnector()
    sets = ALL
    run(tmp_path / "curate.yaml", run_dir, connector=again, resume=Resume.ALWAYS, sets=sets)
    assert [name.split("/")[1] for name in again.calls.asked] == ["0"]


def test_turn_that_fails_its_whole_call_costs_one_turn(tmp_path: Path):
    run_dir = aligned(tmp_path, "One is red. [[call]]", *["It is a thing."] * 5)
    assert answers(run_dir) == ["One is red. [[call]]", *["So: It is a thing."] * 5]
    assert ledger(run_dir)["One is red. [[call]]", 0]["error_code"] == "internal"


def test_review_off_takes_every_rewrite_that_passes_the_gates(tmp_path: Path):
    reply = "It is red. [[reject]]"
    run_dir = aligned(tmp_path, reply, sets=("alignment.review=off",))
    assert answers(run_dir) == [f"So: {reply}"]
    row = ledger(run_dir)[reply, 0]
    assert (row["status"], row["verdict"]) == ("rewritten", None)


def test_unreviewed_rewrite_is_reviewed_once_review_is_on(tmp_path: Path):
    reply = "It is red. [[reject]]"
    run_dir = aligned(tmp_path, reply, sets=("alignment.review=off",))
    run(tmp_path / "curate.yaml", run_dir, resume=Resume.ALWAYS, sets=ALL)
    assert answers(run_dir) == [reply]


def test_rewrite_off_leaves_the_set_untouched(tmp_path: Path):
    run_dir = aligned(tmp_path, "It is red.", sets=("alignment.rewrite=off",))
    assert (run_dir / "dataset" / "train.json").read_bytes() == (tmp_path / "raw.json").read_bytes()
    assert not (run_dir / "rewrites").exists()


def test_other_sampling_is_asked_for_anew(tmp_path: Path):
    run_dir = aligned(tmp_path, "It is red.")
    connector = FakeConnector(calls=Calls())
    sets = (*ALL, "alignment.temperature=0.5")
    run(tmp_path / "curate.yaml", run_dir, connector=connector, resume=Resume.ALWAYS, sets=sets)
    assert len(connector.calls.asked) == 2
    assert ledger(run_dir)["It is red.", 0]["sampling"]["temperature"] == 0.5
