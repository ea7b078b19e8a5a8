"""Waiting: only the last word counts, and what a watch loses is found by a look."""

import pytest
from lightkube.resources.batch_v1 import Job
from lightkube.types import CascadeType

from align2llava.pipeline.errors import EndpointError
from align2llava.pipeline.jobs.cluster import NotThereError, connected
from align2llava.pipeline.jobs.errors import JobFailedError, JobTimeoutError, UnreachableError
from align2llava.pipeline.jobs.states import JobState, Phase
from align2llava.pipeline.jobs.watching import PollInterval, wait
from tests.pipeline.jobs.world import NAME, World


class Story:
    """What happens next each time the waiter tells a new state."""

    def __init__(self, *steps: object) -> None:
        self.told: list[JobState] = []
        self._steps = iter(steps)

    def __call__(self, state: JobState) -> None:
        self.told.append(state)
        step = next(self._steps, None)
        if callable(step):
            step()

    @property
    def phases(self) -> list[Phase]:
        return [one.phase for one in self.told]


async def waited(
    world: World, story: Story, *, pace: PollInterval, timeout_s: float | None = 8
) -> JobState:
    async with connected(kubeconfig=world.kubeconfig, namespace=None) as cluster:
        return await wait(cluster, "monday", timeout_s=timeout_s, pace=pace, tell=story)


async def test_success_criteria_met_is_not_the_end(world: World, pace: PollInterval):
    world.start_job(NAME, run="monday")
    story = Story(
        lambda: world.condition("monday", "SuccessCriteriaMet", reason="CompletionsReached"),
        lambda: world.condition("monday", "Complete", reason="CompletionsReached"),
    )
    state = await waited(world, story, pace=pace)
    assert state.phase is Phase.COMPLETE
    assert story.phases == [Phase.WAITING, Phase.ENDING, Phase.COMPLETE]


async def test_failure_target_is_not_the_end_and_the_reason_is_told(
    world: World, pace: PollInterval
):
    world.start_job(NAME, run="monday")
    why = {"reason": "PodFailurePolicy", "message": "Container job failed with exit code 2"}

    def failing() -> None:
        world.add_pod("monday", "monday-a")
        world.end_pod("monday-a", exit_code=2)
        world.condition("monday", "FailureTarget", **why)

    story = Story(failing, lambda: world.condition("monday", "Failed", **why))
    with pytest.raises(JobFailedError) as caught:
        await waited(world, story, pace=pace)
    assert story.phases == [Phase.WAITING, Phase.ENDING, Phase.FAILED]
    assert str(caught.value) == (
        "job monday: failed: PodFailurePolicy: Container job failed with exit code 2; "
        "pod monday-a: container job exited 2 (Error)"
    )
    assert caught.value.exit_code == 1


async def test_image_that_cannot_be_pulled_ends_the_wait_and_leaves_the_job(
    world: World, pace: PollInterval
):
    world.start_job(NAME, run="monday")
    message = 'Back-off pulling image "align2llava-jobs"'

    def stalling() -> None:
        world.add_pod("monday", "monday-a")
        world.stall_pod("monday-a", reason="ImagePullBackOff", message=message)

    quick = PollInterval(poll_s=0.05, retry_s=0.01)
    with pytest.raises(JobFailedError, match=r"pod monday-a: .* ImagePullBackOff \(Back-off"):
        await waited(world, Story(stalling), pace=quick)
    assert len(world.jobs()) == 1


async def test_evicted_pod_is_named_and_its_replacement_waited_for(world: World):
    world.start_job(NAME, run="monday")

    def evicted() -> None:
        world.add_pod("monday", "monday-a")
        world.set_pod(
            "monday-a", phase="Failed", reason="Evicted", message="The node was low on memory."
        )

    def replaced() -> None:
        world.add_pod("monday", "monday-b")
        world.run_pod("monday-b")

    story = Story(
        evicted, replaced, lambda: world.condition("monday", "SuccessCriteriaMet", "Complete")
    )
    await waited(world, story, pace=PollInterval(poll_s=0.05, retry_s=0.01))
    assert story.told[1].why == "pod monday-a: Evicted: The node was low on memory."
    assert story.phases[1:] == [Phase.WAITING, Phase.RUNNING, Phase.COMPLETE]


async def test_time_out_says_what_it_waited_for(world: World):
    world.start_job(NAME, run="monday")
    quota = (
        'pods "monday-" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1'
    )
    world.refuse_pods("monday", quota)
    with pytest.raises(JobTimeoutError) as caught:
        await waited(world, Story(), pace=PollInterval(poll_s=0.05), timeout_s=1)
    assert str(caught.value) == f"job monday: not ended within 1 s; waiting: {quota}"
    assert caught.value.exit_code == 124
    assert len(world.jobs()) == 1


async def test_unknown_job_is_refused_with_those_there_are(world: World, pace: PollInterval):
    world.start_job(NAME, run="monday")
    async with connected(kubeconfig=world.kubeconfig, namespace=None) as cluster:
        with pytest.raises(NotThereError, match=r"job sunday: none in namespace default.*monday"):
            await wait(cluster, "sunday", timeout_s=None, pace=pace, tell=Story())


async def test_deleted_job_ends_the_wait(world: World, pace: PollInterval):
    world.start_job(NAME, run="monday")

    def delete() -> None:
        with world.client() as client:
            client.delete(Job, "monday", cascade=CascadeType.BACKGROUND)

    with pytest.raises(JobFailedError, match="deleted while it was watched"):
        await waited(world, Story(delete), pace=pace)


@pytest.mark.parametrize("fault", ["gone_watches", "refused_watches", "dropped_watches"])
async def test_watch_that_breaks_is_survived(fake_world: World, fault: str):
    fake_world.start_job(NAME, run="monday")
    setattr(fake_world.server.faults, fault, 3)
    fake_world.condition("monday", "SuccessCriteriaMet")
    slow = PollInterval(poll_s=5, retry_s=0.01)
    story = Story(lambda: fake_world.condition("monday", "Complete"))
    assert (await waited(fake_world, story, pace=slow)).phase is Phase.COMPLETE
    assert getattr(fake_world.server.faults, fault) < 3


async def test_silent_watch_is_survived_by_looking(fake_world: World):
    fake_world.start_job(NAME, run="monday")
    fake_world.server.faults.silent_watches = 100
    story = Story(lambda: fake_world.condition("monday", "SuccessCriteriaMet", "Complete"))
    await waited(fake_world, story, pace=PollInterval(poll_s=0.05, retry_s=0.01))
    assert fake_world.server.faults.silent_watches < 100


async def test_quiet_job_is_watched_and_not_asked_for_again_and_again(fake_world: World):
    fake_world.start_job(NAME, run="monday")
    with pytest.raises(JobTimeoutError):
        await waited(fake_world, Story(), pace=PollInterval(poll_s=5), timeout_s=1)
    assert fake_world.server.asked.count("get jobs") == 1


async def test_server_away_for_a_while_is_survived_and_for_good_is_not(
    fake_world: World, pace: PollInterval
):
    fake_world.start_job(NAME, run="monday")
    faults = fake_world.server.faults

    def away() -> None:
        fake_world.condition("monday", "Complete")
        faults.unavailable = 3

    assert (await waited(fake_world, Story(away), pace=pace)).phase is Phase.COMPLETE
    faults.unavailable = 1
    with pytest.raises(UnreachableError, match="503"):  # the first look bears nothing
        await waited(fake_world, Story(), pace=pace)


async def test_forbidden_is_told_at_once(fake_world: World, pace: PollInterval):
    fake_world.start_job(NAME, run="monday")
    said = 'jobs.batch "monday" is forbidden: User "eve" cannot get resource "jobs"'
    fake_world.server.faults.refuse["get", "jobs"] = (403, "Forbidden", said)
    with pytest.raises(EndpointError) as caught:
        await waited(fake_world, Story(), pace=pace)
    assert str(caught.value) == f"job monday: refused in namespace default (403): {said}"
    assert caught.value.exit_code == 4


async def test_who_may_not_watch_can_wait(fake_world: World):
    fake_world.start_job(NAME, run="monday")
    for what in (("watch", "jobs"), ("list", "events")):
        fake_world.server.faults.refuse[what] = (403, "Forbidden", "not you")
    story = Story(lambda: fake_world.condition("monday", "Complete"))
    await waited(fake_world, story, pace=PollInterval(poll_s=5, retry_s=0.01))
