"""A load generator in its own process: sends groups to one reward service and times the answers.

    python benchmarks/service_load.py < PLANS > OUTCOMES

Each line of standard input is a `Plan` as JSON and is answered by one line, an `Outcome`. Requests
are encoded before the clock starts; every answer is checked. Each image is drawn from its seed and
sent with its bytes. Knows nothing of what the figures are for.
"""

import asyncio
import hashlib
import io
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it sees its folder only

from align2llava.clients.wire import schemas
from benchmarks.service_calls import Connection, Overloaded, Transport, connected

NUM_DISTINCT = 128  # images; later requests begin again with the first
WIDTH, HEIGHT = 640, 480
_WORDS = [
    "red",
    "blue",
    "green",
    "circle",
    "square",
    "star",
    "sign",
    "left",
    "right",
    "above",
    "of",
]
_WORDS_A_QUESTION = 24

Requests = dict[Transport, list[bytes]]  # encoded, in the order in which they are sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send. `rate` 0: each client sends its next request when the last one is answered."""

    transports: Sequence[Transport]  # clients take turns
    http_port: int
    grpc_port: int
    num_clients: int
    num_requests: int
    num_candidates: int
    rate: float  # requests/s of an open loop, in which a refused request is not sent again
    timeout_s: float


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came back; times in seconds since the first request was sent."""

    latencies_s: list[float] = field(
        default_factory=list
    )  # of answered requests, first send to answer
    elapsed_s: float = 0.0
    num_refused: int = 0  # answers `overloaded`
    num_without_retry_after: int = 0  # of those
    failures: list[str] = field(default_factory=list)  # neither answered nor refused


@cache
def group_of(seed: int, num_candidates: int) -> schemas.Group:
    """Returns the group of a seed: a JPEG of about 50 kB, as photographs are, and questions."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (HEIGHT // 40, WIDTH // 40, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    noise = rng.integers(-12, 13, (HEIGHT, WIDTH, 3), dtype=np.int16)
    buffer = io.BytesIO()
    pixels = np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    data = buffer.getvalue()
    words = Random(seed)
    items = tuple(
        schemas.Item(
            id=str(place), questions=(" ".join(words.choices(_WORDS, k=_WORDS_A_QUESTION)) + "?",)
        )
        for place in range(num_candidates)
    )
    image = schemas.Image(sha256=hashlib.sha256(data).hexdigest(), data=data)
    return schemas.Group(image=image, items=items)


class Load:
    """One plan while it is carried out."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._outcome = Outcome()

    async def run(self) -> Outcome:
        """Returns the outcome when all requests have ended."""
        async with AsyncExitStack() as stack:
            connections = [
                await stack.enter_async_context(
                    connected(
                        self._plan.transports[place % len(self._plan.transports)],
                        http_port=self._plan.http_port,
                        grpc_port=self._plan.grpc_port,
                    )
                )
                for place in range(self._plan.num_clients)
            ]
            requests = self._encoded(connections)
            began_s = time.perf_counter()
            await (self._open if self._plan.rate else self._closed)(connections, requests)
            self._outcome.elapsed_s = time.perf_counter() - began_s
        return self._outcome

    def _encoded(self, connections: Sequence[Connection]) -> Requests:
        seeds = [place % NUM_DISTINCT for place in range(self._plan.num_requests)]
        groups = [group_of(seed, self._plan.num_candidates) for seed in seeds]
        requests: Requests = {}
        for connection in connections:
            if connection.transport not in requests:
                requests[connection.transport] = [connection.encoded(group) for group in groups]
        return requests

    async def _closed(self, connections: Sequence[Connection], requests: Requests) -> None:
        places = iter(range(self._plan.num_requests))

        async def client(connection: Connection) -> None:
            for place in places:
                await self._timed(connection, requests[connection.transport][place], again=True)

        await asyncio.gather(*(client(connection) for connection in connections))

    async def _open(self, connections: Sequence[Connection], requests: Requests) -> None:
        began_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for place, due_s in enumerate(_arrivals(self._plan)):
                await asyncio.sleep(max(0.0, began_s + due_s - time.perf_counter()))
                connection = connections[place % len(connections)]
                request = requests[connection.transport][place]
                group.create_task(self._timed(connection, request, again=False))

    async def _timed(self, connection: Connection, request: bytes, *, again: bool) -> None:
        """Sends a request until it is answered, or once; waits as long as a refusal says."""
        began_s = time.perf_counter()
        try:
            async with asyncio.timeout(self._plan.timeout_s):
                while (refusal := await connection.send(request)) is not None:
                    self._count(refusal)
                    if not again:
                        return
                    await asyncio.sleep(refusal.retry_after_s)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is reported as a failure)
            self._outcome.failures.append(f"{type(error).__name__}: {error}")
            return
        self._outcome.latencies_s.append(time.perf_counter() - began_s)

    def _count(self, refusal: Overloaded) -> None:
        self._outcome.num_refused += 1
        self._outcome.num_without_retry_after += refusal.retry_after_s <= 0


def _arrivals(plan: Plan) -> Iterator[float]:
    """Yields when the requests of an open loop are due: a Poisson process, the same every time."""
    random = Random(0)
    due_s = 0.0
    for _ in range(plan.num_requests):
        due_s += random.expovariate(plan.rate)
        yield due_s


def main() -> None:
    """Answers each plan on standard input."""
    for line in sys.stdin:
        outcome = asyncio.run(Load(Plan(**json.loads(line))).run())
        print(json.dumps(asdict(outcome)), flush=True)


if __name__ == "__main__":
    main()
