"""The life of a pod: probes, and what it is given to leave in order."""

from collections.abc import Iterator

from align2llava.services.settings import Settings
from tools.k8s_lint.manifests import Finding, Manifests
from tools.k8s_lint.trees import number, table, text, texts

_PATHS = {"startupProbe": "/livez", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
# SHUTDOWN_TIMEOUT_S of services.engines.llm, which imports vLLM; a test holds them equal.
ENGINE_SHUTDOWN_S = 20
_HTTP_DRAIN = "--timeout-graceful-shutdown="


def probes(manifests: Manifests) -> Iterator[Finding]:
    """A service has its three probes, and its liveness asks about nothing but itself."""
    for pod in manifests.service_pods:
        for container in pod.containers:
            for probe, path in _PATHS.items():
                found = text(container, probe, "httpGet", "path")
                if found != path:
                    yield Finding(where=pod.where, what=f"{probe} asks {found!r}, not {path!r}")


def grace(manifests: Manifests) -> Iterator[Finding]:
    """preStop, both drains and the engine's own shutdown fit into the grace."""
    for pod in manifests.service_pods:
        for container in pod.containers:
            leaving = number(container, "lifecycle", "preStop", "sleep", "seconds")
            if leaving < 5:
                yield Finding(where=pod.where, what=f"preStop sleeps {leaving} s; 5 are needed")
            drains = [a for a in texts(container, "args") if a.startswith(_HTTP_DRAIN)]
            if not drains:
                yield Finding(where=pod.where, what=f"no {_HTTP_DRAIN}: REST may drain for ever")
                continue
            http = int(drains[0].removeprefix(_HTTP_DRAIN))
            stated = manifests.environment(container).get("A2L_DRAIN_MS")
            grpc = int(stated or Settings.model_fields["drain_ms"].default) / 1e3
            needed = leaving + http + grpc + ENGINE_SHUTDOWN_S
            given = number(pod.spec, "terminationGracePeriodSeconds")
            if given < needed:
                yield Finding(where=pod.where, what=f"{given} s of grace; {needed:g} are needed")


def scarce_gpus(manifests: Manifests) -> Iterator[Finding]:
    """A rollout of pods with GPUs asks for no GPU more than there are: no surge."""
    for pod in manifests.service_pods:
        update = table(pod.owner, "spec", "strategy", "rollingUpdate")
        if pod.gpus and text(update, "maxSurge") != "0":
            yield Finding(where=pod.where, what=f"maxSurge {text(update, 'maxSurge')} with GPUs")
        if text(update, "maxSurge") == "0" and text(update, "maxUnavailable") in ("", "0"):
            yield Finding(where=pod.where, what="neither surge nor absence: no rollout can begin")
