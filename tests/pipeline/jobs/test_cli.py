"""`a2l jobs`: what it prints, its exit codes, and one line for each thing that is wrong."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from align2llava.pipeline.cli.app import app
from tests.contract.servers import free_port
from tests.pipeline.jobs.world import NAME, TEMPLATE, World, write_kubeconfig


def called(world: World | Path, *words: object) -> tuple[int, str, str]:
    kubeconfig = world.kubeconfig if isinstance(world, World) else world
    done = CliRunner().invoke(
        app, ["jobs", *[str(word) for word in words]], env={"KUBECONFIG": str(kubeconfig)}
    )
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("verb", ["submit", "wait", "logs", "list", "delete"])
def test_help_of_each_verb_has_an_example(verb: str):
    code, out, _ = called(Path("none"), verb, "--help")
    assert code == 0
    words = re.sub(r"[\s\u2502]+", " ", out)
    assert f"a2l jobs {verb}" in words.split("Example:")[1]


def test_a_job_from_submit_to_delete(world: World):
    world.add_template()
    code, out, _ = called(world, "submit", NAME, "--json")
    assert code == 0
    made = json.loads(out)
    assert made["namespace"] == "default"
    name = made["name"]
    code, out, _ = called(world, "list", "--json")
    assert [(row["name"], row["phase"]) for row in json.loads(out)] == [(name, "waiting")]
    world.condition(name, "SuccessCriteriaMet", "Complete")
    code, out, err = called(world, "wait", name, "--json")
    assert (code, json.loads(out)) == (0, {"name": name, "phase": "complete"})
    assert err == f"{name}: complete\n"
    assert called(world, "list")[1].startswith(f"{name}  complete ")
    assert called(world, "delete", name)[:2] == (0, f"deleted {name}\n")
    assert world.jobs() == []


def test_delete_takes_the_pods_with_it(fake_world: World):
    fake_world.start_job(NAME, run="monday")
    fake_world.add_pod("monday", "monday-a")
    assert called(fake_world, "delete", "monday")[0] == 0
    assert fake_world.pods() == []


def test_dry_run_prints_the_job_and_creates_nothing(world: World):
    world.add_template()
    code, out, _ = called(world, "submit", NAME, "--dry-run", "--set", "gpus=2")
    assert code == 0
    job = yaml.safe_load(out)
    assert (job["kind"], job["metadata"]["generateName"]) == ("Job", f"{NAME}-")
    assert world.jobs() == []


def test_dry_run_of_manifests_asks_no_server(tmp_path: Path):
    words = ("submit", NAME, "--manifests", TEMPLATE, "--namespace", "a", "--dry-run", "--json")
    code, out, _ = called(tmp_path / "no-kubeconfig", *words)
    assert code == 0
    assert json.loads(out)["metadata"]["namespace"] == "a"


def test_log_of_a_job_is_printed(fake_world: World):
    fake_world.start_job(NAME, run="monday")
    fake_world.add_pod("monday", "monday-a")
    fake_world.end_pod("monday-a", exit_code=0)
    fake_world.condition("monday", "Complete")
    fake_world.server.logs["monday-a"] = ["2026-11-23T02:00:00.5Z step 1"]
    for follow in ((), ("-f",)):
        assert called(fake_world, "logs", "monday", *follow) == (0, "step 1\n", "")


def test_job_that_failed_at_once_exits_1_with_its_reason(world: World):
    world.start_job(NAME, run="monday")
    world.add_pod("monday", "monday-a")
    world.end_pod("monday-a", exit_code=2)
    world.condition("monday", "FailureTarget", "Failed", reason="PodFailurePolicy", message="no")
    code, _, err = called(world, "wait", "monday")
    assert code == 1
    assert err.splitlines()[-1] == (
        "a2l: job monday: failed: PodFailurePolicy: no; "
        "pod monday-a: container job exited 2 (Error)"
    )


def test_wait_that_is_over_exits_124(world: World):
    world.start_job(NAME, run="monday")
    code, _, err = called(world, "wait", "monday", "--timeout", "1")
    assert code == 124
    assert "not ended within 1 s; waiting: no pod yet" in err


@pytest.mark.parametrize(
    "words",
    [("submit", NAME), ("wait", "monday"), ("logs", "-f", "monday"), ("list",), ("delete", "a")],
    ids=lambda words: words[0],
)
def test_server_that_is_away_exits_4_with_one_line(tmp_path: Path, words: tuple[str, ...]):
    url = f"http://127.0.0.1:{free_port()}"
    code, out, err = called(write_kubeconfig(tmp_path / "kubeconfig", url, token="t"), *words)
    assert (code, out) == (4, "")
    assert err.count("\n") == 1
    assert f"the API server {url} cannot be reached" in err


@pytest.mark.parametrize(
    ("verb", "what", "words"),
    [
        ("get", "cronjobs", ("submit", NAME)),
        ("create", "jobs", ("submit", NAME)),
        ("list", "pods", ("list",)),
        ("delete", "jobs", ("delete", "monday")),
        ("log", "pods", ("logs", "monday")),
    ],
    ids=lambda given: given if isinstance(given, str) else None,
)
def test_forbidden_exits_4_and_names_what(
    fake_world: World, verb: str, what: str, words: tuple[str, ...]
):
    fake_world.add_template()
    fake_world.start_job(NAME, run="monday")
    fake_world.add_pod("monday", "monday-a")
    fake_world.run_pod("monday-a")
    fake_world.server.faults.refuse[verb, what] = (403, "Forbidden", "eve may not do this")
    code, _, err = called(fake_world, *words)
    assert code == 4
    assert err.count("\n") == 1
    assert "refused in namespace default (403): eve may not do this" in err
    assert len(fake_world.jobs()) == 1


@pytest.mark.parametrize("verb", ["wait", "logs", "delete"])
def test_unknown_job_exits_2_and_names_those_there_are(world: World, verb: str):
    world.start_job(NAME, run="monday")
    code, _, err = called(world, verb, "sunday")
    assert (code, err) == (2, "a2l: job sunday: none in namespace default; there are: monday\n")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "a: [", "clusters: []", "{clusters: [], contexts: [], current-context: x}"],
    ids=["empty", "a list", "no YAML", "no contexts", "no such context"],
)
def test_broken_kubeconfig_exits_2_with_its_name(tmp_path: Path, text: str):
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    code, _, err = called(path, "list")
    assert code == 2
    assert err.startswith(f"a2l: {path}: ")
    assert err.count("\n") == 1


def test_command_line_starts_without_lightkube():
    modules = "align2llava.pipeline.cli.app, align2llava.pipeline.jobs.cli"
    code = f"import sys, {modules}; sys.exit('lightkube' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
