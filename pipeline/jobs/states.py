"""What a job is doing and why, read from the Job, its pods and refusals; pure.

A server says `SuccessCriteriaMet` or `FailureTarget` while pods still end; only `Complete` and `Failed` are final.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from lightkube.models.core_v1 import ContainerStatus
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

# The kubelet has tried and waits before it tries the same again.
_STUCK = frozenset(
    {
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CreateContainerConfigError",
        "CreateContainerError",
    }
)
_MAX_WORDS = 400  # characters of one reason: a line, not a page


class Phase(StrEnum):
    """Where a job stands."""

    SUSPENDED = "suspended"
    WAITING = "waiting"
    RUNNING = "running"
    ENDING = "ending"
    STUCK = "stuck"
    FAILED = "failed"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """A job's phase, and in one line why; `why` is empty where there is nothing to say."""

    phase: Phase
    why: str

    @property
    def is_final(self) -> bool:
        """Whether the server has said the last word on this job."""
        return self.phase in (Phase.COMPLETE, Phase.FAILED)


def state_of(job: Job, pods: Sequence[Pod], *, refusals: Sequence[str] = ()) -> JobState:
    """Returns the job's state; `refusals` are messages of pods that could not be made."""
    true = _true_conditions(job)
    if "Complete" in true:
        return JobState(phase=Phase.COMPLETE, why="")
    newest = newest_pod(pods)
    pod_says = pod_trouble(newest) if newest is not None else ""
    if "Failed" in true:
        return JobState(phase=Phase.FAILED, why=_joined(true["Failed"], pod_says))
    if "SuccessCriteriaMet" in true or "FailureTarget" in true:
        why = true.get("SuccessCriteriaMet") or true.get("FailureTarget") or ""
        return JobState(phase=Phase.ENDING, why=why)
    if job.spec is not None and job.spec.suspend:
        return JobState(phase=Phase.SUSPENDED, why="waits for a queue, or was suspended")
    if newest is None:
        return JobState(phase=Phase.WAITING, why=_line(refusals[-1] if refusals else "no pod yet"))
    return _state_of_pod(newest, pod_says)


def _state_of_pod(pod: Pod, says: str) -> JobState:
    if any(_waiting_reason(one) in _STUCK for one in _containers(pod)):
        return JobState(phase=Phase.STUCK, why=says)
    if pod.status is not None and pod.status.phase == "Running":
        return JobState(phase=Phase.RUNNING, why=f"pod {_pod_name(pod)}")
    return JobState(phase=Phase.WAITING, why=says or f"pod {_pod_name(pod)} starts")


def newest_pod(pods: Sequence[Pod]) -> Pod | None:
    """Returns the pod made last; ties go to the greater name."""
    return max(pods, key=_age_key, default=None)


def _age_key(pod: Pod) -> tuple[str, str]:
    created = pod.metadata.creationTimestamp if pod.metadata is not None else None
    return (created.isoformat() if created is not None else "", _pod_name(pod))


def has_started(pod: Pod) -> bool:
    """Whether a container of the pod runs or ran, so that there is a log."""
    return any(
        one.state is not None
        and (one.state.running is not None or one.state.terminated is not None)
        for one in _containers(pod)
    )


def has_ended(pod: Pod) -> bool:
    """Whether the pod runs no more: nothing will be added to its log."""
    return pod.status is not None and pod.status.phase in ("Succeeded", "Failed")


def pod_trouble(pod: Pod) -> str:
    """Returns why the pod does not run, in one line that names it; empty if nothing is wrong."""
    status = pod.status
    if status is None:
        return ""
    said = [_container_trouble(one) for one in _containers(pod)]
    if status.reason:  # the pod as a whole: evicted, its node lost, its deadline over
        said.insert(0, f"{status.reason}: {status.message or ''}".rstrip(": "))
    for condition in status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            said.append(f"{condition.reason}: {condition.message}")
        if condition.type == "DisruptionTarget" and condition.status == "True":
            said.append(f"{condition.reason}: {condition.message}")
    words = ", ".join(one for one in said if one)
    return _line(f"pod {_pod_name(pod)}: {words}") if words else ""


def _container_trouble(status: ContainerStatus) -> str:
    state = status.state
    if state is None:
        return ""
    if state.waiting is not None and state.waiting.reason not in (None, "ContainerCreating"):
        message = f" ({state.waiting.message})" if state.waiting.message else ""
        return f"container {status.name} waits: {state.waiting.reason}{message}"
    ended = state.terminated
    if ended is not None and ended.exitCode != 0:
        return f"container {status.name} exited {ended.exitCode} ({ended.reason or 'Error'})"
    return ""


def _containers(pod: Pod) -> list[ContainerStatus]:
    if pod.status is None:
        return []
    return [*(pod.status.initContainerStatuses or ()), *(pod.status.containerStatuses or ())]


def _waiting_reason(status: ContainerStatus) -> str | None:
    waiting = status.state.waiting if status.state is not None else None
    return waiting.reason if waiting is not None else None


def _pod_name(pod: Pod) -> str:
    return (pod.metadata.name if pod.metadata is not None else None) or ""


def _true_conditions(job: Job) -> dict[str, str]:
    conditions = job.status.conditions if job.status is not None else None
    return {
        one.type: _line(": ".join(word for word in (one.reason, one.message) if word))
        for one in conditions or ()
        if one.status == "True"
    }


def _joined(*words: str) -> str:
    return "; ".join(one for one in words if one)


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_WORDS else f"{line[:_MAX_WORDS]}..."
