import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from align2llava.pipeline.cli.app import app
from tests.contract.servers import free_port
from tests.pipeline.curation.small_world import records, run, write_world

VERBS = (
    *("validate", "curate", "select", "align"),
    *("preview", "plan", "ablate", "report", "explain", "export", "diff", "serve", "train"),
)


def called(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb_has_an_example(verb: str):
    code, out, _ = called(verb, "--help")
    assert code == 0
    words = re.sub(r"[\s\u2502]+", " ", out)
    assert f"a2l {verb}" in words.split("Example:")[1]


def test_unknown_option_exits_2():
    assert called("curate", "a.yaml", "--nope")[0] == 2
    assert called("nope")[0] == 2


def test_misspelt_verb_is_told_the_right_one():
    code, _, err = called("curte")
    assert code == 2
    assert "Did you mean 'curate'?" in err


def test_verb_imports_what_it_needs_alone():
    code = """
import sys
from align2llava.pipeline.cli.app import app
app(["select", "--help"], standalone_mode=False)
sys.exit(any(f"align2llava.pipeline.cli_{name}" in sys.modules for name in ("ahead", "curate", "results")))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_missing_config_exits_2_with_one_line(tmp_path: Path):
    code, _, err = called("curate", tmp_path / "a.yaml")
    assert code == 2
    assert err.count("\n") == 1
    assert "a.yaml" in err


@pytest.mark.parametrize("words", [("explain", "{}", "--id", "1"), ("diff", "{}", "{}")])
def test_path_that_no_file_system_holds_exits_2_with_one_line(words: tuple[str, ...]):
    code, _, err = called(*(word.format("x" * 300) for word in words))
    assert code == 2
    assert err.startswith("a2l: xxx")
    assert err.endswith("File name too long\n")


def test_syntax_error_exits_2_with_file_and_byte(tmp_path: Path):
    config = write_world(tmp_path, [])
    (tmp_path / "raw.json").write_text('[{"a": 1} 2]')
    for verb in ("validate", "curate", "preview", "plan"):
        code, _, err = called(verb, config)
        assert code == 2
        assert f"{tmp_path}/raw.json: byte 10: " in err


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize("verb", ["validate", "curate"])
@pytest.mark.slow  # retries are waited for
@pytest.mark.timeout(40)
def test_unreachable_endpoint_exits_4_with_one_line(tmp_path: Path, scheme: str, verb: str):
    config = write_world(tmp_path, records(3))
    url = f"{scheme}://127.0.0.1:{free_port()}"
    sets = ("--set", f"endpoints.question_reward.url={url}")
    where = ("--run-dir", tmp_path / "run") if verb == "curate" else ()
    code, _, err = called(verb, config, *sets, *where)
    assert code == 4
    lines = [one for one in err.splitlines() if one.startswith("a2l: ")]
    assert len(lines) == (3 if verb == "validate" else 1)  # validate has a line for each endpoint
    assert url in lines[0]
    assert all("unavailable" in line for line in lines)
    assert not (tmp_path / "run").exists()


def test_select_prints_one_json_object(tmp_path: Path):
    run(write_world(tmp_path, records(30)), tmp_path / "run")
    code, out, _ = called("select", tmp_path / "run", "--answer-keep", "0.1", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["num_input"] == 30
    assert set(found["counts"]) == {"conversation", "complex_reasoning"}


def test_quarantine_above_its_limit_exits_3_with_everything_written(tmp_path: Path):
    data = [*records(30), {"id": 1}, {"id": 2}]
    run(write_world(tmp_path, data), tmp_path / "run", sets=("run.quarantine_limit=0.05",))
    code, out, err = called("select", tmp_path / "run", "--answer-keep", "0.2")
    assert code == 3
    assert "2 x invalid_record" in out
    assert "2 of 32 records (6.2%) are quarantined; run.quarantine_limit is 5.0%" in err
    assert (tmp_path / "run" / "manifest.json").exists()
    assert (tmp_path / "run" / "dataset" / "train.json").exists()


@pytest.mark.parametrize("keep", ["1.5", "-1", "many", "nan"])
def test_keep_outside_of_its_range_exits_2(tmp_path: Path, keep: str):
    code, _, err = called("select", tmp_path, "--question-keep", keep)
    assert code == 2
    assert "a number in [0, 1] is needed" in err


def test_wrong_budget_exits_2(tmp_path: Path):
    code, _, err = called("curate", write_world(tmp_path, []), "--budget", "tokens=5")
    assert code == 2
    assert "requests=N, minutes=N or gpu-seconds=N" in err
