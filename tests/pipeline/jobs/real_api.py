"""The API server and etcd of `KUBEBUILDER_ASSETS`, without controllers: tests play that part."""

import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.contract.servers import free_port

TOKEN = "a-token-of-this-test"


@contextmanager
def real_server(assets: Path, folder: Path) -> Iterator[str]:
    """Yields the address of an API server that knows TOKEN as an administrator."""
    store, peer, port = free_port(), free_port(), free_port()
    key = folder / "service-account.pem"
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    (folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
    etcd = [
        *(str(assets / "etcd"), f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync"),
        f"--listen-client-urls=http://127.0.0.1:{store}",
        f"--advertise-client-urls=http://127.0.0.1:{store}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
    ]
    server = [
        *(str(assets / "kube-apiserver"), f"--etcd-servers=http://127.0.0.1:{store}"),
        *("--bind-address=127.0.0.1", f"--secure-port={port}", f"--cert-dir={folder / 'certs'}"),
        *("--authorization-mode=RBAC", f"--token-auth-file={folder / 'tokens.csv'}"),
        *("--service-cluster-ip-range=10.0.0.0/24", "--disable-admission-plugins=ServiceAccount"),
        "--service-account-issuer=https://kubernetes.default.svc",
        *(f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}"),
    ]
    with (folder / "log").open("w") as log:
        running = [subprocess.Popen(one, stdout=log, stderr=log) for one in (etcd, server)]
        try:
            _until_ready(f"https://127.0.0.1:{port}", folder / "log")
            yield f"https://127.0.0.1:{port}"
        finally:
            for one in reversed(running):
                one.terminate()
                one.wait(20)


def _until_ready(url: str, log: Path) -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    asked = urllib.request.Request(  # the server makes it soon after it is ready
        f"{url}/api/v1/namespaces/default", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        try:
            with urllib.request.urlopen(asked, context=trusting, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"the API server is not ready: {log.read_text()[-2000:]}")
