"""The whole driver over clients without a network: what it writes, and what it does when things fail."""

import base64
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from clients.errors import (
    BadAnswerError,
    DeadlineError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
)
from pipeline.curation.layout import DECISIONS, REWRITES, SCORES, RunPaths
from pipeline.curation.manifest import read_manifest
from pipeline.curation.readers import sha256_of
from pipeline.curation.runs import Resume
from pipeline.errors import ConfigError, EndpointError, InputError, RunError
from tests.dirty import write_dirty
from tests.pipeline.curation.fake_clients import Calls, FakeConnector
from tests.pipeline.curation.small_world import record, records, run, write_world

ROOT = Path(__file__).resolve().parents[3]
ALL = ("selection.question_keep=1", "selection.answer_keep=1")
NO_REWRITE = (*ALL, "alignment.rewrite=off")


def decisions(run_dir: Path) -> list[dict[str, object]]:
    return pq.read_table(run_dir / "decisions.parquet").to_pylist()


def quarantine(run_dir: Path) -> dict[int, dict[str, object]]:
    lines = [
        orjson.loads(line)
        for path in sorted((run_dir / "quarantine").glob("part-*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]
    by_position = {line["position"]: line for line in lines}
    assert len(by_position) == len(lines)
    return by_position


def test_a_run_adds_up(tmp_path: Path):
    run_dir = tmp_path / "run"
    summary = run(write_world(tmp_path, records(60)), run_dir)
    rows = decisions(run_dir)
    assert [row["position"] for row in rows] == list(range(60))
    counts = read_manifest(RunPaths(run_dir))["counts"]
    for name, of_type in counts.items():
        assert of_type["input"] == of_type["kept"] + of_type["dropped"] + of_type["quarantined"]
        kept = [row for row in rows if row["type"] == name and row["decision"] == "kept"]
        assert len(kept) == of_type["kept"]
    assert summary.num_kept == sum(row["decision"] == "kept" for row in rows) > 0
    assert len(json.loads((run_dir / "dataset" / "train.json").read_bytes())) == summary.num_kept
    assert summary.num_quarantined == 0
    assert set(summary.gaps) == {"question", "answer"}


def test_files_have_their_schemas_and_the_manifest_their_hashes(tmp_path: Path):
    run_dir = tmp_path / "run"
    run(write_world(tmp_path, records(30)), run_dir)
    assert pq.read_schema(run_dir / "decisions.parquet").equals(DECISIONS)
    for stage in ("question", "answer"):
        assert pq.read_schema(run_dir / "scores" / stage / "part-000001.parquet").equals(SCORES)
    assert pq.read_schema(run_dir / "rewrites" / "part-000001.parquet").equals(REWRITES)
    files = read_manifest(RunPaths(run_dir))["files"]
    assert {name: sha256_of(run_dir / name) for name in files} == files
    on_disk = {
        str(path.relative_to(run_dir))
        for path in run_dir.rglob("*")
        if path.is_file() and path.name not in (".lease", "events.jsonl", "manifest.json")
    }
    assert set(files) == {name for name in on_disk if not name.startswith("report/")}


def test_ranks_and_cuts_tell_who_passed(tmp_path: Path):
    run_dir = tmp_path / "run"
    run(write_world(tmp_path, records(60)), run_dir)
    for row in decisions(run_dir):
        assert row["stage"] in ("question", "answer", "done")
        passed_question = row["question_rank"] <= row["question_cut"]
        assert passed_question is (row["stage"] != "question")
        assert (row["answer_rank"] is not None) is passed_question
        if passed_question:
            kept = row["answer_rank"] <= row["answer_cut"]
            assert row["decision"] == ("kept" if kept else "dropped")
            assert row["reason"] == ("kept" if kept else "below_answer_cut")
        else:
            assert row["reason"] == "below_question_cut"


@pytest.mark.parametrize("dialect", ["json", "jsonl"])
def test_untouched_set_comes_out_byte_for_byte(tmp_path: Path, dialect: str):
    config = write_world(tmp_path, records(9), dialect=dialect)
    run(config, tmp_path / "run", sets=NO_REWRITE)
    written = (tmp_path / "run" / "dataset" / f"train.{dialect}").read_bytes()
    assert written == (tmp_path / f"raw.{dialect}").read_bytes()


def test_untouched_record_keeps_spelling_key_order_and_numbers(tmp_path: Path):
    config = write_world(tmp_path, [])
    text = (
        '{"conversations":[{"value" : "<image>\\nWhy\\u003f \\u00e9","from":"human"},'
        '{"from":"gpt","value":"caf\u00e9 is good."}], "id" :9007199254740993123,'
        '"image": "1.png", "x": [1.0, 1e2, -0.0]}'
    )
    (tmp_path / "raw.json").write_text(f"[ {text} ]", encoding="utf-8")
    run(config, tmp_path / "run", sets=NO_REWRITE)
    assert text.encode() in (tmp_path / "run" / "dataset" / "train.json").read_bytes()


def test_output_is_in_input_order_and_repeated_ids_are_normal(tmp_path: Path):
    data = [{**one, "id": "same"} for one in records(30)]
    run(write_world(tmp_path, data), tmp_path / "run", sets=("alignment.rewrite=off",))
    written = json.loads((tmp_path / "run" / "dataset" / "train.json").read_bytes())
    places = [data.index(one) for one in written]
    assert places == sorted(places)
    assert 0 < len(places) < 30


def test_equal_records_are_asked_for_once_and_share_their_reward(tmp_path: Path):
    data = [record(1), record(2), record(1)]
    connector = FakeConnector()
    run(write_world(tmp_path, data), tmp_path / "run", connector=connector, sets=ALL)
    assert max(Counter(connector.calls.asked).values()) == 1
    rows = decisions(tmp_path / "run")
    assert rows[0]["uid"] == rows[2]["uid"]
    assert rows[0]["question_reward"] == rows[2]["question_reward"] is not None
    assert len(json.loads((tmp_path / "run" / "dataset" / "train.json").read_bytes())) == 3


def test_best_candidate_becomes_the_answer_and_the_others_keep_their_rows(tmp_path: Path):
    data = [record(1, answer=["It is red.", "It is blue.", "It is green."]), record(2)]
    run(write_world(tmp_path, data), tmp_path / "run", sets=NO_REWRITE)
    rows = pq.read_table(tmp_path / "run" / "scores" / "answer").to_pylist()
    uid = decisions(tmp_path / "run")[0]["uid"]
    rewards = {row["candidate"]: row["reward"] for row in rows if row["uid"] == uid}
    assert set(rewards) == {0, 1, 2}
    best = max(rewards, key=lambda candidate: rewards[candidate])
    first = json.loads((tmp_path / "run" / "dataset" / "train.json").read_bytes())[0]
    assert first["conversations"][1]["value"] == data[0]["conversations"][1]["value"][best]
    assert decisions(tmp_path / "run")[0]["answer_reward"] == rewards[best]


def test_answer_stage_off_takes_the_first_candidate(tmp_path: Path):
    data = [record(1, answer=["It is red.", "It is blue."])]
    sets = ("selection.answer=off", *NO_REWRITE)
    run(write_world(tmp_path, data), tmp_path / "run", sets=sets)
    first = json.loads((tmp_path / "run" / "dataset" / "train.json").read_bytes())[0]
    assert first["conversations"][1]["value"] == "It is red."
    row = decisions(tmp_path / "run")[0]
    assert row["answer_reward"] is row["answer_rank"] is row["answer_cut"] is None


def test_stages_that_are_off_ask_nobody(tmp_path: Path):
    connector = FakeConnector()
    sets = ("selection.question=off", "selection.answer=off", "alignment.rewrite=off")
    summary = run(
        write_world(tmp_path, records(5)), tmp_path / "run", connector=connector, sets=sets
    )
    assert summary.num_kept == 5
    assert not connector.endpoints


@pytest.mark.parametrize(("rule", "decision"), [("drop", "dropped"), ("keep", "kept")])
def test_text_only_records_are_never_scored(tmp_path: Path, rule: str, decision: str):
    text_only = {key: value for key, value in record(0).items() if key != "image"}
    connector = FakeConnector()
    run(
        write_world(tmp_path, [text_only, *records(10)]),
        tmp_path / "run",
        connector=connector,
        sets=(f"input.text_only={rule}",),
    )
    row = decisions(tmp_path / "run")[0]
    assert row["decision"] == decision
    assert row["reason"] == ("text_only" if rule == "drop" else "kept")
    assert row["stage"] == ("input" if rule == "drop" else "done")
    assert row["question_reward"] is row["answer_reward"] is row["question_rank"] is None
    scored = [name for name in connector.calls.asked if name.startswith(row["uid"] + "/-1")]
    assert not scored


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


@pytest.mark.parametrize("error", [UnavailableError, UnauthenticatedError, OverloadedError])
def test_unusable_service_stops_the_run_and_what_came_is_stored(tmp_path: Path, error: type):
    config = write_world(tmp_path, records(60))
    calls = Calls(fail_after=3, error=lambda: error("gone"))
    with pytest.raises(EndpointError, match=f"question-reward: {error.code}: gone"):
        run(config, tmp_path / "run", connector=FakeConnector(calls=calls))
    assert not (tmp_path / "run" / "manifest.json").exists()
    stored = pq.read_table(tmp_path / "run" / "scores" / "question").num_rows
    assert stored == len(calls.asked) > 0
    resumed = FakeConnector()
    run(config, tmp_path / "run", connector=resumed, resume=Resume.ALWAYS)
    assert not set(calls.asked) & set(resumed.calls.asked)


def test_sick_service_does_not_quarantine_everything(tmp_path: Path):
    config = write_world(tmp_path, records(60))
    with pytest.raises(EndpointError, match="in a row"):
        run(config, tmp_path / "run", connector=FakeConnector(calls=Calls(fail_after=0)))


def test_finished_run_resumes_without_a_call(tmp_path: Path):
    config = write_world(tmp_path, records(40))
    run(config, tmp_path / "run")
    before = (tmp_path / "run" / "dataset" / "train.json").read_bytes()
    again = FakeConnector()
    run(config, tmp_path / "run", connector=again, resume=Resume.ALWAYS)
    assert not again.calls.asked
    assert (tmp_path / "run" / "dataset" / "train.json").read_bytes() == before


def test_resume_asks_again_except_for_faults_of_the_record(tmp_path: Path):
    marks = {1: "[[item internal]]", 2: "[[item too_large]]", 3: "[[item invalid_request]]"}
    data = [record(n, question=marks.get(n, "What is")) for n in range(8)]
    config = write_world(tmp_path, data)
    run(config, tmp_path / "run", sets=ALL)
    again = FakeConnector()
    run(config, tmp_path / "run", connector=again, resume=Resume.ALWAYS, sets=ALL)
    uids = [row["uid"] for row in decisions(tmp_path / "run")]
    assert again.calls.asked == [f"{uids[1]}/-1/0"]
    attempts = {at: line["attempts"] for at, line in quarantine(tmp_path / "run").items()}
    assert attempts == {1: 2, 2: 1, 3: 1}


@pytest.mark.parametrize("kind", ["question-reward", "answer-reward", "inner-llm"])
def test_run_of_another_identity_is_refused(tmp_path: Path, kind: str):
    config = write_world(tmp_path, records(40))
    run(config, tmp_path / "run")
    other = FakeConnector(names={kind: "b"})
    with pytest.raises(EndpointError, match=f"{kind}-a"):
        run(config, tmp_path / "run", connector=other, resume=Resume.ALWAYS)
    assert not other.calls.asked


def test_existing_run_is_refused_unless_asked_for(tmp_path: Path):
    config = write_world(tmp_path, records(10))
    run(config, tmp_path / "run", resume=Resume.IF_POSSIBLE)
    with pytest.raises(RunError, match="exists"):
        run(config, tmp_path / "run")
    run(config, tmp_path / "run", resume=Resume.IF_POSSIBLE)
    with pytest.raises(RunError, match="nothing to resume"):
        run(config, tmp_path / "other", resume=Resume.ALWAYS)


@pytest.mark.parametrize("change", ["run.seed=3", "input.images_root=.", "input.format=jsonl"])
@pytest.mark.parametrize("resume", [Resume.IF_POSSIBLE, Resume.ALWAYS])
def test_run_with_another_input_or_seed_is_not_resumed(tmp_path: Path, change: str, resume: Resume):
    config = write_world(tmp_path, records(10))
    run(config, tmp_path / "run")
    with pytest.raises(RunError, match="another"):
        run(config, tmp_path / "run", resume=resume, sets=(change,))
    assert (tmp_path / "run" / "manifest.json").exists()


def test_wider_cut_asks_only_for_what_is_missing(tmp_path: Path):
    config = write_world(tmp_path, records(60))
    first = FakeConnector()
    run(config, tmp_path / "run", connector=first)
    second = FakeConnector()
    sets = ("selection.question_keep=0.6",)
    run(config, tmp_path / "run", connector=second, resume=Resume.ALWAYS, sets=sets)
    assert not set(first.calls.asked) & set(second.calls.asked)
    run(config, tmp_path / "fresh", sets=sets)
    fresh = (tmp_path / "fresh" / "dataset" / "train.json").read_bytes()
    assert (tmp_path / "run" / "dataset" / "train.json").read_bytes() == fresh


def test_syntax_error_ends_the_run_before_anything_is_spent(tmp_path: Path):
    config = write_world(tmp_path, [])
    (tmp_path / "raw.json").write_text(json.dumps(records(3))[:-1] + ',{"id": }]')
    connector = FakeConnector()
    with pytest.raises(InputError, match=r"raw\.json: byte \d+: "):
        run(config, tmp_path / "run", connector=connector, sets=("run.limit=1",))
    assert not connector.endpoints
    assert not (tmp_path / "run").exists()


def test_stratum_without_a_keep_ends_the_run_before_anything_is_spent(tmp_path: Path):
    connector = FakeConnector()
    sets = ("selection.answer_keep.conversation=0.3",)
    with pytest.raises(ConfigError, match="'complex_reasoning'"):
        run(write_world(tmp_path, records(3)), tmp_path / "run", connector=connector, sets=sets)
    assert not connector.endpoints


def test_several_dialects_in_one_run_are_refused(tmp_path: Path):
    write_world(tmp_path, records(3), dialect="jsonl")
    config = write_world(tmp_path, records(3))
    with pytest.raises(ConfigError, match="dialects"):
        run(config, tmp_path / "run", sets=("input.path=[raw.json, raw.jsonl]",))


def test_several_files_are_one_input(tmp_path: Path):
    write_world(tmp_path / "b", records(3))
    config = write_world(tmp_path, [record(9), record(8)])
    sets = ("input.path=[raw.json, {path: b/raw.json, type: mine}]", *NO_REWRITE)
    run(config, tmp_path / "run", sets=sets)
    assert [row["type"] for row in decisions(tmp_path / "run")][2:] == ["mine"] * 3
    written = json.loads((tmp_path / "run" / "dataset" / "train.json").read_bytes())
    assert written == [record(9), record(8), *records(3)]
    entries = read_manifest(RunPaths(tmp_path / "run"))["inputs"]
    assert [entry["num_records"] for entry in entries] == [2, 3]


@pytest.mark.parametrize("dialect", ["json", "jsonl"])
def test_empty_input_is_a_run_of_nothing(tmp_path: Path, dialect: str):
    summary = run(write_world(tmp_path, [], dialect=dialect), tmp_path / "run")
    assert summary.num_input == 0
    text = (tmp_path / "run" / "dataset" / f"train.{dialect}").read_text()
    assert text.strip() == ("[]" if dialect == "json" else "")


def test_limit_reads_the_first_records_only(tmp_path: Path):
    run(write_world(tmp_path, records(30)), tmp_path / "run", sets=("run.limit=7",))
    assert len(decisions(tmp_path / "run")) == 7


def test_run_directory_in_use_is_refused(tmp_path: Path):
    from pipeline.curation.lease import held

    config = write_world(tmp_path, records(3))
    run(config, tmp_path / "run")
    with (
        held(RunPaths(tmp_path / "run")),
        pytest.raises(RunError, match="in use"),
    ):
        run(config, tmp_path / "run", resume=Resume.ALWAYS)


def test_no_key_is_written_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("A2L__API_KEY", "sesame-1234")
    run(write_world(tmp_path, records(3)), tmp_path / "run")
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            assert b"sesame-1234" not in path.read_bytes()


def driver(config: Path, run_dir: Path, log: Path, *, kill_after: int) -> int:
    log.touch()
    script = Path(__file__).with_name("killed_driver.py")
    words = [sys.executable, str(script), str(config), str(run_dir), str(log), str(kill_after)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-2000:]
    return done.returncode


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_killed_run_resumes_to_the_same_bytes_and_asks_nothing_stored_again(tmp_path: Path):
    config = write_world(tmp_path, records(400))
    log = tmp_path / "log"
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(config, whole)
    stored: set[str] = set()
    # 50 calls of 8 for the questions, about 30 for the answers of 120 records, then the rewrites.
    for kill_after, stage in ((48, "question"), (28, "answer"), (40, "align")):
        assert driver(config, broken, log, kill_after=kill_after) == -signal.SIGKILL
        assert not (broken / "manifest.json").exists(), stage
        assert not stored & set(log.read_text().splitlines()), stage
        log.write_text("")
        now = {
            f"{row['uid']}/{row['turn']}/{row['candidate']}"
            for path in sorted(broken.glob("scores/*/part-*.parquet"))
            for row in pq.read_table(path).to_pylist()
        }
        assert now > stored, stage
        stored = now
    assert driver(config, broken, log, kill_after=0) == 0
    assert not stored & set(log.read_text().splitlines())
    for name in ("dataset/train.json", "decisions.parquet"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
