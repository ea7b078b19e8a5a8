"""References: what is named exists, and what selects, selects something."""

from collections.abc import Iterator

from tools.k8s_lint.manifests import Finding, Manifests, name_of, selects, where
from tools.k8s_lint.trees import Json, Table, rows, table, text

_OPTIONAL = "optional"


def named_objects(manifests: Manifests) -> Iterator[Finding]:
    """Every ConfigMap, Secret, claim and priority class that a pod names exists."""
    for pod in manifests.pods:
        for kind, name in _references(pod.spec):
            if not manifests.has(kind, name):
                yield Finding(where=pod.where, what=f"there is no {kind} {name!r}")


def _references(spec: Table) -> Iterator[tuple[str, str]]:
    if "priorityClassName" in spec:
        yield "PriorityClass", text(spec, "priorityClassName")
    for volume in rows(spec, "volumes"):
        if "configMap" in volume:
            yield "ConfigMap", text(volume, "configMap", "name")
        if "secret" in volume:
            yield "Secret", text(volume, "secret", "secretName")
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", text(volume, "persistentVolumeClaim", "claimName")
    for container in rows(spec, "initContainers") + rows(spec, "containers"):
        sources: list[Json] = [*rows(container, "envFrom")]
        sources += [table(row, "valueFrom") for row in rows(container, "env")]
        for source in sources:
            yield from _environment_references(source)


def _environment_references(source: Json) -> Iterator[tuple[str, str]]:
    for key, kind in (
        ("configMapRef", "ConfigMap"),
        ("secretRef", "Secret"),
        ("configMapKeyRef", "ConfigMap"),
        ("secretKeyRef", "Secret"),
    ):
        reference = table(source, key)
        if reference and reference.get(_OPTIONAL) is not True:
            yield kind, text(reference, "name")


def named_keys(manifests: Manifests) -> Iterator[Finding]:
    """A key taken out of a rendered ConfigMap or Secret is in it."""
    for pod in manifests.pods:
        for kind, name, key in _keys(pod.spec):
            found = manifests.find(kind, name)
            if found is not None and key not in {
                **table(found, "data"),
                **table(found, "stringData"),
            }:
                yield Finding(where=pod.where, what=f"{kind} {name!r} has no key {key!r}")


def _keys(spec: Table) -> Iterator[tuple[str, str, str]]:
    for volume in rows(spec, "volumes"):
        for item in rows(volume, "secret", "items"):
            yield "Secret", text(volume, "secret", "secretName"), text(item, "key")
        for item in rows(volume, "configMap", "items"):
            yield "ConfigMap", text(volume, "configMap", "name"), text(item, "key")
    for container in rows(spec, "containers"):
        for row in rows(container, "env"):
            for source, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                reference = table(row, "valueFrom", source)
                if reference and reference.get(_OPTIONAL) is not True:
                    yield kind, text(reference, "name"), text(reference, "key")


def mounts(manifests: Manifests) -> Iterator[Finding]:
    """Every mount names a volume of its pod, and every volume is mounted."""
    for pod in manifests.pods:
        volumes = {text(volume, "name") for volume in rows(pod.spec, "volumes")}
        mounted = {text(m, "name") for c in pod.containers for m in rows(c, "volumeMounts")}
        for name in sorted(volumes ^ mounted):
            what = "mounted, but no volume" if name in mounted else "a volume that nobody mounts"
            yield Finding(where=pod.where, what=f"{name!r}: {what}")


def own_selectors(manifests: Manifests) -> Iterator[Finding]:
    """A Deployment selects its own pods and nobody else's."""
    for deployment in manifests.of("Deployment"):
        selector = table(deployment, "spec", "selector", "matchLabels")
        found = [pod.where for pod in manifests.selected(selector)]
        if found != [where(deployment)]:
            yield Finding(where=where(deployment), what=f"selects {found or 'nothing'}")


def service_selectors(manifests: Manifests) -> Iterator[Finding]:
    """A Service selects the pods of one Deployment."""
    for service in manifests.of("Service"):
        found = [pod.where for pod in manifests.selected(table(service, "spec", "selector"))]
        if len(found) != 1:
            yield Finding(where=where(service), what=f"selects {found or 'nothing'}")


def grpc_services(manifests: Manifests) -> Iterator[Finding]:
    """Every service has a headless Service with its gRPC port, for round-robin."""
    for pod in manifests.service_pods:
        headless = [
            service
            for service in manifests.of("Service")
            if text(service, "spec", "clusterIP") == "None"
            and selects(table(service, "spec", "selector"), pod.labels)
            and "grpc" in {text(port, "name") for port in rows(service, "spec", "ports")}
        ]
        if not headless:
            yield Finding(where=pod.where, what="no headless Service with a port `grpc`")


def disruption_budgets(manifests: Manifests) -> Iterator[Finding]:
    """Every service has exactly one PDB, every PDB selects pods, and each lets one leave."""
    for pod in manifests.service_pods:
        budgets = [
            budget
            for budget in manifests.of("PodDisruptionBudget")
            if selects(table(budget, "spec", "selector", "matchLabels"), pod.labels)
        ]
        if len(budgets) != 1:
            yield Finding(where=pod.where, what=f"{len(budgets)} PDBs select it, not one")
    for budget in manifests.of("PodDisruptionBudget"):
        if not manifests.selected(table(budget, "spec", "selector", "matchLabels")):
            yield Finding(where=where(budget), what="selects nothing")
        if text(budget, "spec", "maxUnavailable") in ("", "0", "0%"):
            yield Finding(where=where(budget), what="no maxUnavailable above 0: a drain would hang")


def one_name_each(manifests: Manifests) -> Iterator[Finding]:
    """Everything lies in one namespace, and no kind has a name twice."""
    namespaces = {text(item, "metadata", "namespace") for item in manifests.objects} - {
        "",
        "kube-system",
    }
    if len(namespaces) > 1:
        yield Finding(where="overlay", what=f"several namespaces: {sorted(namespaces)}")
    seen: set[str] = set()
    for item in manifests.objects:
        if where(item) in seen:
            yield Finding(where=where(item), what=f"{name_of(item)!r} is there twice")
        seen.add(where(item))
