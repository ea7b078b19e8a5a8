"""Every folder of k8s/ that renders, and every component over all that it may change."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from tools.k8s_lint.manifests import Manifests, parse
from tools.k8s_lint.rendering import K8S, provided, render

OVERLAYS = sorted((K8S / "overlays").iterdir())
COMPONENTS = sorted((K8S / "components").iterdir())
ALONE = [
    *sorted((K8S / "base").iterdir()),
    *sorted((K8S / "jobs").iterdir()),
    K8S / "cluster",
    K8S / "cluster-kueue",
    *OVERLAYS,
]
# Without these two a base is no whole: its pods mount the claim, and leave in order.
WHOLE = ("model-cache-pvc", "graceful-shutdown")


def name_of(folder: Path) -> str:
    return str(folder.relative_to(K8S))


@cache
def rendered(folder: Path) -> str:
    return render(folder)


@cache
def promised() -> frozenset[tuple[str, str]]:
    return provided()


def overlay(name: str) -> Manifests:
    return Manifests(objects=parse(rendered(K8S / "overlays" / name)), provided=promised())


def write_composite(
    folder: Path, *components: str, extra: Mapping[str, object] | None = None
) -> Path:
    """A kustomization of everything we have with these components and the two that make it whole."""
    used = dict.fromkeys((*WHOLE, *components))
    parts = sorted((K8S / "base").iterdir()) + sorted((K8S / "jobs").iterdir())
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "align2llava",
        "resources": [os.path.relpath(part, folder) for part in parts],
        "components": [os.path.relpath(K8S / "components" / name, folder) for name in used],
        "images": [
            {"name": name, "newTag": "0.1.0"}
            for name in ("align2llava-services", "align2llava-jobs")
        ],
        **(extra or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder
