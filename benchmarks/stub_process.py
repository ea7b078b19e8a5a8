"""The stub service as a process: started, asked what it has answered, ended."""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from benchmarks.stub_service import Holds, Kind, Ports, Stats

_SCRIPT = Path(__file__).with_name("stub_service.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class StubProcess:
    """A running stub."""

    ports: Ports

    def url(self, kind: Kind, transport: Literal["grpc", "rest"]) -> str:
        """Returns the endpoint of a kind, as a config names it."""
        if transport == "grpc":
            return f"grpc://127.0.0.1:{self.ports.grpc}"
        return f"http://127.0.0.1:{self.ports.http[kind]}"

    def stats(self) -> Stats:
        """Returns what it has answered since its start."""
        url = f"{self.url('question-reward', 'rest')}/stats"
        return Stats(**httpx.get(url, trust_env=False).json())


@contextmanager
def running_stub(holds: Holds) -> Generator[StubProcess]:
    """Starts a stub, ready to answer, and ends it.

    Raises:
        RuntimeError: it does not start.
    """
    with subprocess.Popen(
        [sys.executable, str(_SCRIPT), "--holds", holds], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"the stub ended with {process.wait()} before it was ready")
            yield StubProcess(ports=Ports(**json.loads(line)))
        finally:
            process.terminate()
