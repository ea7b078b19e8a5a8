"""One namespace of one API server, asked through lightkube; every refusal becomes one typed line.

Knows no policy: what to ask, how often and when to stop is decided in `watching` and `logs`.
"""

import os
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import msgspec
import yaml
from lightkube import ApiError, AsyncClient, KubeConfig
from lightkube.config.models import User
from lightkube.core.client import LabelSelector
from lightkube.core.exceptions import ConfigError as KubeConfigError
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import Event, Pod
from lightkube.types import CascadeType

from align2llava.clients.address import REST_SCHEMES, Address
from align2llava.clients.wire.wording import one_line
from align2llava.pipeline.errors import ConfigError, EndpointError, PipelineError
from align2llava.pipeline.jobs.errors import UnreachableError
from align2llava.pipeline.jobs.overrides import CONTAINER
from align2llava.pipeline.proxies import proxy_of

_OURS: LabelSelector = {
    "app.kubernetes.io/part-of": "align2llava",
    "app.kubernetes.io/component": "job",
}
JOB_NAME = "batch.kubernetes.io/job-name"


class NotThereError(ConfigError):
    """The cluster has no object of that name."""


class Cluster:
    """Jobs, templates, pods and logs of one namespace."""

    def __init__(self, client: AsyncClient, *, server: str) -> None:
        self._client = client
        self._server = server

    @property
    def namespace(self) -> str:
        """Returns the namespace that is asked."""
        return self._client.namespace

    async def cron_job(self, name: str) -> CronJob:
        """Returns the template of that name."""
        try:
            with self._asking(f"cronjob {name}"):
                return await self._client.get(CronJob, name)
        except NotThereError:
            have = await self._names(CronJob)
            raise NotThereError(
                f"cronjob {name}: none in namespace {self.namespace}; there are: {have}"
            ) from None

    async def job(self, name: str) -> Job:
        """Returns the job of that name."""
        try:
            with self._asking(f"job {name}"):
                return await self._client.get(Job, name)
        except NotThereError:
            have = await self._names(Job)
            raise NotThereError(
                f"job {name}: none in namespace {self.namespace}; there are: {have}"
            ) from None

    async def jobs(self) -> list[Job]:
        """Returns the jobs made from our templates."""
        with self._asking("jobs"):
            return [one async for one in self._client.list(Job, labels=_OURS)]

    async def create(self, job: Job) -> Job:
        """Creates the job and returns it as the server named it."""
        assert job.metadata is not None
        with self._asking(f"job {job.metadata.name or f'{job.metadata.generateName}*'}"):
            job.metadata.namespace = self.namespace
            return await self._client.create(job)

    async def delete(self, name: str) -> None:
        """Deletes the job with its pods; without a policy the server would leave the pods behind."""
        with self._asking(f"job {name}"):
            await self._client.delete(Job, name, cascade=CascadeType.BACKGROUND)

    async def pods(self, job: str | None = None) -> list[Pod]:
        """Returns the pods of one job, or of all our jobs."""
        labels: LabelSelector = _OURS if job is None else {JOB_NAME: job}
        with self._asking("pods" if job is None else f"pods of job {job}"):
            return [one async for one in self._client.list(Pod, labels=labels)]

    async def refusals(self, job: Job) -> list[str]:
        """Returns why pods of the job could not be made, oldest first."""
        assert job.metadata is not None
        name = str(job.metadata.name)
        with self._asking(f"events of job {name}"):
            found = self._client.list(
                Event, fields={"involvedObject.name": name, "reason": "FailedCreate"}
            )
            events = [one async for one in found]
        mine = [one for one in events if one.involvedObject.uid == job.metadata.uid]
        return [one.message or "" for one in sorted(mine, key=_event_key)]

    async def changes(self, job: Job, *, limit_s: float) -> AsyncGenerator[Job]:
        """Yields the job at each change after the one given; the server ends it after `limit_s`."""
        assert job.metadata is not None
        name = str(job.metadata.name)
        watched = self._client.watch(
            Job,
            fields={"metadata.name": name},
            resource_version=job.metadata.resourceVersion,
            server_timeout=max(1, round(limit_s)),
        )
        assert isinstance(watched, AsyncGenerator)
        with self._asking(f"watch of job {name}"):
            async with aclosing(watched) as events:
                async for _, changed in events:
                    yield changed

    async def log_lines(self, pod: str, *, follow: bool) -> AsyncGenerator[str]:
        """Yields the lines of the pod's log, each with its time before it."""
        log = self._client.log(
            pod, container=CONTAINER, follow=follow, timestamps=True, newlines=False
        )
        assert isinstance(log, AsyncGenerator)
        with self._asking(f"log of pod {pod}"):
            try:
                async with aclosing(log) as lines:
                    async for line in lines:
                        yield line
            except RuntimeError:
                # lightkube 1.0.1 reads a refusal to follow as if it were synchronous: without
                # following, the same call says what was refused.
                plain = self._client.log(pod, container=CONTAINER, tail_lines=1)
                async for _ in plain:
                    break

    async def _names(self, kind: type[CronJob] | type[Job]) -> str:
        with self._asking(f"{kind.__name__.lower()}s"):
            found = [one async for one in self._client.list(kind)]
        names = [str(one.metadata.name) for one in found if one.metadata is not None]
        return ", ".join(sorted(names)) or "none"

    @contextmanager
    def _asking(self, what: str) -> Generator[None]:
        try:
            yield
        except ApiError as error:
            raise self._refusal(what, error) from error
        except httpx2.HTTPStatusError as error:  # a proxy's page, no Status of an API server
            raise UnreachableError(
                f"{what}: {self._server} answered HTTP {error.response.status_code} "
                "without the status of an API server"
            ) from error
        except httpx2.HTTPError as error:
            words = one_line(error)
            raise UnreachableError(
                f"{what}: the API server {self._server} cannot be reached: {words}"
            ) from error
        except (KubeConfigError, OSError) as error:  # a token file or the login command it names
            raise ConfigError(f"{what}: the kubeconfig's login failed: {error}") from error
        except (msgspec.MsgspecError, KeyError) as error:  # KeyError: an error without content type
            raise EndpointError(
                f"{what}: {self._server} answered what no API server says: {error}"
            ) from error

    def _refusal(self, what: str, error: ApiError) -> PipelineError:
        code = error.status.code
        said = " ".join((error.status.message or "no reason given").split())
        line = f"{what}: refused in namespace {self.namespace} ({code}): {said}"
        if code == 404:
            return NotThereError(line)
        if code in (409, 422):
            return ConfigError(line)
        if code is None or code in (408, 410, 429) or code >= 500:
            return UnreachableError(line)
        return EndpointError(line)


@asynccontextmanager
async def connected(*, kubeconfig: Path | None, namespace: str | None) -> AsyncGenerator[Cluster]:
    """Yields the cluster of the kubeconfig's current context; closes its connections.

    Without a file: the service account of the pod, else `~/.kube/config`.

    Raises:
        ConfigError: there is no such configuration, or it is broken.
    """
    client, server = _client(kubeconfig, namespace=namespace)
    try:
        yield Cluster(client, server=server)
    finally:
        await client.close()


def _client(path: Path | None, *, namespace: str | None) -> tuple[AsyncClient, str]:
    where = str(path) if path is not None else "kubeconfig"
    try:
        found = KubeConfig.from_env() if path is None else KubeConfig.from_file(path)
        config = found.get()
        assert config is not None
        if config.user is None:  # lightkube would stop at an assertion
            config = config._replace(user=User())
        server = config.cluster.server
        # The environment's proxy as for every other call, and none of its passwords (`.netrc`).
        proxy = _proxy_of(server)
        client = AsyncClient(config, namespace=namespace, trust_env=False, proxy=proxy)
    except (KubeConfigError, OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigError(f"{where}: {' '.join(str(error).split())}") from error
    # As lightkube reads its parts.
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: not a kubeconfig: {error!r}") from error
    return client, server


def _proxy_of(server: str) -> str | None:
    parts = urlsplit(server)
    if parts.scheme not in REST_SCHEMES or not parts.hostname:
        raise TypeError(f"the server is {server!r}")
    # A path, as some gateways have it, says nothing of the proxy.
    address = Address(scheme=parts.scheme, host=parts.hostname, port=parts.port)
    return proxy_of(address, os.environ)


def _event_key(event: Event) -> str:
    moment = event.lastTimestamp or event.eventTime or event.firstTimestamp
    return moment.isoformat() if moment is not None else ""
