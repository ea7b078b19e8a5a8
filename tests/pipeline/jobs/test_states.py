"""The words for a job's state, from what servers and nodes write."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from align2llava.pipeline.jobs.states import Phase, newest_pod, state_of

_TEMPLATE = {"spec": {"containers": [{"name": "job"}]}}


def job(*conditions: dict[str, str], **spec: Any) -> Job:
    return msgspec.convert(
        {
            "metadata": {"name": "a"},
            "spec": {"template": _TEMPLATE, **spec},
            "status": {"conditions": list(conditions)},
        },
        Job,
    )


def pod(name: str, *, minute: int = 0, **status: Any) -> Pod:
    made = datetime(2026, 11, 23, 2, minute, tzinfo=UTC).isoformat()
    return msgspec.convert(
        {"metadata": {"name": name, "creationTimestamp": made}, "status": status}, Pod
    )


def container(**state: Any) -> dict[str, Any]:
    return {
        "name": "job",
        "image": "a",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": state,
    }


@pytest.mark.parametrize(
    ("status", "phase", "why"),
    [
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                             "message": "0/3 nodes are available:\n3 Insufficient nvidia.com/gpu."}]},
            Phase.WAITING,
            "pod p: Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
            id="no GPU free",
        ),
        pytest.param(
            {"containerStatuses": [container(waiting={"reason": "ContainerCreating"})]},
            Phase.WAITING,
            "pod p starts",
            id="starts",
        ),
        pytest.param(
            {"containerStatuses": [container(waiting={"reason": "ErrImagePull", "message": "x"})]},
            Phase.WAITING,
            "pod p: container job waits: ErrImagePull (x)",
            id="first try of an image is no end",
        ),
        pytest.param(
            {"containerStatuses": [container(waiting={"reason": "CreateContainerConfigError",
                                                      "message": 'secret "a" not found'})]},
            Phase.STUCK,
            'pod p: container job waits: CreateContainerConfigError (secret "a" not found)',
            id="a Secret is missing",
        ),
        pytest.param(
            {"phase": "Failed", "containerStatuses": [
                container(terminated={"exitCode": 137, "reason": "OOMKilled"})]},
            Phase.WAITING,
            "pod p: container job exited 137 (OOMKilled)",
            id="out of memory, before the replacement",
        ),
        pytest.param(
            {"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True",
                                                "reason": "PreemptionByScheduler",
                                                "message": "preempting to accommodate"}]},
            Phase.WAITING,
            "pod p: PreemptionByScheduler: preempting to accommodate",
            id="preempted",
        ),
    ],
)  # fmt: skip
def test_pod_says_why_it_does_not_run(status: dict[str, Any], phase: Phase, why: str):
    state = state_of(job(), [pod("p", **status)])
    assert (state.phase, state.why) == (phase, why)


def test_condition_that_is_not_true_says_nothing():
    state = state_of(job({"type": "Failed", "status": "False"}), [])
    assert state.phase is Phase.WAITING


def test_job_in_a_queue_is_suspended():
    state = state_of(job(suspend=True), [])
    assert state.phase is Phase.SUSPENDED
    assert not state.is_final


def test_long_reason_stays_one_line_of_a_few_hundred_characters():
    state = state_of(job({"type": "Failed", "status": "True", "message": "x\n" * 1000}), [])
    assert "\n" not in state.why
    assert len(state.why) < 450


def test_newest_pod_is_by_time_then_by_name():
    pods = [pod("c", minute=1), pod("b", minute=2), pod("a", minute=2)]
    newest = newest_pod(pods)
    assert newest is not None
    assert newest.metadata is not None
    assert newest.metadata.name == "b"
    assert newest_pod([]) is None
