"""`a2l curate` against services that fail by script: every run ends as the undisturbed one does.

Real processes, a real network. A fault strikes each item twice at most; what was answered well is
never asked again, and nothing that failed is taken for an answer.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.scripted_faults import Kind
from tests.contract.scripted_runs import (
    Finished,
    Stub,
    a2l,
    command,
    curated,
    finished,
    notes_of,
    records,
    stored_keys,
    stored_scores,
    stub,
    write_records,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

NUM_RECORDS = 300
INPUT_FAULTS = {"invalid_record", "image_missing"}
AT_ONCE = [kind for kind in Kind if kind is not Kind.HANG]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    with stub(tmp_path_factory.mktemp("stub")) as running:
        yield running


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_records(tmp_path_factory.mktemp("world"), records(NUM_RECORDS))


@pytest.fixture(scope="module")
def undisturbed(services: Stub, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    services.script()
    curated(config, run, services.sets("grpc"))
    whole = finished(run)
    assert set(whole.quarantined.values()) == INPUT_FAULTS
    assert_asked_once(services, run, config)
    return whole


def assert_asked_once(services: Stub, run: Path, config: Path) -> None:
    counts = services.came(notes_of(run))
    assert {key: n for key, n in counts.items() if n > 1} == {}
    assert set(counts) == stored_keys(run, config)


@pytest.mark.parametrize("transport", ["grpc", "unary", "rest"])
def test_every_transport_gives_the_same_run(
    services: Stub, config: Path, undisturbed: Finished, tmp_path: Path, transport: str
):
    services.script()
    curated(config, tmp_path / "run", services.sets(transport))
    assert finished(tmp_path / "run") == undisturbed
    assert_asked_once(services, tmp_path / "run", config)
    assert (services.state()["num_streams"] > 0) is (transport == "grpc")


@pytest.mark.parametrize("transport", ["grpc", "rest"])
@pytest.mark.parametrize("kind", AT_ONCE)
def test_a_fault_changes_nothing_and_what_came_is_asked_once(
    services: Stub,
    config: Path,
    undisturbed: Finished,
    tmp_path: Path,
    kind: Kind,
    transport: str,
):
    services.script(kinds=[kind], seed=7)
    curated(config, tmp_path / "run", services.sets(transport))
    assert services.state()["counts"][kind] >= 5
    assert finished(tmp_path / "run") == undisturbed
    assert_asked_once(services, tmp_path / "run", config)


@pytest.mark.parametrize("transport", ["grpc", "rest"])
@pytest.mark.parametrize("seed", [1, 2])
def test_all_faults_mixed_change_nothing(
    services: Stub,
    config: Path,
    undisturbed: Finished,
    tmp_path: Path,
    seed: int,
    transport: str,
):
    services.script(kinds=AT_ONCE, seed=seed, share=0.5)
    curated(config, tmp_path / "run", services.sets(transport))
    assert len(services.state()["counts"]) >= len(AT_ONCE) - 2
    assert finished(tmp_path / "run") == undisturbed
    assert_asked_once(services, tmp_path / "run", config)


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_second_calls_change_nothing(
    services: Stub, config: Path, undisturbed: Finished, tmp_path: Path, transport: str
):
    services.script(kinds=AT_ONCE, seed=3, share=0.3)
    curated(config, tmp_path / "run", services.sets(transport, num_replicas=3))
    assert finished(tmp_path / "run") == undisturbed
    assert set(services.answered()) == stored_keys(tmp_path / "run", config)
    repeated = len(services.answered()) - len(set(services.answered()))
    assert repeated <= 0.1 * len(services.answered())


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_calls_over_their_time_heal_in_resumes(
    services: Stub, config: Path, undisturbed: Finished, tmp_path: Path, transport: str
):
    """A service that answers nothing for the time of a call stops the run: exit 4, resumable."""
    services.script(kinds=[Kind.HANG], share=0.1, seed=4)
    names = ("question_reward", "answer_reward", "inner_llm")
    short = [word for name in names for word in ("--set", f"endpoints.{name}.timeout_s=1")]
    words = [*command(config, tmp_path / "run"), *services.sets(transport), *short]
    codes = [a2l(words).returncode]
    words[words.index("never")] = "always"
    while (
        codes[-1] != 0 or len(codes) < 3
    ):  # a run that ended well may hold records it could not score
        codes.append(a2l(words).returncode)
        assert set(codes) <= {0, 4}
        assert len(codes) <= 10
    assert services.state()["counts"][Kind.HANG] >= 3
    found = finished(tmp_path / "run")
    assert replace(found, rewrites=undisturbed.rewrites) == undisturbed


def test_turns_that_failed_inside_the_inner_llm_heal_in_a_resume(
    services: Stub, config: Path, undisturbed: Finished, tmp_path: Path
):
    services.script(failing_rewrites=True)
    summary = curated(config, tmp_path / "run", services.sets("grpc"))
    assert summary["num_turns_not_aligned"] == services.state()["counts"]["failing_rewrites"] >= 20
    services.script()
    summary = curated(config, tmp_path / "run", services.sets("grpc"), resume="always")
    assert summary["num_turns_not_aligned"] == 0
    assert finished(tmp_path / "run") == undisturbed


@pytest.mark.parametrize("transport", ["grpc", "rest"])
@pytest.mark.parametrize("lies_at_once", [False, True], ids=["later", "at-once"])
def test_lying_replica_is_put_out_and_nothing_of_it_is_kept(
    services: Stub,
    config: Path,
    undisturbed: Finished,
    tmp_path: Path,
    transport: str,
    lies_at_once: bool,
):
    services.script(liar=2, lies_at_once=lies_at_once)
    curated(config, tmp_path / "run", services.sets(transport, num_replicas=3))
    assert finished(tmp_path / "run") == undisturbed
    lines = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    expelled = [one for one in map(json.loads, lines) if one["event"] == "replica_expelled"]
    assert [one["url"] for one in expelled] == [services.urls[transport]["question-reward"][2]]
    identities = {row["identity"] for row in stored_scores(tmp_path / "run", "question")}
    assert len(identities) == 1


def test_only_endpoint_that_becomes_another_model_stops_the_run_until_it_is_itself_again(
    services: Stub, config: Path, undisturbed: Finished, tmp_path: Path
):
    words = [*command(config, tmp_path / "run"), *services.sets("grpc")]
    services.script(liar=0)
    done = a2l(words)
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith("a2l: question-reward: ")
    assert not (tmp_path / "run" / "manifest.json").exists()
    services.script(liar=0, lies_at_once=True)
    words[words.index("never")] = "always"
    assert a2l(words).returncode == 4
    services.script()
    curated(config, tmp_path / "run", services.sets("grpc"), resume="always")
    assert finished(tmp_path / "run") == undisturbed


def test_one_bad_record_costs_one_record_and_heals_in_a_resume(
    services: Stub, config: Path, undisturbed: Finished, tmp_path: Path
):
    services.script(poison="object 40 in turn 0?")
    sets = services.sets("grpc")
    curated(config, tmp_path / "run", sets)
    found = finished(tmp_path / "run")
    (position,) = set(found.quarantined) - set(undisturbed.quarantined)
    assert json.loads(str(found.decisions[position]["id"])) == 40
    assert found.quarantined[position] == "internal"
    rewards = [row["question_reward"] for row in found.decisions]
    whole = [row["question_reward"] for row in undisturbed.decisions]
    assert [at for at, reward in enumerate(rewards) if reward != whole[at]] == [position]
    services.script()
    curated(config, tmp_path / "run", sets, resume="always")
    healed = finished(tmp_path / "run")
    # The ledger keeps the turns of records that were kept in the bad one's place.
    assert healed.rewrites.items() >= undisturbed.rewrites.items()
    assert replace(healed, rewrites=undisturbed.rewrites) == undisturbed


def test_service_whose_rewards_drift_under_one_identity_stops_the_run(
    services: Stub, config: Path, tmp_path: Path
):
    services.script(drifts_after=10)
    done = a2l([*command(config, tmp_path / "run"), *services.sets("grpc")])
    assert done.returncode == 4
    assert "canary" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run" / "manifest.json").exists()
