"""The training jobs' commands and environments, run here as their templates say, on a tiny recipe:
killed, restarted, resumed, done; and with the exit codes that the failure policy expects."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.k8s.folders import overlay
from tests.k8s.local_pod import BIN, Container, container_of, running, runtime_log
from tests.pipeline.training.preference_world import write_world
from tools.k8s_lint.trees import Table, at, rows, text, texts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NUM_STEPS = 100


def job(name: str, folder: Path, world: Path) -> Container:
    """The container of a template, its config and claims in the folder of a tiny world."""
    manifests = overlay("staging")
    (pod,) = [pod for pod in manifests.job_pods if pod.name == name]
    given = {"/etc/a2l": world, "/models": world, "/workspace": world}
    return container_of(manifests, pod, folder, given=given)


def tiny(folder: Path, *, steps: int = NUM_STEPS) -> Path:
    write_world(folder, steps=steps, train_projector=False)
    (folder / "config.yaml").rename(folder / "train.yaml")
    return folder


def run(container: Container) -> int:
    with running(container, folder=container.root) as process:
        return process.wait(timeout=120)


def interrupted(container: Container, world: Path, number: signal.Signals) -> int:
    """Runs until the first snapshot and one step more, then sends the signal."""
    already = set((world / "work").glob("step-*"))
    with running(container, folder=container.root) as process:
        end = time.monotonic() + 100
        while not set((world / "work").glob("step-*")) - already:
            assert process.poll() is None, runtime_log(container)
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(number)
        return process.wait(timeout=60)


def policy(name: str) -> dict[int, str]:
    """What the template's failure policy does with each exit code that it names."""
    (cron,) = [c for c in overlay("staging").of("CronJob") if text(c, "metadata", "name") == name]
    job_spec = at(cron, "spec", "jobTemplate", "spec")
    actions: dict[int, str] = {}
    for rule in rows(job_spec, "podFailurePolicy", "rules"):
        codes = at(rule, "onExitCodes", "values")
        actions |= {code: text(rule, "action") for code in codes or [] if isinstance(code, int)}  # type: ignore[union-attr]
    return actions


def test_a_job_killed_and_started_again_is_done_in_the_end(tmp_path: Path):
    world = tiny(tmp_path / "world")
    container = job("train-answer-reward", tmp_path / "pod", world)
    assert interrupted(container, world, signal.SIGKILL) == -signal.SIGKILL
    assert not (world / "out").exists()
    # A drained node says SIGTERM first: the snapshot is written, and the try does not count.
    assert interrupted(container, world, signal.SIGTERM) == 75
    assert policy("train-answer-reward")[75] == "Ignore"
    assert run(container) == 0, runtime_log(container)
    lines = (world / "work" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == list(range(NUM_STEPS)), "every step once: each start went on where the last was"


def test_a_bad_config_fails_the_job_at_once(tmp_path: Path):
    world = tiny(tmp_path / "world")
    config = (world / "train.yaml").read_text()
    (world / "train.yaml").write_text(config.replace("steps:", "step:"))
    container = job("train-question-reward", tmp_path / "pod", world)
    assert run(container) == 2
    assert "train.yaml: optimiser.step: unknown key" in runtime_log(container)
    assert policy("train-question-reward")[2] == "FailJob"


def test_the_download_uses_options_that_hf_has():
    manifests = overlay("staging")
    (pod,) = [pod for pod in manifests.job_pods if pod.name == "model-download"]
    (spec,) = pod.containers
    said = subprocess.run(
        [BIN / "hf", "download", "--help"], capture_output=True, text=True, check=True
    )
    assert words(spec)[:2] == ["hf", "download"]
    for option in [word for word in words(spec) if word.startswith("--")]:
        assert option in said.stdout


def words(spec: Table) -> list[str]:
    return [*texts(spec, "command"), *texts(spec, "args")]
