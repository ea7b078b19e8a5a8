"""What a pod takes: requests and limits, GPUs, memory that counts twice, and where it lies."""

from collections.abc import Iterator

from tools.k8s_lint.manifests import Finding, Manifests, selects, where
from tools.k8s_lint.trees import at, quantity, rows, table, text

_GPU = "nvidia.com/gpu"


def gpu_requests(manifests: Manifests) -> Iterator[Finding]:
    """A GPU's request equals its limit, is whole, and its node's taint is tolerated."""
    for pod in manifests.pods:
        for container in pod.containers:
            asked = text(container, "resources", "requests", _GPU)
            given = text(container, "resources", "limits", _GPU)
            if asked != given or not (asked or "0").isdigit():
                yield Finding(where=pod.where, what=f"GPU request {asked!r}, limit {given!r}")
        tolerated = {text(row, "key") for row in rows(pod.spec, "tolerations")}
        if pod.gpus and _GPU not in tolerated:
            yield Finding(where=pod.where, what=f"does not tolerate {_GPU}")


def memory(manifests: Manifests) -> Iterator[Finding]:
    """CPU and memory are requested, memory's limit is its request, and tmpfs fits into it."""
    for pod in manifests.pods:
        for container in pod.containers:
            if not text(container, "resources", "requests", "cpu"):
                yield Finding(where=pod.where, what="requests no cpu")
            asked = text(container, "resources", "requests", "memory")
            limit = text(container, "resources", "limits", "memory")
            if not asked or asked != limit:
                yield Finding(where=pod.where, what=f"memory request {asked!r}, limit {limit!r}")
            in_memory = sum(
                quantity(text(volume, "emptyDir", "sizeLimit"))
                for volume in rows(pod.spec, "volumes")
                if text(volume, "emptyDir", "medium") == "Memory"
            )
            if in_memory * 2 > quantity(limit):
                yield Finding(where=pod.where, what="tmpfs may take over half of its memory")


def bounded_scratch(manifests: Manifests) -> Iterator[Finding]:
    """Every emptyDir has a size, and those on disk fit into the ephemeral storage asked for."""
    for pod in manifests.pods:
        on_disk = 0.0
        for volume in rows(pod.spec, "volumes"):
            size = text(volume, "emptyDir", "sizeLimit")
            if "emptyDir" in volume and not size:
                yield Finding(where=pod.where, what=f"{text(volume, 'name')!r} has no sizeLimit")
            if text(volume, "emptyDir", "medium") != "Memory":
                on_disk += quantity(size)
        storage = [text(c, "resources", "limits", "ephemeral-storage") for c in pod.containers]
        if on_disk > sum(map(quantity, storage)):
            yield Finding(where=pod.where, what=f"emptyDirs over its ephemeral storage {storage}")


def shared_memory(manifests: Manifests) -> Iterator[Finding]:
    """Torch and vLLM find /dev/shm larger than the 64 MB of a bare container."""
    for pod in manifests.pods:
        if not (pod.component == "service" or pod.gpus):
            continue
        in_memory = {
            text(volume, "name")
            for volume in rows(pod.spec, "volumes")
            if text(volume, "emptyDir", "medium") == "Memory"
        }
        for container in pod.containers:
            shm = [m for m in rows(container, "volumeMounts") if text(m, "mountPath") == "/dev/shm"]  # noqa: S108
            if not shm or text(shm[0], "name") not in in_memory:
                yield Finding(where=pod.where, what="no emptyDir of medium Memory at /dev/shm")


def spread(manifests: Manifests) -> Iterator[Finding]:
    """A service's pods are spread over nodes, and the constraint counts its own pods."""
    for pod in manifests.service_pods:
        constraints = rows(pod.spec, "topologySpreadConstraints")
        if not constraints:
            yield Finding(where=pod.where, what="no topologySpreadConstraints")
        for constraint in constraints:
            if not selects(table(constraint, "labelSelector", "matchLabels"), pod.labels):
                yield Finding(where=pod.where, what="a spread constraint counts other pods")


def scalers(manifests: Manifests) -> Iterator[Finding]:
    """A scaler's target exists, states no replicas of its own, and has one scaler only."""
    scaled: list[str] = []
    for scaler in manifests.of("HorizontalPodAutoscaler", "ScaledObject"):
        name = text(scaler, "spec", "scaleTargetRef", "name")
        deployment = manifests.find("Deployment", name)
        if deployment is None:
            yield Finding(where=where(scaler), what=f"there is no Deployment {name!r}")
            continue
        if at(deployment, "spec", "replicas") is not None:
            what = f"{where(deployment)} states replicas: each apply would undo the scaling"
            yield Finding(where=where(scaler), what=what)
        if name in scaled:
            yield Finding(where=where(scaler), what=f"{where(deployment)} has two scalers")
        scaled.append(name)
