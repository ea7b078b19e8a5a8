from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from align2llava.pipeline.cli.app import app
from tests.pipeline.curation.run_fixture import RunFixture, make_run
from tests.pipeline.curation.small_world import records, write_world
from tests.pipeline.curation.small_world import run as curate_world


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFixture:
    return make_run(tmp_path_factory.mktemp("cli"), num_records=120)


def a2l(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_report_prints_shares_and_the_page(run: RunFixture):
    result = a2l("report", run.run, "--truth", run.truth)
    assert result.exit_code == 0
    assert "Length-matched random" in result.stdout
    assert result.stdout.splitlines()[-1] == f"report: {run.run}/report/index.html"


def test_report_as_json_is_what_the_file_holds(run: RunFixture):
    result = a2l("report", run.run, "--json")
    assert result.exit_code == 0
    assert orjson.loads(result.stdout) == orjson.loads(
        (run.run / "report" / "report.json").read_bytes()
    )


def test_explain_takes_a_uid(run: RunFixture):
    result = a2l("explain", run.run, run.rows[0]["uid"])
    assert result.exit_code == 0
    assert result.stdout.startswith("position 0  uid ")


def test_explain_as_json_has_every_part(run: RunFixture):
    explained = orjson.loads(a2l("explain", run.run, 0, "--json").stdout)
    assert explained["uid"] == run.rows[0]["uid"]
    assert {"why", "standings", "rewards", "rewrites", "fault", "turns"} <= explained.keys()


def test_explain_by_id_and_by_position_tell_of_other_records(run: RunFixture):
    by_id = run.rows[-1]["id"].strip('"')  # type: ignore[union-attr]
    shared = [row["position"] for row in run.rows if row["id"] == run.rows[-1]["id"]]
    result = a2l("explain", run.run, "--id", by_id)
    assert result.exit_code == 2
    assert f"at positions {', '.join(map(str, shared))}" in result.stderr
    assert a2l("explain", run.run, 3).stdout.startswith("position 3  uid ")


@pytest.mark.parametrize("name", ["random", "length-matched", "longest", "bottom"])
def test_export_writes_a_baseline(run: RunFixture, name: str):
    result = a2l("export", run.run, "--baseline", name, "--json")
    exported = orjson.loads(result.stdout)
    assert Path(exported["path"]) == run.run / "baselines" / f"{name}.json"
    assert exported["figures"]["num_records"] == len(run.of_decision("kept"))


def test_export_writes_originals(run: RunFixture):
    result = a2l("export", run.run, "--rewrites", "off")
    assert result.exit_code == 0
    assert "0 of them differ from the input" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "RUN", "--truth", "none.jsonl"),
        ("explain", "RUN", "zz"),
        ("export", "RUN", "--baseline", "random", "--rewrites", "on"),
        ("export", "RUN", "--baseline", "best"),
        ("report", "none"),
        ("explain", "none", "0"),
        ("explain", "RUN"),
        ("explain", "RUN", "0", "--id", "0"),
        ("export", "none"),
        ("diff", "RUN", "none"),
        ("diff", "RUN", "RUN", "--examples", "-1"),
    ],
    ids=[
        "missing truth",
        "no such uid",
        "baseline with rewrites",
        "unknown baseline",
        "report of no run",
        "explain of no run",
        "explain of nothing",
        "explain of two things",
        "export of no run",
        "diff with no run",
        "fewer than no examples",
    ],
)
def test_wrong_use_exits_2_with_one_line(run: RunFixture, arguments: tuple[str, ...]):
    result = a2l(*(run.run if word == "RUN" else word for word in arguments))
    assert result.exit_code == 2
    assert result.stdout == ""


def test_diff_of_a_run_with_itself_says_so(run: RunFixture):
    result = a2l("diff", run.run, run.run)
    assert result.exit_code == 0
    assert "the runs do not differ" in result.stdout


def test_diff_tells_config_counts_records_and_turns(tmp_path: Path):
    config = write_world(tmp_path, records(60))
    curate_world(config, tmp_path / "a")
    curate_world(config, tmp_path / "b", sets=("selection.answer_keep=0.6", "alignment.review=off"))
    out = a2l("diff", tmp_path / "a", tmp_path / "b", "--examples", "1").stdout
    assert "selection.answer_keep  0.3 -> 0.6" in out
    assert "kept by B alone, the best-ranked first" in out
    assert "in A: below answer cut" in out
    assert "rewards: the same wherever both scored a record" in out
    found = orjson.loads(a2l("diff", tmp_path / "a", tmp_path / "b", "--json").stdout)
    assert {"config", "identities", "inputs", "types", "kept", "records", "rewards", "turns"} <= (
        found.keys()
    )
    assert (
        found["kept"]["only_b"]["below_answer_cut"]
        == found["kept"]["num_b"] - (found["kept"]["num_both"])
    )


def test_verb_over_a_run_takes_the_new_place_of_its_data(tmp_path: Path):
    config = write_world(tmp_path / "data", records(40))
    curate_world(config, tmp_path / "run")
    moved = (tmp_path / "data").rename(tmp_path / "moved")
    given = ("--input", moved / "raw.json", "--images-root", moved / "images")
    assert a2l("explain", tmp_path / "run", "3", *given).exit_code == 0
    assert a2l("export", tmp_path / "run").exit_code == 0
