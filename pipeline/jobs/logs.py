"""The log of a job: of its newest pod, then of the pod that replaces it, until the job ends.

A dropped stream is asked for again from its start; lines already written are known by their times.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import aclosing

from lightkube.resources.core_v1 import Pod

from align2llava.pipeline.jobs.cluster import Cluster, NotThereError
from align2llava.pipeline.jobs.errors import JobFailedError, UnreachableError
from align2llava.pipeline.jobs.states import Phase, has_ended, has_started, newest_pod
from align2llava.pipeline.jobs.watching import Looks, PollInterval, look, raise_if_over

_STAMP = re.compile(r"(?P<second>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.(?P<part>\d{1,9}))?\S* ?")

Write = Callable[[str], None]


async def show_log(cluster: Cluster, name: str, *, write: Write) -> None:
    """Writes what the newest pod of the job said so far.

    Raises:
        JobFailedError: there is no log, and why.
    """
    sight = await look(cluster, name)
    pod = newest_pod(sight.pods)
    if pod is None or not has_started(pod):
        raise JobFailedError(f"job {name}: no log: {sight.state.phase}: {sight.state.why}")
    copy = _PodLog(cluster, pod, write=write)
    await copy.copy(follow=False)


async def follow_log(cluster: Cluster, name: str, *, pace: PollInterval, write: Write) -> None:
    """Writes the log until the job is complete.

    Raises:
        JobFailedError: the job failed, was deleted, or has a pod that cannot start.
    """
    looks = Looks(cluster, name, pace=pace)
    log: _PodLog | None = None
    while True:
        sight = await looks.next()
        pod = newest_pod(sight.pods)
        if pod is not None and (log is None or log.uid != _uid(pod)):
            log = _PodLog(cluster, pod, write=write)
        if log is not None and pod is not None and has_started(pod) and not log.is_whole:
            await log.follow(has_ended=has_ended(pod))
            if not log.is_whole:
                await asyncio.sleep(pace.retry_s)
        elif sight.state.phase is Phase.COMPLETE:
            return
        else:
            raise_if_over(name, sight.state)
            await looks.change(sight.job)


class _PodLog:
    """The log of one pod, each line written once."""

    def __init__(self, cluster: Cluster, pod: Pod, *, write: Write) -> None:
        assert pod.metadata is not None
        self.uid = _uid(pod)
        self.is_whole = False
        self._name = str(pod.metadata.name)
        self._cluster = cluster
        self._write = write
        self._last = ("", "")

    async def follow(self, *, has_ended: bool) -> None:
        """Writes on until the stream ends; a pod that had ended before has then said all."""
        try:
            await self.copy(follow=not has_ended)
        except NotThereError:  # deleted: nothing more will come
            self.is_whole = True
        except UnreachableError:  # dropped: the next look decides
            return
        self.is_whole = self.is_whole or has_ended

    async def copy(self, *, follow: bool) -> None:
        """Writes the lines that are newer than the last one written."""
        async with aclosing(self._cluster.log_lines(self._name, follow=follow)) as lines:
            async for line in lines:
                moment, text = _split(line)
                if moment is None:  # not from the container: the node tells why it has no more
                    self._write(text)
                elif moment > self._last:
                    self._last = moment
                    self._write(text)


def _split(line: str) -> tuple[tuple[str, str] | None, str]:
    """Returns the line's time, comparable to the nanosecond, and its text."""
    found = _STAMP.match(line)
    if found is None:
        return None, line
    return (found["second"], found["part"] or ""), line[found.end() :]


def _uid(pod: Pod) -> str:
    assert pod.metadata is not None
    return str(pod.metadata.uid)
