"""Renders a kustomization with the pinned kubectl, and says what else the cluster is promised to hold."""

import subprocess
from pathlib import Path

import yaml

from tools.k8s_lint.manifests import Manifests, name_of, parse
from tools.k8s_lint.trees import Json, rows, text
from tools.kubectl import ROOT, kubectl_path

K8S = ROOT / "k8s"


class RenderError(Exception):
    """kustomize refuses a folder; the message is its own."""


def render(folder: Path) -> str:
    """Returns what the kustomization in a folder renders to.

    Raises:
        RenderError: it does not render.
    """
    done = subprocess.run(
        [kubectl_path(), "kustomize", folder], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RenderError(f"{folder}: {done.stderr.strip()}")
    return done.stdout


def provided() -> frozenset[tuple[str, str]]:
    """Returns what is made by hand (k8s/provided.yaml) or applied once (k8s/cluster)."""
    listed: Json = yaml.safe_load((K8S / "provided.yaml").read_text(encoding="utf-8"))
    by_hand = {(text(row, "kind"), text(row, "name")) for row in rows({"all": listed}, "all")}
    once = {(text(item, "kind"), name_of(item)) for item in parse(render(K8S / "cluster"))}
    return frozenset(by_hand | once)


def manifests_of(folder: Path) -> Manifests:
    """Returns a rendered overlay for the rules; raises as `render` does."""
    return Manifests(objects=parse(render(folder)), provided=provided())
