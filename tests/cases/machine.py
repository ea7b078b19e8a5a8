"""Cases of the machine around us: a foreign folder, taken ports, proxies, a dead stderr."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.cases.bench import A2L, Bench
from tests.cases.case import Case, Fact, Ran, fact
from tests.contract.servers import free_port

_SERVE_S = 90.0
_DEAD_PROXY = "http://127.0.0.1:9"


def cwd_shadows(at: Bench, folder: Path) -> Iterator[Fact]:
    """With 16 MiB of input the worker processes start; a service is a child too."""
    one = json.loads((folder / "input.json").read_bytes())[0]
    big = at.new_folder() / "big.json"
    big.write_text(json.dumps([{**one, "id": str(n), "note": "x" * 900} for n in range(18_000)]))
    command = [A2L, "validate", folder / "curate.yaml", "--set", f"input.path={big}"]
    validated = at.run([*command, *at.endpoints()], name="validate", cwd=folder / "project")
    yield validated.ends(0)
    yield validated.never_says("of the current folder ran")
    served = serve_until_ready(at, cwd=folder / "project")
    yield served.says("ready question-reward")
    yield served.never_says("of the current folder ran")


def serve_until_ready(at: Bench, *, cwd: Path) -> Ran:
    """`a2l serve`, ended by SIGTERM as soon as its service answers."""
    script = (
        "import subprocess, sys\n"
        "p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)\n"
        "for line in p.stdout:\n"
        "    sys.stdout.write(line.decode()); sys.stdout.flush()\n"
        "    if line.startswith(b'ready'): p.terminate()\n"
        "sys.exit(p.wait())\n"
    )
    ports = ["--http-port", free_port(), "--grpc-port", free_port()]
    command = [A2L, "serve", "--only", "question-reward", *ports]
    python = Path(A2L).with_name("python")
    return at.run([python, "-P", "-c", script, *command], name="serve", cwd=cwd, A2L_ENGINE="fake")


def grpc_port_taken(at: Bench, _: Path) -> Iterator[Fact]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        yield from _refused_port(at, port, http_port=free_port(), grpc_port=port)
        yield from _refused_port(at, port, http_port=port, grpc_port=free_port())


def _refused_port(at: Bench, port: int, *, http_port: int, grpc_port: int) -> Iterator[Fact]:
    name = "serve (gRPC taken)" if port == grpc_port else "serve (HTTP taken)"
    command = [A2L, "serve", "--only", "question-reward"]
    ports = ["--http-port", http_port, "--grpc-port", grpc_port]
    ran = at.run([*command, *ports], name=name, timeout_s=_SERVE_S, A2L_ENGINE="fake")
    yield ran.ends(4)
    yield ran.says(str(port))


def http_proxy(at: Bench, folder: Path) -> Iterator[Fact]:
    for transport in ("grpc", "rest"):
        command = [A2L, "validate", folder / "curate.yaml", *at.endpoints(transport)]
        yield at.run(command, name=f"{transport}: validate", http_proxy=_DEAD_PROXY).ends(0)


def stderr_gone(at: Bench, folder: Path) -> Iterator[Fact]:
    for name, redirection in (("full", "2>/dev/full"), ("closed", "2>&-")):
        run = at.new_folder() / "run"
        words = [str(A2L), "curate", str(folder / "curate.yaml"), "--run-dir", str(run)]
        line = f'"$@" {redirection}'
        ran = at.run(["bash", "-c", line, "bash", *words, *at.endpoints()], name=f"stderr {name}")
        yield ran.ends(0)
        is_there = (run / "manifest.json").exists()
        yield fact(f"stderr {name}: the run is whole", holds=is_there, seen=is_there)


CASES = (
    Case(name="cwd-shadows", look=cwd_shadows),
    Case(name="grpc-port-taken", look=grpc_port_taken),
    Case(name="http-proxy", look=http_proxy),
    Case(name="stderr-gone", look=stderr_gone),
)
