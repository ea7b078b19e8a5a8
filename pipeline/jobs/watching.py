"""Waiting for a job: a watch to be told at once, and a look every while for what a watch may lose.

A watch ends early (410 Gone, a dropped connection, a proxy) or goes silent; neither is an answer, so
after each end the job is read anew.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from align2llava.pipeline.errors import EndpointError
from align2llava.pipeline.jobs.cluster import Cluster, NotThereError
from align2llava.pipeline.jobs.errors import JobFailedError, JobTimeoutError, UnreachableError
from align2llava.pipeline.jobs.states import JobState, Phase, state_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PollInterval:
    """How often the API server is asked."""

    poll_s: float = 10.0
    """A look at job and pods at the latest after this time."""
    retry_s: float = 2.0
    """Pause after a watch or a look that failed."""
    max_failures: int = 15
    """Looks in a row that may find the API server unreachable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A job, its pods, and what they say."""

    job: Job
    pods: list[Pod]
    state: JobState


async def look(cluster: Cluster, name: str) -> Sight:
    """Returns the job as it is now.

    Raises:
        NotThereError: there is no such job.
        EndpointError: the API server cannot be reached or refuses.
    """
    job = await cluster.job(name)
    pods = await cluster.pods(name)
    refusals: list[str] = []
    if not pods:
        try:
            refusals = await cluster.refusals(job)
        except EndpointError:  # events only explain; who may not read them can still wait
            refusals = []
    return Sight(job=job, pods=pods, state=state_of(job, pods, refusals=refusals))


class Looks:
    """Looks at one job again and again; bears an API server that is away for a while.

    The first look bears nothing: a wrong name or address is told at once.
    """

    def __init__(self, cluster: Cluster, name: str, *, pace: PollInterval) -> None:
        self._cluster = cluster
        self._name = name
        self._pace = pace
        self._uid: str | None = None

    async def next(self) -> Sight:
        """Returns the job as it is now.

        Raises:
            JobFailedError: the job is gone, or another has its name now.
            EndpointError: refused, or unreachable for too many looks in a row.
        """
        failures = 0
        while True:
            try:
                sight = await look(self._cluster, self._name)
            except UnreachableError:
                failures += 1
                if self._uid is None or failures > self._pace.max_failures:
                    raise
                await asyncio.sleep(self._pace.retry_s)
            except NotThereError as error:
                if self._uid is None:
                    raise
                raise JobFailedError(f"job {self._name}: deleted while it was watched") from error
            else:
                return self._same(sight)

    def _same(self, sight: Sight) -> Sight:
        uid = sight.job.metadata.uid if sight.job.metadata is not None else None
        if self._uid not in (None, uid):
            raise JobFailedError(f"job {self._name}: deleted, and made again, while it was watched")
        self._uid = uid
        return sight

    async def change(self, job: Job) -> None:
        """Returns when the job changed, or when it is time to look again."""
        try:
            async with asyncio.timeout(self._pace.poll_s):
                async with aclosing(self._cluster.changes(job, limit_s=self._pace.poll_s)) as told:
                    async for _ in told:
                        return
        except TimeoutError:
            return
        except EndpointError:  # 410, dropped, or watching is not allowed: the next look decides
            await asyncio.sleep(self._pace.retry_s)


async def wait(
    cluster: Cluster,
    name: str,
    *,
    timeout_s: float | None,
    pace: PollInterval,
    tell: Callable[[JobState], None],
) -> JobState:
    """Returns once the job is complete; `tell` is called at each change of its state.

    Raises:
        JobFailedError: it failed, was deleted, or has a pod that cannot start; the job is left as it is.
        JobTimeoutError: it had not ended in time.
        EndpointError: the API server refuses or is away for too long.
    """
    looks = Looks(cluster, name, pace=pace)
    told: JobState | None = None
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                sight = await looks.next()
                if sight.state != told:
                    told = sight.state
                    tell(told)
                if sight.state.phase is Phase.COMPLETE:
                    return sight.state
                raise_if_over(name, sight.state)
                await looks.change(sight.job)
    except TimeoutError as error:
        last = f"{told.phase}: {told.why}" if told is not None else "the API server did not answer"
        raise JobTimeoutError(f"job {name}: not ended within {timeout_s:g} s; {last}") from error


def raise_if_over(name: str, state: JobState) -> None:
    """Refuses a state from which the job does not come back by itself.

    Raises:
        JobFailedError: failed, or stuck.
    """
    if state.phase is Phase.FAILED:
        raise JobFailedError(f"job {name}: failed: {state.why}")
    if state.phase is Phase.STUCK:
        raise JobFailedError(
            f"job {name}: cannot start: {state.why}; it is still there: a2l jobs delete {name}"
        )
