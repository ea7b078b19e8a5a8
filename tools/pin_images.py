"""Writes the digests of an overlay's images into its kustomization, as the registries tell them.

`python tools/pin_images.py k8s/overlays/production`. Each image of the list `images` must have a
`newName` and a `newTag`; the digest beside them is asked anew each time, never invented. Credentials
are those of `docker login` (config.json, `auths`); credential helpers are not asked. Image volumes
(components/model-volume-oci) are not in that list: their reference is pinned by hand.
"""

import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import httpx
import yaml

_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_LOCAL = ("localhost", "127.0.0.1")
_TIMEOUT_S = 30.0


class PinError(Exception):
    """A registry does not know the image, or the kustomization is not as this tool expects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One entry of a kustomization's `images`."""

    name: str
    repository: str  # with its registry
    tag: str

    @property
    def registry(self) -> str:
        """The host, with its port."""
        return self.repository.partition("/")[0]

    @property
    def url(self) -> str:
        """Where the registry tells about this tag."""
        scheme = "http" if self.registry.partition(":")[0] in _LOCAL else "https"
        path = self.repository.partition("/")[2]
        return f"{scheme}://{self.registry}/v2/{path}/manifests/{self.tag}"


def images_of(kustomization: str) -> list[Image]:
    """Returns the images of a kustomization.

    Raises:
        PinError: it lists none, or one lacks its registry or its tag.
    """
    tree = cast("dict[str, list[dict[str, str]]]", yaml.safe_load(kustomization))
    found: list[Image] = []
    for entry in tree.get("images", []):
        image = Image(
            name=entry["name"],
            repository=entry.get("newName", ""),
            tag=str(entry.get("newTag", "")),
        )
        if "/" not in image.repository or not re.search(r"[.:]|localhost", image.registry):
            raise PinError(f"image {image.name!r} has no newName with a registry")
        if not image.tag:
            raise PinError(f"image {image.name!r} has no newTag")
        found.append(image)
    if not found:
        raise PinError("the kustomization lists no images")
    return found


def digest_of(image: Image, http: httpx.Client, auth: str) -> str:
    """Returns the digest that the registry has for the tag; `auth` is `user:password` in base64, or empty.

    Raises:
        PinError: the registry refuses, or answers without a digest.
    """
    headers = {"accept": _MANIFESTS}
    answer = http.head(image.url, headers=headers)
    if answer.status_code == 401:
        headers["authorization"] = _authorization(answer, http, auth)
        answer = http.head(image.url, headers=headers)
    if answer.status_code != 200:
        raise PinError(f"{image.url}: the registry answers {answer.status_code}")
    digest = answer.headers.get("docker-content-digest", "")
    if not _DIGEST.fullmatch(digest):
        raise PinError(f"{image.url}: the registry tells no sha256 digest, but {digest!r}")
    return digest


def _authorization(answer: httpx.Response, http: httpx.Client, auth: str) -> str:
    challenge = answer.headers.get("www-authenticate", "")
    basic = {"authorization": f"Basic {auth}"} if auth else {}
    if not challenge.lower().startswith("bearer"):
        return basic.get("authorization", "")
    facts = dict(_CHALLENGE.findall(challenge))
    wanted = {key: facts[key] for key in ("service", "scope") if key in facts}
    told = http.get(facts.get("realm", ""), params=wanted, headers=basic)
    if told.status_code != 200:
        raise PinError(f"{facts.get('realm')}: no token: {told.status_code}")
    token = told.json()
    return f"Bearer {token.get('token') or token.get('access_token')}"


def pinned(kustomization: str, digests: dict[str, str]) -> str:
    """Returns the text with a `digest` under each image's `newTag`; comments and the rest stay.

    Raises:
        PinError: an image is not written as a block with `newTag` on a line of its own.
    """
    lines: list[str] = []
    name = ""
    missing = set(digests)
    for line in kustomization.splitlines():
        if started := re.match(r"\s*- name: (\S+)", line):
            name = started.group(1)
        if re.match(r"\s+digest: ", line) and name in digests:
            continue
        lines.append(line)
        tag = re.match(r"(\s+)newTag: ", line)
        if tag and name in missing:
            lines.append(f"{tag.group(1)}digest: {digests[name]}")
            missing.discard(name)
    if missing:
        raise PinError(f"no line `newTag:` of its own for {sorted(missing)}")
    return "\n".join(lines) + "\n"


def credentials(registry: str) -> str:
    """Returns what `docker login` stored for a registry, or an empty text."""
    folder = Path(os.environ.get("DOCKER_CONFIG", Path.home() / ".docker"))
    try:
        stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    return str(stored.get("auths", {}).get(registry, {}).get("auth", ""))


def main() -> None:
    """Pins the overlay named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/pin_images.py OVERLAY")
    path = Path(sys.argv[1]) / "kustomization.yaml"
    try:
        before = path.read_text(encoding="utf-8")
        with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True) as http:
            digests = {
                image.name: digest_of(image, http, credentials(image.registry))
                for image in images_of(before)
            }
        path.write_text(pinned(before, digests), encoding="utf-8")
    except (PinError, OSError, httpx.HTTPError) as error:
        sys.exit(f"pin_images: {error}")
    for name, digest in digests.items():
        print(f"{name}: {digest}")


if __name__ == "__main__":
    main()
