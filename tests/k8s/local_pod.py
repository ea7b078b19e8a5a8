"""A rendered pod as processes of this machine: its command, arguments and environment, its volumes as folders.

The root of the container is a folder; what the manifest mounts lies inside it under the same path,
and every path of the manifest is rewritten to lie there. Ports become free ones.
"""

import base64
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.contract.servers import ROOT, free_port
from tools.k8s_lint.manifests import Manifests, Pod
from tools.k8s_lint.rules.commands import SOURCE
from tools.k8s_lint.trees import Table, number, rows, table, text, texts

BIN = Path(sys.executable).parent


@dataclass(frozen=True, kw_only=True)
class Container:
    """What would be started: paths and ports are those of this machine."""

    spec: Table
    root: Path
    command: list[str]
    environ: dict[str, str]
    ports: dict[str, int]  # by name
    grace_s: int
    pre_stop_s: int

    def probe(self, name: str) -> str:
        """The URL that the kubelet would ask."""
        get = table(self.spec, name, "httpGet")
        return f"http://127.0.0.1:{self.ports[text(get, 'port')]}{text(get, 'path')}"

    def startup_s(self) -> int:
        """The time that the start-up probe allows."""
        probe = table(self.spec, "startupProbe")
        return number(probe, "periodSeconds") * number(probe, "failureThreshold")


def container_of(
    manifests: Manifests, pod: Pod, root: Path, *, given: Mapping[str, Path]
) -> Container:
    """Lays out the pod's volumes under `root`; `given` holds folders to mount at some of the paths."""
    (spec,) = pod.containers
    volumes = {text(volume, "name"): volume for volume in rows(pod.spec, "volumes")}
    paths = [SOURCE]
    for mount in rows(spec, "volumeMounts"):
        path = text(mount, "mountPath")
        if path != "/dev/shm":
            paths.append(path)
            _fill(manifests, volumes[text(mount, "name")], root / path[1:], given.get(path))
    ports = {text(port, "name"): free_port() for port in rows(spec, "ports")}
    numbers = {
        str(number(port, "containerPort")): ports[text(port, "name")]
        for port in rows(spec, "ports")
    }

    def here(word: str) -> str:
        key, _, value = word.rpartition("=")
        if value in numbers:
            return f"{key}={numbers[value]}" if key else str(numbers[value])
        if value.startswith(tuple(paths)):
            return f"{key}={root}{value}" if key else f"{root}{value}"
        return word

    environ = {name: here(value) for name, value in _environment(manifests, spec).items()}
    words = [*texts(spec, "command"), *texts(spec, "args")]
    return Container(
        spec=spec,
        root=root,
        command=[str(BIN / words[0]), *(here(word) for word in words[1:])],
        environ={**environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        ports=ports,
        grace_s=number(pod.spec, "terminationGracePeriodSeconds"),
        pre_stop_s=number(spec, "lifecycle", "preStop", "sleep", "seconds"),
    )


def _fill(manifests: Manifests, volume: Table, folder: Path, given: Path | None) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    if given is not None:
        folder.symlink_to(given)
        return
    folder.mkdir(exist_ok=True)
    if "secret" in volume:
        secret = manifests.find("Secret", text(volume, "secret", "secretName"))
        for item in rows(volume, "secret", "items"):
            content = base64.b64decode(text(secret, "data", text(item, "key")))
            (folder / text(item, "path")).write_bytes(content)
    elif "configMap" in volume:
        data = table(manifests.find("ConfigMap", text(volume, "configMap", "name")), "data")
        for name in data:
            (folder / name).write_text(text(data, name))
    else:
        assert "emptyDir" in volume, volume


def _environment(manifests: Manifests, spec: Table) -> dict[str, str]:
    values = manifests.environment(spec)
    for row in rows(spec, "env"):
        reference = table(row, "valueFrom", "secretKeyRef")
        if reference:
            secret = manifests.find("Secret", text(reference, "name"))
            content = text(secret, "data", text(reference, "key"))
            values[text(row, "name")] = base64.b64decode(content).decode()
    return values


def write_bento_source(root: Path) -> Path:
    """Copies what bentofile.yaml includes to where an image has it, and takes the right to write away."""
    bentofile = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    source = root / SOURCE[1:]
    for pattern in bentofile["include"]:
        for path in ROOT.glob(pattern):
            target = source / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    for path in [source, *source.rglob("*")]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    return source


def unprivileged() -> list[str]:
    """The words before a command that let file modes bind root too, where we are root."""
    if os.getuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    assert setpriv is not None, "as root this needs setpriv (util-linux): modes do not bind root"
    return [setpriv, "--bounding-set=-dac_override,-dac_read_search"]


@contextmanager
def running(container: Container, *, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process, in a folder of its own choice, with the pod's environment and no other."""
    log = container.root / "log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*unprivileged(), *container.command],
            cwd=folder,
            env=container.environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def runtime_log(container: Container) -> str:
    """What the process said, its end."""
    return (container.root / "log").read_text(errors="replace")[-3000:]
