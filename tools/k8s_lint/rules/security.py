"""What a pod may do: the restricted profile, a read-only root, no token, and images that say which."""

from collections.abc import Iterator

from tools.k8s_lint.manifests import Finding, Manifests
from tools.k8s_lint.trees import at, number, rows, text, texts

_WRITTEN = ("HOME", "BENTOML_HOME")  # what programs write under


def restricted(manifests: Manifests) -> Iterator[Finding]:
    """A pod runs as a numeric user with nothing but what it needs."""
    for pod in manifests.pods:
        if at(pod.spec, "securityContext", "runAsNonRoot") is not True:
            yield Finding(where=pod.where, what="runAsNonRoot is not true")
        if number(pod.spec, "securityContext", "runAsUser") < 1000:
            yield Finding(where=pod.where, what="no numeric runAsUser of 1000 or more")
        if text(pod.spec, "securityContext", "seccompProfile", "type") != "RuntimeDefault":
            yield Finding(where=pod.where, what="seccompProfile is not RuntimeDefault")
        for container in pod.containers:
            context = at(container, "securityContext")
            if at(context, "allowPrivilegeEscalation") is not False:
                yield Finding(where=pod.where, what="allowPrivilegeEscalation is not false")
            if texts(context, "capabilities", "drop") != ["ALL"]:
                yield Finding(where=pod.where, what="capabilities are not all dropped")


def read_only_root(manifests: Manifests) -> Iterator[Finding]:
    """The root is read-only, and what programs write under lies in a writable volume."""
    for pod in manifests.pods:
        for container in pod.containers:
            if at(container, "securityContext", "readOnlyRootFilesystem") is not True:
                yield Finding(where=pod.where, what="readOnlyRootFilesystem is not true")
            writable = [
                text(mount, "mountPath")
                for mount in rows(container, "volumeMounts")
                if at(mount, "readOnly") is not True
            ]
            environ = manifests.environment(container)
            needed = _WRITTEN if pod.component == "service" else _WRITTEN[:1]
            for name in needed if pod.component else ():
                path = environ.get(name, "")
                if not any(path == at_ or path.startswith(f"{at_}/") for at_ in writable):
                    yield Finding(where=pod.where, what=f"{name} {path!r} cannot be written")


def no_token(manifests: Manifests) -> Iterator[Finding]:
    """No pod gets a token of the API server, nor variables about every Service."""
    for pod in manifests.pods:
        for switch in ("automountServiceAccountToken", "enableServiceLinks"):
            if at(pod.spec, switch) is not False:
                yield Finding(where=pod.where, what=f"{switch} is not false")


def image_tags(manifests: Manifests) -> Iterator[Finding]:
    """Every image has a tag or a digest, and none is `latest`."""
    for pod in manifests.pods:
        for image in (text(container, "image") for container in pod.containers):
            tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
            if tag == "latest" or (not tag and "@sha256:" not in image):
                yield Finding(where=pod.where, what=f"image {image!r} may change under its name")


def image_digests(manifests: Manifests) -> Iterator[Finding]:
    """Every image is pinned by digest; asked of production only, by `--pinned`."""
    for pod in manifests.pods:
        for container in pod.containers:
            image = text(container, "image")
            if "@sha256:" not in image:
                yield Finding(where=pod.where, what=f"image {image!r} has no digest")
        for volume in rows(pod.spec, "volumes"):
            image = text(volume, "image", "reference")
            if image and "@sha256:" not in image:
                yield Finding(where=pod.where, what=f"image {image!r} has no digest")
