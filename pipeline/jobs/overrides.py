"""What `--set KEY=VALUE` may change in a job made from a template; knows no cluster.

| key | changes |
|---|---|
| `image` | the image of the container `job` |
| `config` | the ConfigMap that the container reads: its volume `config`, or its environment |
| `arg` | adds one argument; may be given again |
| `env.NAME` | an environment variable of the container |
| `gpus`, `cpu`, `memory` | requests (and limits, but for cpu) of the container |
| `backoffLimit`, `activeDeadlineSeconds`, `ttlSecondsAfterFinished` | the fields of the Job |
"""

import re
from collections.abc import Callable, Sequence

from lightkube.models.core_v1 import Container, EnvVar, ResourceRequirements
from lightkube.resources.batch_v1 import Job

from align2llava.pipeline.errors import ConfigError

CONTAINER = "job"
_GPU = "nvidia.com/gpu"
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")


def apply_sets(job: Job, sets: Sequence[str]) -> None:
    """Changes the job as told, in order.

    Raises:
        ConfigError: a key is unknown, a value does not fit, or the job has nothing of the kind.
    """
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not value:
            raise ConfigError(f"--set {text}: KEY=VALUE is needed")
        change = _changes().get(key)
        if key.startswith("env."):
            _set_env(job, key.removeprefix("env."), value)
        elif change is None:
            raise ConfigError(
                f"--set {text}: unknown key {key}; the keys are env.NAME, {', '.join(_changes())}"
            )
        else:
            change(job, value)


def _changes() -> dict[str, Callable[[Job, str], None]]:
    return {
        "image": _set_image,
        "config": _set_config,
        "arg": _add_arg,
        "gpus": _set_gpus,
        "cpu": _set_cpu,
        "memory": _set_memory,
        "backoffLimit": _set_backoff_limit,
        "activeDeadlineSeconds": _set_deadline,
        "ttlSecondsAfterFinished": _set_ttl,
    }


def container_of(job: Job) -> Container:
    """Returns the container that does the work.

    Raises:
        ConfigError: the job has none of that name.
    """
    spec = job.spec.template.spec if job.spec is not None else None
    found = [one for one in (spec.containers if spec else []) if one.name == CONTAINER]
    if not found:
        raise ConfigError(f"the template has no container named {CONTAINER}")
    return found[0]


def _set_image(job: Job, value: str) -> None:
    container_of(job).image = value


def _add_arg(job: Job, value: str) -> None:
    container = container_of(job)
    container.args = [*(container.args or ()), value]


def _set_env(job: Job, name: str, value: str) -> None:
    if not _ENV_NAME.fullmatch(name):
        raise ConfigError(f"--set env.{name}={value}: {name} is no name of a variable")
    container = container_of(job)
    others = [one for one in container.env or () if one.name != name]
    container.env = [*others, EnvVar(name=name, value=value)]


def _set_config(job: Job, value: str) -> None:
    container = container_of(job)
    assert job.spec is not None
    assert job.spec.template.spec is not None
    volumes = job.spec.template.spec.volumes or []
    maps = [one.configMap for one in volumes if one.name == "config" and one.configMap is not None]
    sources = [one.configMapRef for one in container.envFrom or () if one.configMapRef is not None]
    for holder in [*maps, *sources]:
        holder.name = value
    if not maps and not sources:
        raise ConfigError(f"--set config={value}: the template reads no ConfigMap")


def _set_gpus(job: Job, value: str) -> None:
    _whole("gpus", value)
    _set_resource(job, _GPU, value=value, limited=True)


def _set_cpu(job: Job, value: str) -> None:
    _set_resource(job, "cpu", value=_quantity("cpu", value), limited=False)


def _set_memory(job: Job, value: str) -> None:
    _set_resource(job, "memory", value=_quantity("memory", value), limited=True)


def _set_resource(job: Job, name: str, *, value: str, limited: bool) -> None:
    container = container_of(job)
    resources = container.resources or ResourceRequirements()
    resources.requests = {**(resources.requests or {}), name: value}
    if limited:
        resources.limits = {**(resources.limits or {}), name: value}
    container.resources = resources


def _set_backoff_limit(job: Job, value: str) -> None:
    assert job.spec is not None
    job.spec.backoffLimit = _whole("backoffLimit", value)


def _set_deadline(job: Job, value: str) -> None:
    assert job.spec is not None
    job.spec.activeDeadlineSeconds = _whole("activeDeadlineSeconds", value)


def _set_ttl(job: Job, value: str) -> None:
    assert job.spec is not None
    job.spec.ttlSecondsAfterFinished = _whole("ttlSecondsAfterFinished", value)


def _whole(key: str, value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise ConfigError(f"--set {key}={value}: a whole number from 0 is needed")
    return int(value)


def _quantity(key: str, value: str) -> str:
    if not _QUANTITY.fullmatch(value):
        raise ConfigError(f"--set {key}={value}: a quantity such as 4, 500m or 16Gi is needed")
    return value
