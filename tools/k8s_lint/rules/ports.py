"""Ports: what is referred to is declared, once, and is the one that the process opens."""

from collections.abc import Iterator

from tools.k8s_lint.manifests import Finding, Manifests, where
from tools.k8s_lint.trees import at, rows, table, text, texts

_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def probe_ports(manifests: Manifests) -> Iterator[Finding]:
    """A probe asks a port that its pod declares."""
    for pod in manifests.pods:
        for container in pod.containers:
            for probe in _PROBES:
                for way in ("httpGet", "grpc", "tcpSocket"):
                    port = at(container, probe, way, "port")
                    if port is not None and not pod.has_port(port):
                        yield Finding(where=pod.where, what=f"{probe}: there is no port {port!r}")


def service_ports(manifests: Manifests) -> Iterator[Finding]:
    """A Service's target port is declared by every pod that it selects."""
    for service in manifests.of("Service"):
        for pod in manifests.selected(table(service, "spec", "selector")):
            for port in rows(service, "spec", "ports"):
                target = at(port, "targetPort") or at(port, "port")
                if not pod.has_port(target):
                    what = f"target port {target!r} is not one of {pod.where}"
                    yield Finding(where=where(service), what=what)


def monitored_ports(manifests: Manifests) -> Iterator[Finding]:
    """A PodMonitor's port is declared by every pod that it selects."""
    for monitor in manifests.of("PodMonitor"):
        for pod in manifests.selected(table(monitor, "spec", "selector", "matchLabels")):
            for endpoint in rows(monitor, "spec", "podMetricsEndpoints"):
                port = text(endpoint, "port")
                if not pod.has_port(port):
                    what = f"port {port!r} is not one of {pod.where}"
                    yield Finding(where=where(monitor), what=what)


def process_ports(manifests: Manifests) -> Iterator[Finding]:
    """The ports `http` and `grpc` are those that command line and environment open."""
    for pod in manifests.service_pods:
        for container in pod.containers:
            http = next((a for a in texts(container, "args") if a.startswith("--port=")), "")
            if http != f"--port={pod.port_of('http')}":
                what = f"{http or 'no --port='} opens another port than `http`"
                yield Finding(where=pod.where, what=what)
            grpc = manifests.environment(container).get("A2L_GRPC_PORT")
            if grpc != str(pod.port_of("grpc")):
                what = f"A2L_GRPC_PORT {grpc} is not the port `grpc`"
                yield Finding(where=pod.where, what=what)
