"""The three services in one process, of which each does what a script says: `python scripted_service.py`.

Speaks JSON lines: the first on stdout gives the URLs of every replica; then each line on stdin is a
command, answered by a line. Ends with its stdin.
"""

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.contract.scripted_core import Core, Kill, Replica
from tests.contract.scripted_faults import Kind, Script
from tests.contract.scripted_rest import RestServer
from tests.contract.scripted_rpc import GrpcServer

NUM_REPLICAS = {"question-reward": 3, "answer-reward": 1, "inner-llm": 1}


async def _start(core: Core) -> dict[str, dict[str, list[str]]]:
    urls: dict[str, dict[str, list[str]]] = {"grpc": {}, "rest": {}, "unary": {}}
    for kind, num_replicas in NUM_REPLICAS.items():
        for number in range(num_replicas):
            replica = Replica(kind=kind, number=number)
            servers = {
                "grpc": GrpcServer(core, replica),
                "rest": RestServer(core, replica),
                "unary": GrpcServer(core, replica, has_streams=False),
            }
            for transport, server in servers.items():
                urls[transport].setdefault(kind, []).append(await server.start())
    return urls


def _obey(core: Core, command: dict[str, Any]) -> dict[str, object]:
    what = command.pop("do")
    if what == "script":
        log = Path(str(command.pop("log")))
        command["kinds"] = tuple(Kind(one) for one in command.get("kinds", ()))
        core.begin(Script(**command), log)
    elif what == "kill":
        core.kill = Kill(**command)
    return {
        "counts": dict(core.faults.counts),
        "num_requests": dict(core.num_requests),
        "num_streams": core.num_streams,
        "kill": None if core.kill is None else asdict(core.kill),
    }


async def _main() -> None:
    core = Core(log=Path("/dev/null"))
    print(json.dumps(await _start(core)), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        print(json.dumps(_obey(core, json.loads(line))), flush=True)
    os._exit(0)  # clients may still be connected, and are not waited for


if __name__ == "__main__":
    asyncio.run(_main())
