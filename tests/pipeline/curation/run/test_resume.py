"""A run that ends early and is begun again: what is stored, what is asked again, what is refused."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from align2llava.clients.api import LoadImage
from align2llava.clients.endpoint import Endpoint
from align2llava.clients.errors import (
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
)
from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.schemas import Group, ScoreResponse
from align2llava.pipeline.curation.run.resume import Resume
from align2llava.pipeline.errors import EndpointError, RunError
from tests.pipeline.curation.fake_clients import Calls, FakeConnector, FakeReward, identity
from tests.pipeline.curation.run_files import decisions, quarantine
from tests.pipeline.curation.small_world import record, records, run, write_world

ROOT = Path(__file__).resolve().parents[4]
ALL = ("selection.question_keep=1", "selection.answer_keep=1")


@pytest.mark.parametrize("error", [UnavailableError, UnauthenticatedError, OverloadedError])
def test_unusable_service_stops_the_run_and_what_came_is_stored(tmp_path: Path, error: type):
    config = write_world(tmp_path, records(60))
    calls = Calls(fail_after=3, error=lambda: error("gone"))
    sets = ("endpoints.question_reward.timeout_s=0.3",)
    with pytest.raises(EndpointError, match=f"question-reward: .*{error.code}: gone"):
        run(config, tmp_path / "run", connector=FakeConnector(calls=calls), sets=sets)
    assert not (tmp_path / "run" / "manifest.json").exists()
    stored = pq.read_table(tmp_path / "run" / "scores" / "question").num_rows
    assert stored == len(calls.asked) > 0
    resumed = FakeConnector()
    run(config, tmp_path / "run", connector=resumed, resume=Resume.ALWAYS)
    assert not set(calls.asked) & set(resumed.calls.asked)


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
    for kill_after, stage in ((48, "question"), (28, "answer"), (12, "align")):
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


class DriftingConnector(FakeConnector):
    """Clients of the named URLs answer as another model from their third call on."""

    def __init__(self, *urls: str) -> None:
        super().__init__()
        self.urls = urls

    def reward(self, endpoint: Endpoint, *, kind: RewardKind) -> FakeReward:
        outer = self

        class Drifting(FakeReward):
            num_calls = 0

            async def score(
                self, groups: Sequence[Group], *, timeout_s: float, load: LoadImage | None = None
            ) -> ScoreResponse:
                self.num_calls += 1
                response = await super().score(groups, timeout_s=timeout_s, load=load)
                if endpoint.url not in outer.urls or self.num_calls < 3:
                    return response
                return response.model_copy(update={"model": identity(kind, "b")})

        return Drifting(identity(kind), self.calls)


def identities(run_dir: Path) -> set[str]:
    tables = [pq.read_table(path) for path in sorted(run_dir.glob("scores/*/part-*.parquet"))]
    return {row["identity"] for table in tables for row in table.to_pylist()}


def test_endpoint_that_becomes_another_model_stops_the_run(tmp_path: Path):
    config = write_world(tmp_path, records(60))
    with pytest.raises(EndpointError, match=r"question-reward: .*another model") as caught:
        run(config, tmp_path / "run", connector=DriftingConnector("grpc://nowhere:1"))
    assert caught.value.exit_code == 4
    assert identities(tmp_path / "run") == {"question-reward-a"}
    events = [
        json.loads(one) for one in (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    ]
    assert [one["url"] for one in events if one["event"] == "replica_expelled"] == [
        "grpc://nowhere:1"
    ]


def test_one_lying_replica_changes_nothing_but_the_events(tmp_path: Path):
    sets = ('endpoints.question_reward.url=["grpc://a:1", "grpc://b:2", "grpc://c:3"]',)
    config = write_world(tmp_path, records(60))
    run(config, tmp_path / "run", connector=DriftingConnector("grpc://b:2"), sets=sets)
    run(config, tmp_path / "plain", sets=sets)
    for name in ("dataset/train.json", "decisions.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert identities(tmp_path / "run") == {"question-reward-a", "answer-reward-a"}
    events = [
        json.loads(one) for one in (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    ]
    expelled = [one for one in events if one["event"] == "replica_expelled"]
    assert [(one["url"], one["identity"]) for one in expelled] == [
        ("grpc://b:2", "question-reward-b")
    ]
