"""A Job from a suspended CronJob, as `kubectl create job --from=cronjob/NAME` makes it.

The template comes from the cluster (`pipeline.jobs.cluster`) or from manifests; knows no API server.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec
import yaml
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.batch_v1 import CronJob, Job

from align2llava.pipeline.errors import ConfigError
from align2llava.pipeline.jobs.overrides import apply_sets, container_of
from align2llava.pipeline.process.children import foreign_environ
from align2llava.pipeline.yaml_text import yaml_documents

_MANUAL = {"cronjob.kubernetes.io/instantiate": "manual"}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_MAX_NAME = 63


def job_from(template: CronJob, *, sets: Sequence[str], run: str | None) -> Job:
    """Returns the job to create: named `run`, or NAME- and what the server adds.

    A template of the cluster owns its jobs, one of a file (without uid) owns none.

    Raises:
        ConfigError: a setting or the name does not fit, or the template has no work to do.
    """
    assert template.metadata is not None
    assert template.metadata.name is not None
    name = template.metadata.name
    spec = template.spec.jobTemplate.spec
    if spec is None:
        raise ConfigError(f"cronjob {name}: no spec.jobTemplate.spec")
    if run is not None and (len(run) > _MAX_NAME or not _NAME.fullmatch(run)):
        raise ConfigError(
            f"job name {run}: up to {_MAX_NAME} of a-z, 0-9 and -, letters or digits at its ends"
        )
    made = template.spec.jobTemplate
    meta = made.metadata or ObjectMeta()
    job = Job(
        apiVersion="batch/v1",
        kind="Job",
        metadata=ObjectMeta(
            name=run,
            generateName=None if run else f"{name}-",
            namespace=template.metadata.namespace,
            labels=meta.labels,
            annotations={**(meta.annotations or {}), **_MANUAL},
            ownerReferences=_owners(name, template.metadata.uid),
        ),
        spec=spec,
    )
    container_of(job)
    apply_sets(job, sets)
    return job


def _owners(name: str, uid: str | None) -> list[OwnerReference] | None:
    if uid is None:
        return None
    owner = OwnerReference(
        apiVersion="batch/v1", kind="CronJob", name=name, uid=uid, controller=True
    )
    return [owner]


def job_text(job: Job) -> str:
    """Returns the job as YAML that `kubectl create -f -` takes."""
    return yaml.safe_dump(job.to_dict(), sort_keys=False, allow_unicode=True)


def cron_job_in(manifests: Path, name: str) -> CronJob:
    """Returns the CronJob of that name out of a YAML file, or out of a kustomization.

    Raises:
        ConfigError: it does not render, or has no such CronJob.
    """
    documents = _documents(manifests)
    found = {
        str(meta.get("name")): one
        for one in documents
        if isinstance(one, dict) and one.get("kind") == "CronJob"
        if isinstance(meta := one.get("metadata"), dict)
    }
    if name not in found:
        have = ", ".join(sorted(found)) or "none"
        raise ConfigError(f"{manifests}: no cronjob {name}; there are: {have}")
    try:
        return msgspec.convert(found[name], CronJob)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{manifests}: cronjob {name} does not render: {error}") from error


def _documents(manifests: Path) -> list[object]:
    try:
        text = _rendered(manifests) if manifests.is_dir() else manifests.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{manifests}: cannot be read: {error}") from error
    return yaml_documents(text, source=str(manifests))


def _rendered(folder: Path) -> str:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise ConfigError(
            f"{folder}: a folder needs kubectl on the PATH; or give the file that "
            f"`kubectl kustomize {folder}` wrote"
        )
    command = [kubectl, "kustomize", str(folder)]
    environ = foreign_environ(os.environ)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)  # noqa: S603 - kubectl as found on the PATH
    if done.returncode != 0:
        raise ConfigError(f"{folder}: does not render: {' '.join(done.stderr.split())}")
    return done.stdout
