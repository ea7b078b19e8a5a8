"""The services under attack: real processes behind a key, and what they hold of memory and descriptors."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from align2llava.clients.wire.kinds import ServiceKind
from tests.attacks.checkout import HERE, Checkout
from tests.attacks.onslaughts import Site
from tests.contract.servers import ROOT, Server, server

KEY = "secret-key"
MIB = 2**20
KINDS: tuple[ServiceKind, ...] = ("question-reward", "answer-reward", "inner-llm")
Engine = Literal["fake", "real"]
_FAULTS = (b"Traceback", b"[ERROR]", b"[CRITICAL]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """A service that is attacked."""

    site: Site
    server: Server

    def processes(self) -> dict[int, psutil.Process]:
        """The supervisor and all below it."""
        root = psutil.Process(self.server.process.pid)
        return {one.pid: one for one in (root, *root.children(recursive=True))}

    def worker(self) -> psutil.Process:
        """The process that listens for both transports."""
        for process in self.processes().values():
            with suppress(psutil.NoSuchProcess):
                ports = {one.laddr.port for one in process.net_connections("inet")}
                if self.site.grpc_port in ports:
                    return process
        raise AssertionError(f"{self.site.kind} has no worker")

    def held_bytes(self) -> int:
        """Resident memory of its processes; what they share counts in each."""
        held = 0
        for process in self.processes().values():
            with suppress(psutil.NoSuchProcess):
                held += process.memory_info().rss
        return held

    def num_faults_logged(self) -> int:
        """Lines of its log that tell of a fault of its own."""
        lines = self.server.log.read_bytes().splitlines()
        return sum(any(word in line for word in _FAULTS) for line in lines)


@contextmanager
def services(
    folder: Path, *, kinds: Sequence[ServiceKind] = KINDS, engine: Engine, tree: Checkout = HERE
) -> Generator[list[Attacked]]:
    """Services that are ready; `real` are the small checkpoints on torch and vLLM."""
    with ExitStack() as running:
        started: list[Attacked] = []
        for kind in kinds:
            home = folder / kind
            home.mkdir(parents=True)
            (home / "keys").write_text(f"{KEY}\n")
            settings = {
                "A2L_API_KEYS_FILE": str(home / "keys"),
                "TMPDIR": str(home),
            }
            if engine == "real":
                settings["A2L_ENGINE"] = "vllm" if kind == "inner-llm" else "torch"
                settings["A2L_MODEL_DIR"] = str(ROOT / "examples" / "blocks" / "models" / kind)
            one = running.enter_context(
                server(
                    kind,
                    home,
                    settings=settings,
                    timeout_s=600,
                    root=tree.folder,
                    target=tree.target(kind),
                )
            )
            site = Site(kind=kind, http_port=one.http_port, grpc_port=one.grpc_port, key=KEY)
            started.append(Attacked(site=site, server=one))
        yield started


@dataclass(slots=True)
class Peak:
    """The most that was held since it began, beside what was held then."""

    before_bytes: int = 0
    most_bytes: int = 0
    most_descriptors: int = 0

    @property
    def added_mib(self) -> float:
        return (self.most_bytes - self.before_bytes) / MIB


@asynccontextmanager
async def peak_of(attacked: Attacked) -> AsyncGenerator[Peak]:
    """What a service holds meanwhile, looked at ten times a second."""
    worker = attacked.worker()
    peak = Peak(before_bytes=worker.memory_info().rss)

    async def watch() -> None:
        while True:
            peak.most_bytes = max(peak.most_bytes, worker.memory_info().rss)
            peak.most_descriptors = max(peak.most_descriptors, worker.num_fds())
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    try:
        yield peak
    finally:
        watching.cancel()
        await asyncio.wait([watching])


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
