from pathlib import Path

import orjson
import pytest

from align2llava.pipeline.curation.layout import RunPaths
from align2llava.pipeline.curation.report.browsing import parts as record_parts
from align2llava.pipeline.curation.report.browsing.parts import write_record_parts
from align2llava.pipeline.curation.report.write import write_report
from align2llava.pipeline.curation.run.finished import open_run
from tests.pipeline.curation.record_pages import browsed, index_column
from tests.pipeline.curation.run_fixture import RunFixture
from tests.pipeline.curation.small_world import record, records, run, write_world


def test_every_record_is_there_with_its_decision(own_run: RunFixture):
    write_report(own_run.run)
    found = browsed(own_run.run)
    assert [one["position"] for one in found] == list(range(len(own_run.rows)))
    assert [one["uid"] for one in found] == [row["uid"] for row in own_run.rows]
    for name in ("type", "reason", "stage", "decision"):
        assert index_column(own_run.run, name) == [row[name] for row in own_run.rows]
    uids = index_column(own_run.run, "uid")
    assert uids == [str(row["uid"])[:12] for row in own_run.rows]


def test_rewards_ranks_and_distances_to_the_cut_are_the_decisions(own_run: RunFixture):
    write_report(own_run.run)
    near = index_column(own_run.run, "near")
    for row, one, away in zip(own_run.rows, browsed(own_run.run), near, strict=True):
        if row["question_rank"] is None:
            assert "question" not in one
            assert away is None
            continue
        stage = "answer" if row["answer_rank"] is not None else "question"
        rank, cut = row[f"{stage}_rank"], row[f"{stage}_cut"]
        assert one[stage][1:] == [rank, cut]
        assert away == (cut - rank if rank <= cut else rank - cut - 1)


def test_quarantined_records_say_why(own_run: RunFixture):
    write_report(own_run.run)
    of_decision = {row["position"]: row for row in own_run.rows if row["decision"] == "quarantined"}
    told = {one["position"]: one for one in browsed(own_run.run) if "message" in one}
    assert told.keys() == of_decision.keys()
    empty = next(row for row in of_decision.values() if row["reason"] == "invalid_record")
    assert "0 turns" in told[empty["position"]]["message"]
    assert '"conversations":[]' in told[empty["position"]]["raw"]


@pytest.mark.parametrize("dialect", ["json", "jsonl"])
def test_rewritten_turns_stand_beside_their_originals(tmp_path: Path, dialect: str):
    data = list(records(40))
    data[5] = record(5, answer=["Yes.", "It is so."])
    run(
        write_world(tmp_path, data, dialect=dialect),
        tmp_path / "run",
        sets=("input.text_only=keep",),
    )
    raw = RunPaths(tmp_path / "run").train(dialect).read_bytes()
    out = orjson.loads(raw) if dialect == "json" else [*map(orjson.loads, raw.splitlines())]
    kept = [
        one
        for one, decision in zip(
            browsed(tmp_path / "run"), index_column(tmp_path / "run", "decision"), strict=True
        )
        if decision == "kept"
    ]
    assert len(kept) == len(out) > 0
    for shown, written in zip(kept, out, strict=True):
        texts = [texts[0] if new is None else new for _, texts, new in shown["messages"]]
        assert texts == [message["value"] for message in written["conversations"]]


def test_parts_and_index_are_cut_alike_whatever_the_number(
    own_run: RunFixture, monkeypatch: pytest.MonkeyPatch
):
    write_report(own_run.run)
    whole = browsed(own_run.run), index_column(own_run.run, "near")
    for size in (7, 16, 240):
        monkeypatch.setattr(record_parts, "PART_RECORDS", size)
        monkeypatch.setattr(record_parts, "INDEX_RECORDS", 3 * size)
        folder = RunPaths(own_run.run).record_parts
        num_bytes = write_record_parts(open_run(own_run.run), folder)
        assert num_bytes == sum(path.stat().st_size for path in folder.iterdir())
        assert (browsed(own_run.run), index_column(own_run.run, "near")) == whole
        assert len(list(folder.glob("part-*"))) == -(-240 // size)
        assert len(list(folder.glob("index-*"))) == -(-240 // (3 * size))


def test_dataset_that_is_not_the_manifests_is_not_shown(own_run: RunFixture):
    RunPaths(own_run.run).train("json").write_bytes(b"[]")
    write_report(own_run.run)
    changed = [new for one in browsed(own_run.run) for *_, new in one.get("messages", []) if new]
    assert not changed
