"""The first campaign's findings at `a2l` itself, S7, S8, S10, S11 and S13: one figure each, of a tree of any age."""

import gzip
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.attacks.checkout import Checkout
from tests.attacks.killable_serve import ORPHAN_S, KillableServe, killable_serve, wait_until
from tests.cases.bench import environment
from tests.contract.lies import ESCAPES
from tests.pipeline.curation.small_world import record, write_images

Figures = dict[str, float]

_SECRET = "SECRETKEY"
_END_S = 90.0
_STRANGER_S = 20.0
_ORDERS = (b"\x1b", b"\x07", "\u202e".encode())  # what a terminal would obey
_CONFIG = """
input: {path: raw.json, images_root: images}
endpoints:
  question_reward: {url: "%(question)s", timeout_s: 3}
  answer_reward: {url: "%(answer)s", timeout_s: 3}
  inner_llm: {url: "%(inner)s", timeout_s: 3}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How `a2l` ended; `output` is all that it printed."""

    status: int | None  # None where it was stopped
    output: bytes
    peak_mib: float


def of_drivers(tree: Checkout, folder: Path) -> Figures:
    """What a driver shows that meets a proxy, has a key with a line end, and is lied to."""
    folder.mkdir()
    return {**_proxied(tree, folder / "S7"), **_keyed(tree, folder / "S8"), **_zipped(tree, folder)}


def of_serve(tree: Checkout, folder: Path) -> Figures:
    """What `a2l serve` shows with fake engines: strangers, texts on the screen of a run, and what a kill leaves."""
    folder.mkdir()
    with (
        tempfile.TemporaryDirectory(prefix="a2l-", ignore_cleanup_errors=True) as tmp,
        killable_serve(folder, tmp=Path(tmp), engine="fake", tree=tree) as serve,
    ):
        return {
            **_strange(serve, tree),
            **_shown(serve, tree, folder / "S11"),
            **_killed(serve),
        }


def _proxied(tree: Checkout, folder: Path) -> Figures:
    num_connections = 0

    def count(connection: socket.socket) -> None:
        nonlocal num_connections
        num_connections += 1
        connection.close()

    with _listening(count) as proxy, _listening(lambda connection: connection.close()) as service:
        config = _world(folder, urls=[f"grpc://127.0.0.1:{service}"] * 3)
        at = f"http://127.0.0.1:{proxy}"
        named = {"http_proxy": at, "https_proxy": at, "grpc_proxy": at}
        _a2l(tree, folder, "curate", str(config), "--run-dir", str(folder / "run"), more=named)
    return {"S7": num_connections}


def _keyed(tree: Checkout, folder: Path) -> Figures:
    shown = tracebacks = 0
    with _listening(lambda connection: connection.close()) as port:
        for scheme in ("http", "grpc"):
            place = folder / scheme
            config = _world(place, urls=[f"{scheme}://127.0.0.1:{port}"] * 3)
            words = ["curate", str(config), "--run-dir", str(place / "run")]
            ended = _a2l(tree, place, *words, more={"A2L__API_KEY": f"{_SECRET}\n"})
            shown += ended.output.count(_SECRET.encode())
            tracebacks += ended.output.count(b"Traceback")
    return {"S8 shown": shown, "S8 tracebacks": tracebacks}


def _zipped(tree: Checkout, folder: Path) -> Figures:
    """What a driver holds that is answered a few hundred bytes, of gzip in gzip in gzip."""
    body = bytes(2**30)
    for _ in range(3):
        body = gzip.compress(body, 9)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    answer = f"{head}content-encoding: gzip, gzip, gzip\r\n\r\n".encode() + body

    def lie(connection: socket.socket) -> None:
        with connection:
            connection.recv(2**16)
            connection.sendall(answer)

    with _listening(lambda connection: connection.close()) as nobody, _listening(lie) as liar:
        peaks: list[float] = []
        for port in (nobody, liar):
            place = folder / f"S10-{port}"
            config = _world(place, urls=[f"http://127.0.0.1:{port}"] * 3)
            words = ["curate", str(config), "--run-dir", str(place / "run")]
            peaks.append(_a2l(tree, place, *words).peak_mib)
    return {"S10": peaks[1] - peaks[0]}


def _strange(serve: KillableServe, tree: Checkout) -> Figures:
    """Starts a second one on the same ports: how many services of the first it calls ready."""
    with tempfile.TemporaryFile() as output:
        second = subprocess.Popen(
            serve.command,
            cwd=tree.folder,
            env=environment(A2L_ENGINE="fake"),
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
        try:
            second.wait(timeout=_STRANGER_S)
        except subprocess.TimeoutExpired:
            second.terminate()
            second.wait(timeout=_END_S)
        output.seek(0)
        return {"S13 strangers": output.read().count(b"ready ")}


def _shown(serve: KillableServe, tree: Checkout, folder: Path) -> Figures:
    question, answer, inner = serve.grpc_urls.values()
    config = _world(folder, urls=[question, answer, inner], kind=f"detail{ESCAPES}")
    words = ["curate", str(config), "--run-dir", str(folder / "run")]
    ended = _a2l(tree, folder, *words)
    assert ended.status == 0, ended.output[-2000:]
    return {"S11": sum(ended.output.count(order) for order in _ORDERS)}


def _killed(serve: KillableServe) -> Figures:
    root, *_ = serve.processes()
    root.kill()
    root.wait()
    wait_until(lambda: not serve.strangers(), timeout_s=ORPHAN_S)
    return {"S13 orphans": len(serve.strangers())}


def _world(folder: Path, *, urls: Sequence[str], kind: str = "detail") -> Path:
    """Writes an input of 20 records of one type and a config; returns the config's path."""
    folder.mkdir(parents=True)
    write_images(folder / "images")
    data = [record(number) | {"type": kind} for number in range(20)]
    (folder / "raw.json").write_text(json.dumps(data))
    config = folder / "curate.yaml"
    config.write_text(_CONFIG % dict(zip(("question", "answer", "inner"), urls, strict=True)))
    return config


def _a2l(tree: Checkout, folder: Path, *words: str, more: Mapping[str, str] | None = None) -> Ended:
    output = folder / f"output-{time.monotonic_ns()}"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*tree.a2l, *words],
            cwd=tree.folder,
            env=environment(PYTHONPATH=str(tree.folder), **(more or {})),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        stopper = threading.Timer(_END_S, process.kill)
        stopper.start()
        _, status, usage = os.wait4(process.pid, 0)
        stopper.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return Ended(
        status=process.returncode,
        output=output.read_bytes(),
        peak_mib=usage.ru_maxrss / 1024,
    )


@contextmanager
def _listening(meet: Callable[[socket.socket], None]) -> Generator[int]:
    """The port of a listener that meets each connection, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    meet(connection)
                except OSError:
                    connection.close()

        threading.Thread(target=accept, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
