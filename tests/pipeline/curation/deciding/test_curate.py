"""The whole driver over clients without a network: what it writes, and what it does when things fail."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from align2llava.pipeline.curation.input.files import sha256_of
from align2llava.pipeline.curation.layout import DECISIONS, REWRITES, SCORES, RunPaths
from align2llava.pipeline.curation.run.manifest import read_manifest
from align2llava.pipeline.curation.run.resume import Resume
from align2llava.pipeline.curation.store.quarantine import read_lines
from align2llava.pipeline.errors import ConfigError, InputError, RunError
from tests.pipeline.curation.fake_clients import FakeConnector
from tests.pipeline.curation.run_files import decisions
from tests.pipeline.curation.small_world import record, records, run, write_world

ALL = ("selection.question_keep=1", "selection.answer_keep=1")
OPEN_FILES = Path("/proc/self/fd")
NO_REWRITE = (*ALL, "alignment.rewrite=off")


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


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="this system does not list open files there")
def test_a_run_leaves_no_file_of_its_own_open(tmp_path: Path):
    scratch = tmp_path / "scratch"
    config = write_world(tmp_path, records(12))
    run(config, tmp_path / "run", sets=[f"run.scratch={scratch}"])
    assert list(scratch.rglob("keys-*.sqlite"))
    ours = [
        path for one in OPEN_FILES.iterdir() if str(path := one.resolve()).startswith(str(tmp_path))
    ]
    assert not ours


def test_files_have_their_schemas_and_the_manifest_their_hashes(tmp_path: Path):
    run_dir = tmp_path / "run"
    run(write_world(tmp_path, records(30)), run_dir)
    assert pq.read_schema(run_dir / "decisions.parquet").equals(DECISIONS)
    for stage in ("question", "answer"):
        (part,) = (run_dir / "scores" / stage).iterdir()
        assert pq.read_schema(part).equals(SCORES)
    (part,) = (run_dir / "rewrites").iterdir()
    assert pq.read_schema(part).equals(REWRITES)
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
def test_input_without_a_record_begins_no_run(tmp_path: Path, dialect: str):
    with pytest.raises(InputError, match=f"raw.{dialect}: holds no record"):
        run(write_world(tmp_path, [], dialect=dialect), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_empty_file_of_several_is_no_fault(tmp_path: Path):
    config = write_world(tmp_path, records(3))
    (tmp_path / "empty.json").write_text("[]")
    summary = run(config, tmp_path / "run", sets=("input.path=[empty.json, raw.json]",))
    assert summary.num_input == 3


NEST = "[" * 253 + "]" * 253  # deeper is no record; around a line it is too deep


@pytest.mark.parametrize(
    ("bad", "code", "key"),
    [
        pytest.param('{"id": NaN}', "invalid_json", "raw_base64", id="NaN"),
        pytest.param(f'{{"id": {"7" * 5000}}}', "invalid_json", "raw_base64", id="5,000 digits"),
        pytest.param("[" * 5000 + "]" * 5000, "invalid_json", "raw_base64", id="5,000 levels"),
        pytest.param(
            f'{{"id": {NEST}}}',
            "invalid_record",
            "raw_base64",
            id="as many levels as a record may have",
        ),
        pytest.param('{"video": "a.mp4"}', "unsupported_media", "record", id="video"),
    ],
)
@pytest.mark.parametrize("dialect", ["json", "jsonl"])
def test_one_bad_record_costs_one_record(
    tmp_path: Path, bad: str, code: str, key: str, dialect: str
):
    lines = [json.dumps(one, indent=None) for one in records(12)]
    lines.insert(5, bad)
    config = write_world(tmp_path, [], dialect=dialect)
    text = "[" + ",\n".join(lines) + "]" if dialect == "json" else "\n".join(lines)
    (tmp_path / f"raw.{dialect}").write_text(text)
    keeps = ("selection.question=off", "selection.answer=off", "alignment.rewrite=off")
    summary = run(config, tmp_path / "run", sets=keeps)
    assert (summary.num_kept, summary.num_quarantined) == (12, 1)
    (line,) = read_lines(tmp_path / "run" / "quarantine")
    assert (line["position"], line["code"]) == (5, code)
    assert key in line
    written = (tmp_path / "run" / "dataset" / f"train.{dialect}").read_text()
    assert all(one in written for one in lines if one != bad)


def test_images_root_that_does_not_exist_is_told_once(tmp_path: Path):
    config = write_world(tmp_path, records(3))
    with pytest.raises(ConfigError, match=r"input\.images_root: .*nowhere is no folder"):
        run(config, tmp_path / "run", sets=("input.images_root=nowhere",))
    assert not (tmp_path / "run").exists()


def test_limit_reads_the_first_records_only(tmp_path: Path):
    run(write_world(tmp_path, records(30)), tmp_path / "run", sets=("run.limit=7",))
    assert len(decisions(tmp_path / "run")) == 7


def test_run_directory_in_use_is_refused(tmp_path: Path):
    from align2llava.pipeline.curation.run.lease import held

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
