"""Making, listing and deleting jobs; each function is one verb of `a2l jobs`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from align2llava.pipeline.jobs.cluster import JOB_NAME, Cluster, connected
from align2llava.pipeline.jobs.states import Phase, state_of
from align2llava.pipeline.jobs.template import cron_job_in, job_from


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAddress:
    """Where jobs are: a kubeconfig and a namespace; None for the one in use."""

    kubeconfig: Path | None
    namespace: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One line of `a2l jobs list`."""

    name: str
    phase: Phase
    why: str
    created: datetime | None


async def planned(
    template: str,
    *,
    place: ClusterAddress,
    sets: Sequence[str],
    run: str | None,
    manifests: Path | None,
) -> Job:
    """Returns the job that `submit` would create; with manifests no API server is asked.

    Raises:
        ConfigError: no such template, or it or a setting does not fit.
        EndpointError: the API server cannot be reached or refuses.
    """
    if manifests is not None:
        job = job_from(cron_job_in(manifests, template), sets=sets, run=run)
        assert job.metadata is not None
        job.metadata.namespace = place.namespace or job.metadata.namespace
        return job
    async with connected(kubeconfig=place.kubeconfig, namespace=place.namespace) as cluster:
        return job_from(await cluster.cron_job(template), sets=sets, run=run)


async def create(job: Job, *, place: ClusterAddress) -> Job:
    """Creates a planned job in its namespace, and returns it with name and uid.

    Raises:
        ConfigError: its name is taken, or the server finds it invalid.
        EndpointError: unreachable, forbidden, or a quota is used up; nothing was created.
    """
    namespace = job.metadata.namespace if job.metadata is not None else None
    async with connected(kubeconfig=place.kubeconfig, namespace=namespace) as cluster:
        return await cluster.create(job)


async def listed(cluster: Cluster) -> list[Listed]:
    """Returns the jobs made from our templates, newest first."""
    pods: dict[str, list[Pod]] = {}
    for pod in await cluster.pods():
        labels = (pod.metadata.labels if pod.metadata is not None else None) or {}
        pods.setdefault(labels.get(JOB_NAME, ""), []).append(pod)
    found = [_listed(job, pods) for job in await cluster.jobs()]
    return sorted(found, key=lambda one: (str(one.created), one.name), reverse=True)


def _listed(job: Job, pods: dict[str, list[Pod]]) -> Listed:
    assert job.metadata is not None
    name = str(job.metadata.name)
    state = state_of(job, pods.get(name, []))
    return Listed(
        name=name, phase=state.phase, why=state.why, created=job.metadata.creationTimestamp
    )
