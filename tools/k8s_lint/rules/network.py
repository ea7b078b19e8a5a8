"""Network policies: deny first, then the few that must talk. Empty where an overlay has none."""

from collections.abc import Iterator

from tools.k8s_lint.manifests import Finding, Manifests, where
from tools.k8s_lint.trees import at, rows, table, texts


def denied_by_default(manifests: Manifests) -> Iterator[Finding]:
    """Where there are policies, one of them denies every pod both ways."""
    policies = manifests.of("NetworkPolicy")
    closing = [
        policy
        for policy in policies
        if not table(policy, "spec", "podSelector")
        and texts(policy, "spec", "policyTypes") == ["Ingress", "Egress"]
        and not rows(policy, "spec", "ingress") + rows(policy, "spec", "egress")
    ]
    if policies and not closing:
        yield Finding(where="NetworkPolicy", what="none denies all pods in both directions")


def policy_selectors(manifests: Manifests) -> Iterator[Finding]:
    """A policy selects pods, and opens only ports that they declare."""
    for policy in manifests.of("NetworkPolicy"):
        selector = table(policy, "spec", "podSelector", "matchLabels")
        pods = manifests.selected(selector)
        if selector and not pods:
            yield Finding(where=where(policy), what="selects nothing")
        ports = [
            at(p, "port") for rule in rows(policy, "spec", "ingress") for p in rows(rule, "ports")
        ]
        for port in ports:
            if not any(pod.has_port(port) for pod in pods):
                yield Finding(where=where(policy), what=f"no pod has port {port!r}")


def open_doors(manifests: Manifests) -> Iterator[Finding]:
    """Where there are policies, one lets the curation's pods reach each service."""
    if not manifests.of("NetworkPolicy"):
        return
    for pod in manifests.service_pods:
        admitted = [
            policy
            for policy in manifests.of("NetworkPolicy")
            if pod in manifests.selected(table(policy, "spec", "podSelector", "matchLabels"))
            and any(
                row.name == "curate"
                for rule in rows(policy, "spec", "ingress")
                for peer in rows(rule, "from")
                for row in manifests.selected(table(peer, "podSelector", "matchLabels"))
            )
        ]
        if not admitted:
            yield Finding(where=pod.where, what="no policy lets the curation in")
