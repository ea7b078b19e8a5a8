"""Faults of records, items, calls and services: what each costs."""

import base64
import hashlib
import json
from collections import Counter
from pathlib import Path

import orjson
import pytest

from align2llava.clients.errors import (
    BadAnswerError,
    DeadlineError,
)
from align2llava.pipeline.config.schema import EndpointConfig, RunConfig
from align2llava.pipeline.curation.endpoints.opening import RewardService
from align2llava.pipeline.curation.input.records import Record, outcome_of
from align2llava.pipeline.curation.input.rows import ImageRef, LoadedRecord, Row, Span
from align2llava.pipeline.curation.layout import RewardStage
from align2llava.pipeline.curation.stages.batches import answer_slots
from align2llava.pipeline.curation.stages.rewarding import RewardStageRunner
from align2llava.pipeline.curation.store.quarantine import QuarantineStore
from align2llava.pipeline.curation.store.rewards import RewardStore
from align2llava.pipeline.errors import EndpointError
from align2llava.pipeline.process.progress import LineProgress
from tests.dirty import write_dirty
from tests.pipeline.curation.fake_clients import Calls, FakeConnector, FakeReward, identity
from tests.pipeline.curation.run_files import decisions, quarantine, stored_keys
from tests.pipeline.curation.small_world import record, records, run, write_images, write_world

ALL = ("selection.question_keep=1", "selection.answer_keep=1")


def test_equal_records_are_asked_for_once_and_share_their_reward(tmp_path: Path):
    data = [record(1), record(2), record(1)]
    connector = FakeConnector()
    run(write_world(tmp_path, data), tmp_path / "run", connector=connector, sets=ALL)
    assert max(Counter(connector.calls.asked).values()) == 1
    rows = decisions(tmp_path / "run")
    assert rows[0]["uid"] == rows[2]["uid"]
    assert rows[0]["question_reward"] == rows[2]["question_reward"] is not None
    assert len(json.loads((tmp_path / "run" / "dataset" / "train.json").read_bytes())) == 3


def test_every_fault_of_a_record_is_quarantined_with_its_code(tmp_path: Path):
    dirty = write_dirty(tmp_path / "dirty")
    config = write_world(tmp_path, [])
    run_dir = tmp_path / "run"
    sets = (f"input.path={dirty.path}", f"input.images_root={dirty.images_root}")
    summary = run(config, run_dir, sets=sets)
    lines = quarantine(run_dir)
    assert {position: line["code"] for position, line in lines.items()} == dirty.codes
    assert summary.num_quarantined == len(dirty.codes)
    rows = decisions(run_dir)
    assert len(rows) == dirty.num_records
    for position, code in dirty.codes.items():
        assert rows[position]["stage"] == "input"
        assert rows[position]["decision"] == "quarantined"
        assert rows[position]["reason"] == code
        assert lines[position]["message"]
    raw = dirty.path.read_bytes().splitlines()
    for position, line in lines.items():
        if line["code"] == "invalid_json":
            assert base64.b64decode(line["raw_base64"]) == raw[position]
            assert (line["uid"], rows[position]["type"]) == (None, "unknown")
        else:
            assert line["record"] == orjson.loads(raw[position])


def test_one_bad_item_costs_one_record(tmp_path: Path):
    data = [record(n, question="[[item internal]]" if n == 5 else "What is") for n in range(12)]
    run(write_world(tmp_path, data), tmp_path / "run", sets=ALL)
    rows = decisions(tmp_path / "run")
    assert [row["position"] for row in rows if row["decision"] != "kept"] == [5]
    assert (rows[5]["stage"], rows[5]["reason"]) == ("question", "internal")
    assert quarantine(tmp_path / "run")[5]["attempts"] == 1


@pytest.mark.parametrize("error", [BadAnswerError, DeadlineError])
def test_one_record_that_fails_its_whole_call_costs_one_record(tmp_path: Path, error: type):
    data = [record(n, question="[[call]]" if n == 5 else "What is") for n in range(12)]
    connector = FakeConnector(calls=Calls(error=lambda: error("as asked")))
    run(write_world(tmp_path, data), tmp_path / "run", connector=connector, sets=ALL)
    rows = decisions(tmp_path / "run")
    assert [row["position"] for row in rows if row["decision"] != "kept"] == [5]
    assert rows[5]["reason"] == error.code


def test_what_a_failed_call_was_answered_is_stored_and_not_asked_again(tmp_path: Path):
    data = [record(n, turns=2) for n in range(12)]
    data[5]["conversations"][3]["value"] = "It is [[rest]]."
    connector = FakeConnector()
    run(write_world(tmp_path, data), tmp_path / "run", connector=connector, sets=ALL)
    rows = decisions(tmp_path / "run")
    assert [row["position"] for row in rows if row["decision"] != "kept"] == [5]
    assert (rows[5]["stage"], rows[5]["reason"]) == ("answer", "internal")
    assert {name: n for name, n in Counter(connector.calls.asked).items() if n > 1} == {}
    assert len(stored_keys(tmp_path / "run", "answer")) == 12 * 2 - 1


def test_turn_without_a_reward_quarantines_its_record(tmp_path: Path):
    data = [record(0), record(1, turns=2)]
    data[1]["conversations"][3]["value"] = ["Well.", "[[item too_large]]"]
    run(write_world(tmp_path, data), tmp_path / "run", sets=ALL)
    row = decisions(tmp_path / "run")[1]
    assert (row["stage"], row["decision"]) == ("answer", "quarantined")
    assert row["reason"] == "too_large"
    assert row["question_rank"] == 1
    assert row["answer_reward"] is None


def test_quarantined_records_do_not_count_for_the_quota(tmp_path: Path):
    data = [record(n, question="[[item internal]]" if n < 4 else "What is") for n in range(14)]
    run(write_world(tmp_path, data), tmp_path / "run")
    assert {row["question_cut"] for row in decisions(tmp_path / "run")[4:]} == {3}


def test_sick_service_does_not_quarantine_everything(tmp_path: Path):
    config = write_world(tmp_path, records(60))
    connector = FakeConnector(calls=Calls(fail_after=0))
    sets = ("endpoints.question_reward.timeout_s=0.3",)
    with pytest.raises(EndpointError, match=r"nothing was answered for 0\.3 s; .*internal: down"):
        run(config, tmp_path / "run", connector=connector, sets=sets)


def test_records_of_one_image_are_asked_for_together_and_the_window_changes_no_byte(
    tmp_path: Path,
):
    config = write_world(tmp_path, records(60))
    near, far = (
        run(config, tmp_path / name, sets=(f"run.window_records={size}",))
        for name, size in (("near", 1), ("far", 60))
    )
    asked = {name: one.asked["question"] for name, one in (("near", near), ("far", far))}
    assert (asked["far"].num_asked, asked["far"].num_images) == (60, 7)
    assert asked["far"].num_image_groups == 7
    assert asked["near"].num_image_groups == 60
    for name in ("dataset/train.json", "decisions.parquet"):
        assert (tmp_path / "near" / name).read_bytes() == (tmp_path / "far" / name).read_bytes()


def loaded(number: int, images: Path) -> LoadedRecord:
    raw = json.dumps(record(number, turns=2)).encode()
    found = outcome_of(raw, max_text_chars=1000)
    assert isinstance(found, Record)
    image = images / f"{number}.png"
    data = image.read_bytes()
    uid = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    row = Row(
        position=number,
        uid=uid,
        id_json=str(number),
        type="detail",
        image=ImageRef(path=image, sha256=hashlib.sha256(data).hexdigest(), num_bytes=len(data)),
        fault=None,
        place=Span(file=0, offset=0, num_bytes=len(raw)),
    )
    return LoadedRecord(row=row, uid=uid, record=found, raw=raw)


async def test_three_records_are_scored_without_an_input(tmp_path: Path):
    write_images(tmp_path / "images")
    calls = Calls()
    model = identity("answer-reward")
    store = RewardStore(tmp_path / "scores", scratch=tmp_path)
    runner = RewardStageRunner(
        RewardStage.ANSWER,
        service=RewardService(
            name="answer_reward",
            client=FakeReward(model, calls),
            model=model,
            config=EndpointConfig(url="grpc://nowhere:1"),
            max_calls=2,
        ),
        store=store,
        quarantine=QuarantineStore(tmp_path / "quarantine"),
        slots=answer_slots,
        config=RunConfig(),
        progress=LineProgress(),
    )
    await runner.run(loaded(number, tmp_path / "images") for number in range(3))
    assert store.rewards().height == 6
    assert len(calls.asked) == 6
    store.close()
