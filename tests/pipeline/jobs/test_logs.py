"""The log of a job: each line once, over dropped streams and replaced pods."""

import pytest

from align2llava.pipeline.errors import EndpointError
from align2llava.pipeline.jobs.cluster import connected
from align2llava.pipeline.jobs.errors import JobFailedError
from align2llava.pipeline.jobs.logs import follow_log, show_log
from align2llava.pipeline.jobs.watching import PollInterval
from tests.pipeline.jobs.world import NAME, World

QUICK = PollInterval(poll_s=0.05, retry_s=0.01, max_failures=3)


class Script:
    """Collects lines; at some of them, the world changes."""

    def __init__(self, **steps: object) -> None:
        self.lines: list[str] = []
        self._steps = steps

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        step = self._steps.get(line)
        if callable(step):
            step()


def stamped(*lines: str) -> list[str]:
    """Lines as a node writes them: nanoseconds without the zeros at their end."""
    return [
        f"2026-11-23T02:00:00.{i:09d}".rstrip("0") + f"Z {text}" for i, text in enumerate(lines, 1)
    ]


async def followed(world: World, script: Script) -> None:
    async with connected(kubeconfig=world.kubeconfig, namespace=None) as cluster:
        await follow_log(cluster, "monday", pace=QUICK, write=script)


def running(world: World, *lines: str) -> None:
    world.start_job(NAME, run="monday")
    world.add_pod("monday", "monday-a")
    world.run_pod("monday-a")
    world.server.logs["monday-a"] = stamped(*lines)


async def test_follow_ends_when_the_job_ends(fake_world: World):
    def done() -> None:
        fake_world.end_pod("monday-a", exit_code=0)
        fake_world.condition("monday", "SuccessCriteriaMet", "Complete")

    running(fake_world, "start", "end")
    script = Script(end=done)
    await followed(fake_world, script)
    assert script.lines == ["start", "end"]


async def test_follow_goes_on_to_the_replacement_pod(fake_world: World):
    def replaced() -> None:
        fake_world.end_pod("monday-a", exit_code=75)
        fake_world.add_pod("monday", "monday-b")
        fake_world.run_pod("monday-b")
        fake_world.server.logs["monday-b"] = stamped("resumed")

    def done() -> None:
        fake_world.end_pod("monday-b", exit_code=0)
        fake_world.condition("monday", "Complete")

    running(fake_world, "start", "checkpointed")
    script = Script(checkpointed=replaced, resumed=done)
    await followed(fake_world, script)
    assert script.lines == ["start", "checkpointed", "resumed"]


async def test_dropped_stream_repeats_and_loses_no_line(fake_world: World):
    def done() -> None:
        fake_world.end_pod("monday-a", exit_code=0)
        fake_world.condition("monday", "Complete")

    lines = [f"step {i}" for i in range(1, 31)]
    running(fake_world, *lines)
    fake_world.server.faults.dropped_logs = 2
    script = Script(**{"step 30": done})
    await followed(fake_world, script)
    assert script.lines == lines
    assert fake_world.server.asked.count("log pods") >= 3


async def test_failed_job_ends_the_follow_with_its_reason(fake_world: World):
    def failed() -> None:
        fake_world.end_pod("monday-a", exit_code=2)
        fake_world.condition("monday", "FailureTarget", "Failed", reason="PodFailurePolicy")

    running(fake_world, "no such key: stepz")
    script = Script(**{"no such key: stepz": failed})
    with pytest.raises(JobFailedError, match=r"PodFailurePolicy; pod monday-a: .* exited 2"):
        await followed(fake_world, script)


async def test_line_of_the_node_without_a_time_is_shown(fake_world: World):
    running(fake_world, "start")
    fake_world.server.logs["monday-a"].append("unable to retrieve container logs")
    script = Script()
    async with connected(kubeconfig=fake_world.kubeconfig, namespace=None) as cluster:
        await show_log(cluster, "monday", write=script)
    assert script.lines == ["start", "unable to retrieve container logs"]


async def test_job_without_a_pod_has_no_log_and_says_why(fake_world: World):
    fake_world.start_job(NAME, run="monday")
    async with connected(kubeconfig=fake_world.kubeconfig, namespace=None) as cluster:
        with pytest.raises(JobFailedError, match="job monday: no log: waiting: no pod yet"):
            await show_log(cluster, "monday", write=Script())


async def test_refused_log_is_told_while_following_too(fake_world: World):
    running(fake_world, "start")
    fake_world.server.faults.refuse["log", "pods"] = (403, "Forbidden", "no logs for eve")
    with pytest.raises(EndpointError, match=r"log of pod monday-a: refused .* no logs for eve"):
        await followed(fake_world, Script())
