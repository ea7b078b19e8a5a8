"""Rendered manifests as rules see them: objects by kind, pods with their owners, effective environments.

Knows Kubernetes' shapes and none of our services.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import yaml

from tools.k8s_lint.trees import Json, Table, at, rows, table, text

# Where a pod template lies in the kinds that have one.
_TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One breach: which object, and what is wrong with it."""

    where: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod template and the object that owns it."""

    owner: Table
    labels: Table
    spec: Table

    @property
    def where(self) -> str:
        """The owner's kind and name."""
        return where(self.owner)

    @property
    def component(self) -> str:
        """Our label: `service`, `job`, or empty."""
        return text(self.labels, "app.kubernetes.io/component")

    @property
    def name(self) -> str:
        """The name of the service or job that it runs."""
        return text(self.labels, "app.kubernetes.io/name")

    @property
    def containers(self) -> list[Table]:
        """All its containers, those of start-up too."""
        return rows(self.spec, "initContainers") + rows(self.spec, "containers")

    def port_of(self, name: str) -> int:
        """Returns the number of a named port, or 0."""
        for container in self.containers:
            for port in rows(container, "ports"):
                found = at(port, "containerPort")
                if text(port, "name") == name and isinstance(found, int):
                    return found
        return 0

    def has_port(self, reference: Json) -> bool:
        """Returns whether a port, by name or by number, is one that a container declares."""
        if isinstance(reference, str):
            return self.port_of(reference) > 0
        numbers = [at(p, "containerPort") for c in self.containers for p in rows(c, "ports")]
        return reference in numbers

    @property
    def gpus(self) -> bool:
        """Whether one of its containers asks for a GPU."""
        limits = [table(container, "resources", "limits") for container in self.containers]
        return any("nvidia.com/gpu" in limit for limit in limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """What an overlay renders to, and what else the cluster is promised to hold."""

    objects: Sequence[Table]
    provided: frozenset[tuple[str, str]] = field(default_factory=frozenset[tuple[str, str]])

    def of(self, *kinds: str) -> list[Table]:
        """Returns the objects of these kinds."""
        return [item for item in self.objects if text(item, "kind") in kinds]

    def find(self, kind: str, name: str) -> Table | None:
        """Returns the object, or None."""
        return next((item for item in self.of(kind) if name_of(item) == name), None)

    def has(self, kind: str, name: str) -> bool:
        """Returns whether the object is rendered here or provided."""
        return (kind, name) in self.provided or self.find(kind, name) is not None

    @property
    def pods(self) -> list[Pod]:
        """Every pod template."""
        return [
            Pod(
                owner=item,
                labels=table(item, *path, "metadata", "labels"),
                spec=table(item, *path, "spec"),
            )
            for kind, path in _TEMPLATES.items()
            for item in self.of(kind)
        ]

    @property
    def service_pods(self) -> list[Pod]:
        """The pods of our services."""
        return [pod for pod in self.pods if pod.component == "service"]

    @property
    def job_pods(self) -> list[Pod]:
        """The pods of our jobs."""
        return [pod for pod in self.pods if pod.component == "job"]

    def selected(self, selector: Table) -> list[Pod]:
        """Returns the pods whose labels hold all of the selector's."""
        return [pod for pod in self.pods if selects(selector, pod.labels)]

    def environment(self, container: Table) -> dict[str, str]:
        """Returns a container's environment: ConfigMaps first, then `env`; secrets are empty here."""
        values: dict[str, str] = {}
        for source in rows(container, "envFrom"):
            found = self.find("ConfigMap", text(source, "configMapRef", "name"))
            values |= {key: text(value) for key, value in table(found, "data").items()}
        values |= {text(row, "name"): text(row, "value") for row in rows(container, "env")}
        return values


Rule = Callable[[Manifests], Iterator[Finding]]


def parse(rendered: str) -> list[Table]:
    """Returns the objects of a YAML stream."""
    documents: Iterable[Json] = yaml.safe_load_all(rendered)
    return [document for document in documents if isinstance(document, dict)]


def name_of(item: Table) -> str:
    """Returns an object's name."""
    return text(item, "metadata", "name")


def where(item: Table) -> str:
    """Returns kind and name of an object, as findings show it."""
    return f"{text(item, 'kind')}/{name_of(item)}"


def selects(selector: Table, labels: Table) -> bool:
    """Returns whether labels hold all of a non-empty selector's."""
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())
