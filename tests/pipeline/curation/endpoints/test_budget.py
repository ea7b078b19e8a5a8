from pathlib import Path

import pytest

from align2llava.clients.errors import UnavailableError
from align2llava.pipeline.config.schema import load_config
from align2llava.pipeline.curation.deciding.curate import curate
from align2llava.pipeline.curation.endpoints.budget import Budget, BudgetMeter, parse_budget
from align2llava.pipeline.curation.endpoints.metering import MeteredConnector
from align2llava.pipeline.curation.run.resume import Resume
from align2llava.pipeline.errors import BudgetError, ConfigError, EndpointError
from align2llava.pipeline.process.progress import LineProgress
from tests.pipeline.curation.fake_clients import Calls, FakeConnector
from tests.pipeline.curation.run_files import stored_keys
from tests.pipeline.curation.small_world import record, records, run, write_world


def spend(
    config: Path,
    run_dir: Path,
    budget: Budget,
    *,
    calls: Calls | None = None,
    resume: Resume = Resume.NEVER,
    sets: tuple[str, ...] = (),
) -> BudgetMeter:
    """Runs within a budget that has to be reached; returns what was counted."""
    meter = BudgetMeter(budget, go_on="go on with --resume always")
    connector = MeteredConnector(connector=FakeConnector(calls=calls or Calls()), meter=meter)
    with pytest.raises(BudgetError, match="go on with --resume always"):
        curate(
            load_config(config, sets=sets),
            run_dir=run_dir,
            resume=resume,
            connector=connector,
            api_key=None,
            progress=LineProgress(),
        )
    return meter


def stored(run_dir: Path) -> set[tuple[str, int, int]]:
    return stored_keys(run_dir, "question") | stored_keys(run_dir, "answer")


@pytest.mark.parametrize("num_requests", [1, 4, 9])
def test_no_request_more_than_the_budget_goes_out_and_every_answer_is_stored(
    tmp_path: Path, num_requests: int
):
    calls = Calls(delay_s=0.01)
    sets = ("run.canaries=0",)
    config = write_world(tmp_path, records(90))
    meter = spend(config, tmp_path / "run", Budget(requests=num_requests), calls=calls, sets=sets)
    assert meter.num_requests == len(calls.batches) == num_requests
    assert len(stored(tmp_path / "run")) == len(calls.asked) > 0
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_gpu_seconds_overshoot_by_the_calls_in_flight_at_most(tmp_path: Path):
    calls = Calls(delay_s=0.01)
    config = write_world(tmp_path, records(150))  # a call of 8 items takes 8 ms of the device
    sets = ("endpoints.question_reward.max_in_flight=3", "run.canaries=0")
    meter = spend(config, tmp_path / "run", Budget(gpu_seconds=0.04), calls=calls, sets=sets)
    assert 0.04 <= meter.gpu_seconds <= 0.04 + 3 * 0.008 + 1e-9
    assert len(stored(tmp_path / "run")) == len(calls.asked)


async def test_minutes_end_a_run_whatever_it_asked_for():
    now = 0.0
    meter = BudgetMeter(Budget(minutes=2), go_on="", clock=lambda: now)
    await meter.begin(ends_begun=False)
    meter.end(None)
    now = 121.0
    with pytest.raises(BudgetError, match="2 minutes reached: spent 1 requests"):
        await meter.begin(ends_begun=False)


async def test_what_ends_an_answered_call_still_goes_out():
    meter = BudgetMeter(Budget(requests=1), go_on="")
    await meter.begin(ends_begun=False)
    meter.end(None)
    await meter.begin(ends_begun=True)
    meter.end(None)
    assert meter.num_requests == 2


def test_what_a_failed_call_was_answered_is_spent(tmp_path: Path):
    data = [record(n) for n in range(8)]
    data[3]["conversations"][0]["value"] = "<image>\nWhat is [[rest]]?"
    calls = Calls(error=lambda: UnavailableError("gone"))
    meter = BudgetMeter(Budget(requests=100), go_on="")
    connector = MeteredConnector(connector=FakeConnector(calls=calls), meter=meter)
    with pytest.raises(EndpointError):
        run(
            write_world(tmp_path, data),
            tmp_path / "run",
            connector=connector,
            sets=("run.canaries=0", "endpoints.question_reward.timeout_s=1"),
        )
    assert len(stored(tmp_path / "run")) == 7
    assert meter.gpu_seconds == pytest.approx(0.008)


@pytest.mark.timeout(120)  # a dozen runs; the loop would take a time-out for its own end
def test_run_stopped_again_and_again_ends_as_if_it_never_was(tmp_path: Path):
    config = write_world(tmp_path, records(90))
    run(config, tmp_path / "whole")
    calls = Calls()
    for _ in range(60):
        resume = Resume.ALWAYS if (tmp_path / "run").exists() else Resume.NEVER
        try:
            spend(config, tmp_path / "run", Budget(requests=2), calls=calls, resume=resume)
        except pytest.fail.Exception:
            break  # it ended within its budget
    names = [name for name in calls.asked if not name.startswith(("canary/", "review"))]
    rewards = [name for name in names if name.count("/") == 2]
    assert len(set(rewards)) == len(rewards)
    for name in ("dataset/train.json", "decisions.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_run_within_its_budget_ends_as_any_other(tmp_path: Path):
    config = write_world(tmp_path, records(30))
    meter = BudgetMeter(Budget(requests=10_000, minutes=1000), go_on="")
    summary = curate(
        load_config(config),
        run_dir=tmp_path / "run",
        resume=Resume.NEVER,
        connector=MeteredConnector(connector=FakeConnector(), meter=meter),
        api_key=None,
        progress=LineProgress(),
    )
    assert summary.num_kept > 0
    assert 0 < meter.num_requests < 10_000


def test_budget_is_read_from_its_options():
    assert parse_budget([]) is None
    found = parse_budget(["requests=5", "gpu-seconds=0.5", "minutes=2"])
    assert found == Budget(requests=5, gpu_seconds=0.5, minutes=2)


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["tokens=5"], "requests=N, minutes=N or gpu-seconds=N"),
        (["requests"], "a whole number above 0"),
        (["requests=1.5"], "a whole number above 0"),
        (["requests=0"], "a whole number above 0"),
        (["minutes=nan"], "a number above 0"),
        (["minutes=inf"], "a number above 0"),
        (["gpu-seconds=-1"], "a number above 0"),
        (["minutes=1", "minutes=2"], "limited already"),
    ],
)
def test_wrong_budget_is_refused(texts: list[str], told: str):
    with pytest.raises(ConfigError, match=told):
        parse_budget(texts)
