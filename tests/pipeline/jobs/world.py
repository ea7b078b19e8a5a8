"""The controllers' part in these tests: templates, pods and conditions, written through the API.

Works alike on the fake and on a real API server; conditions come in the order real controllers
write them.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from lightkube import Client, KubeConfig
from lightkube.models.batch_v1 import JobStatus
from lightkube.models.core_v1 import Container, ObjectReference, PodSpec
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import Event, Pod
from lightkube.types import PatchType

from align2llava.pipeline.jobs.cluster import JOB_NAME
from align2llava.pipeline.jobs.template import cron_job_in, job_from
from tests.pipeline.jobs.fake_api import FakeApi

K8S = Path(__file__).resolve().parents[3] / "k8s"
TEMPLATE = K8S / "jobs" / "train-question-reward" / "cronjob.yaml"
NAME = "train-question-reward"
PART_OF = {"app.kubernetes.io/part-of": "align2llava", "app.kubernetes.io/component": "job"}


def write_kubeconfig(path: Path, url: str, *, token: str) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [
            {"name": "test", "cluster": {"server": url, "insecure-skip-tls-verify": True}}
        ],
        "users": [{"name": "test", "user": {"token": token}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


@dataclass(frozen=True, slots=True)
class World:
    """One API server, and what a test does to it."""

    kubeconfig: Path
    fake: FakeApi | None

    @property
    def server(self) -> FakeApi:
        assert self.fake is not None
        return self.fake

    def client(self) -> Client:
        return Client(KubeConfig.from_file(self.kubeconfig))

    def add_template(self) -> CronJob:
        template = cron_job_in(TEMPLATE, NAME)
        made = template.spec.jobTemplate.metadata
        assert made is not None
        made.labels = {**(made.labels or {}), **PART_OF}
        with self.client() as client:
            return client.create(template)

    def start_job(self, template: str, *, run: str) -> None:
        made = job_from(cron_job_in(TEMPLATE, template), sets=(), run=run)
        assert made.metadata is not None
        made.metadata.labels = {**(made.metadata.labels or {}), **PART_OF}
        with self.client() as client:
            client.create(made)

    def jobs(self) -> list[Job]:
        with self.client() as client:
            return list(client.list(Job))

    def pods(self) -> list[Pod]:
        with self.client() as client:
            return list(client.list(Pod))

    def add_pod(self, job: str, name: str, **status: Any) -> None:
        with self.client() as client:
            owner = client.get(Job, job)
            assert owner.metadata is not None
            meta = ObjectMeta(
                name=name,
                labels={JOB_NAME: job, **PART_OF},
                ownerReferences=[
                    OwnerReference("batch/v1", "Job", job, str(owner.metadata.uid), controller=True)
                ],
            )
            spec = PodSpec(containers=[Container(name="job", image="none")], restartPolicy="Never")
            client.create(Pod(metadata=meta, spec=spec))
        self.set_pod(name, **(status or {"phase": "Pending"}))

    def set_pod(self, name: str, **status: Any) -> None:
        with self.client() as client:
            client.patch(Pod.Status, name, {"status": status}, patch_type=PatchType.MERGE)

    def run_pod(self, name: str) -> None:
        started = {"startedAt": _now()}
        self.set_pod(name, phase="Running", containerStatuses=[_container(running=started)])

    def end_pod(self, name: str, *, exit_code: int) -> None:
        ended = {"exitCode": exit_code, "reason": "Error" if exit_code else "Completed"}
        phase = "Failed" if exit_code else "Succeeded"
        self.set_pod(name, phase=phase, containerStatuses=[_container(terminated=ended)])

    def stall_pod(self, name: str, *, reason: str, message: str) -> None:
        waiting = {"reason": reason, "message": message}
        self.set_pod(name, phase="Pending", containerStatuses=[_container(waiting=waiting)])

    def condition(self, job: str, *types: str, reason: str = "", message: str = "") -> None:
        """Adds conditions, as a controller does: those before stay."""
        with self.client() as client:
            status = client.get(Job, job).status or JobStatus()
            given = [one.to_dict() for one in status.conditions or ()]
            added = [
                {"type": one, "status": "True", "reason": reason, "message": message}
                for one in types
            ]
            new: dict[str, Any] = {"conditions": [*given, *added]}
            if status.startTime is None:  # set once: a server refuses another
                new["startTime"] = _now()
            if "Complete" in types:
                new["completionTime"] = _now()
            client.patch(Job.Status, job, {"status": new}, patch_type=PatchType.MERGE)

    def refuse_pods(self, job: str, message: str) -> None:
        with self.client() as client:
            owner = client.get(Job, job).metadata
            assert owner is not None
            about = ObjectReference(
                kind="Job", name=job, namespace="default", uid=owner.uid, apiVersion="batch/v1"
            )
            event = Event(
                involvedObject=about,
                metadata=ObjectMeta(name=f"{job}.1", namespace="default"),
                reason="FailedCreate",
                message=message,
                type="Warning",
            )
            client.create(event)


def _container(**state: Any) -> dict[str, Any]:
    return {
        "name": "job",
        "image": "none",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": state,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
