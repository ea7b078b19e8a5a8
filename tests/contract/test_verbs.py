"""Verbs of `a2l` that ask services, through the command line, with real service processes (fake engine)."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from align2llava.pipeline.cli.app import app
from tests.contract.servers import server
from tests.pipeline.curation.small_world import records, write_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

KINDS = ("question-reward", "answer-reward", "inner-llm")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The `--set` options that name three running services."""
    folder = tmp_path_factory.mktemp("services")
    with (
        server(KINDS[0], folder / "q") as question,
        server(KINDS[1], folder / "a") as answer,
        server(KINDS[2], folder / "i") as inner,
    ):
        urls = [one.url("grpc") for one in (question, answer, inner)]
        names = [kind.replace("-", "_") for kind in KINDS]
        pairs = zip(names, urls, strict=True)
        yield [word for name, url in pairs for word in ("--set", f"endpoints.{name}.url={url}")]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_world(tmp_path, records(120))


def a2l(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_preview_prints_a_sample_for_reading(config: Path, sets: list[str]):
    result = a2l("preview", config, "-n", 12, *sets)
    assert result.exit_code == 0, result.stderr
    assert "[12 of 12]" in result.stdout
    assert "12 of 120 records in" in result.stdout
    assert "question reward" in result.stdout
    assert "coarse" in result.stdout


def test_preview_as_json_is_one_object(config: Path, sets: list[str]):
    result = a2l("preview", config, "-n", 5, "--json", *sets)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert len(found["records"]) == 5
    assert found["num_input"] == 120


def test_curation_stops_at_its_budget_and_goes_on(config: Path, sets: list[str], tmp_path: Path):
    command = ("curate", config, "--run-dir", tmp_path / "run", *sets)
    stopped = a2l(*command, "--budget", "requests=3")
    assert stopped.exit_code == 5
    (line,) = [one for one in stopped.stderr.splitlines() if one.startswith("a2l: ")]
    assert "budget of 3 requests reached: spent 3 requests" in line
    assert f"go on with --run-dir {tmp_path}/run --resume always" in line
    whole = a2l(*command, "--resume", "always")
    assert whole.exit_code == 0, whole.stderr
    assert "of 120 records kept" in whole.stdout


def test_plan_prints_a_table_and_one_object(config: Path, sets: list[str]):
    result = a2l("plan", config, "--sample", 30, *sets)
    assert result.exit_code == 0, result.stderr
    assert "30 of 120 records (25.0 %) were curated" in result.stdout
    assert "95 % interval" in result.stdout
    found = json.loads(a2l("plan", config, "--sample", 30, "--json", *sets).stdout)
    question = found["stages"][0]
    assert question["stage"] == "question"
    assert question["items"] == {"sample": 30.0, "value": 120.0, "low": 120.0, "high": 120.0}
    assert question["tokens"]["value"] > 0


def test_ablate_prints_a_table_and_says_before_what_it_asks(
    config: Path, sets: list[str], tmp_path: Path
):
    command = ("ablate", config, "--run-dir", tmp_path / "run", *sets)
    result = a2l(*command)
    assert result.exit_code == 0, result.stderr
    assert "records lack answer rewards" in result.stderr
    for name in ("whole", "no-question", "no-answer", "no-rewrite", "no-review", "random"):
        assert f"\n  {name} " in result.stdout
    again = json.loads(a2l(*command, "--resume", "always", "--json").stdout)
    assert all(not any(row["asked"].values()) for row in again["rows"])
