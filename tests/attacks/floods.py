"""Floods of damaged requests at live services: REST bodies and headers, gRPC messages and streams, images.

    python -m tests.attacks.floods --scale 0.1 --only gRPC

Afterwards each service answers as before, in the process it had, and its log tells of no fault. The first input
of each failure is written to a file.
"""

import argparse
import asyncio
import hashlib
import random
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio
import httpx
import msgpack

from benchmarks.measuring import say
from tests.attacks import bodies
from tests.attacks.bodies import JSON, MSGPACK
from tests.attacks.onslaughts import Site
from tests.attacks.rows import Row
from tests.attacks.steady import connected
from tests.attacks.world import KINDS, MIB, Attacked, services
from tests.fuzz.campaign import ROOT, ServerFault, Verdict
from tests.fuzz.images import image_seeds
from tests.fuzz.mutator import Seed, mutated
from tests.fuzz.wire import (
    BODIES,
    HEADER_SEED,
    METHODS,
    TOKEN,
    checked,
    checked_error,
    checked_message,
    grpc_seeds,
    rest_seeds,
    stream_seeds,
)

SEED = 20_261_201
FAILURES = ROOT / "runs" / "attack-failures"
PATIENCE_S = 20.0
_AT_ONCE = 8
_IMAGES_A_REQUEST = 16

Feed = Callable[[bytes], Awaitable[Verdict]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """Damaged inputs of one kind; `opened` gives what sends one to a service."""

    name: str
    kind: str
    num_inputs: int
    seeds: Callable[[], Sequence[Seed]]
    opened: Callable[[Site], AbstractAsyncContextManager[Feed]]


@dataclass(slots=True)
class Counts:
    """What became of them."""

    tried: int = 0
    refused: int = 0
    accepted: int = 0
    faults: int = 0
    hangs: int = 0
    failures: dict[str, bytes] = field(default_factory=dict)  # one input of each kind

    def failed(self, told: str, data: bytes) -> None:
        self.failures.setdefault(told[:100], data)


@asynccontextmanager
async def _http(site: Site) -> AsyncGenerator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {site.key}"}
    async with httpx.AsyncClient(
        base_url=site.http_url, trust_env=False, timeout=PATIENCE_S, headers=headers
    ) as http:
        yield http


def _rest(content_type: str) -> Callable[[Site], AbstractAsyncContextManager[Feed]]:
    """The first byte of an input chooses the route, the rest is the body."""

    @asynccontextmanager
    async def opened(site: Site) -> AsyncGenerator[Feed]:
        async with _http(site) as http:

            async def feed(data: bytes) -> Verdict:
                route = BODIES[site.kind][data[0]][0]
                headers = {"content-type": content_type}
                return checked(await http.post(route, content=data[1:], headers=headers))

            yield feed

    return opened


@asynccontextmanager
async def _headers(site: Site) -> AsyncGenerator[Feed]:
    """Lines NAME: VALUE of a good body's request; what no HTTP client sends is left out."""
    route, body = BODIES[site.kind][0]
    async with _http(site) as http:

        async def feed(data: bytes) -> Verdict:
            lines = [line.partition(b": ") for line in data.split(b"\n")]
            named = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {site.key}".encode())]
            named += [
                (name.lower(), value)
                for name, _, value in lines
                if TOKEN.fullmatch(name) and not _FRAMES.intersection({name.lower()})
            ]
            request = http.build_request("POST", route, json=body)
            request.headers = httpx.Headers(
                [*named, (b"content-length", request.headers["content-length"].encode())]
            )
            try:
                response = await http.send(request)
            except httpx.LocalProtocolError:
                return Verdict.REFUSED
            if response.content == _NO_HTTP:
                return Verdict.REFUSED
            return checked(response, may_be_late=True)

        yield feed


_NO_HTTP = b"Invalid HTTP request received."  # of the HTTP server, before any request is there
# What says where a request ends, and where it goes: raw sockets are for these (test_bounds).
_FRAMES = {b"content-length", b"transfer-encoding", b"host", b"connection", b"expect"}


@asynccontextmanager
async def _channel(site: Site) -> AsyncGenerator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{site.grpc_port}") as channel:
        yield channel


@asynccontextmanager
async def _grpc(site: Site) -> AsyncGenerator[Feed]:
    """The first byte of an input chooses the method."""
    metadata = [("authorization", f"Bearer {site.key}")]
    async with _channel(site) as channel:
        calls = [channel.unary_unary(f"/align2llava.v1.{name}") for name, _ in METHODS[site.kind]]

        async def feed(data: bytes) -> Verdict:
            try:
                return checked_message(
                    await calls[data[0]](data[1:], timeout=PATIENCE_S, metadata=metadata)
                )
            except grpc.aio.AioRpcError as error:
                return checked_error(error)

        yield feed


@asynccontextmanager
async def _stream(site: Site) -> AsyncGenerator[Feed]:
    """One damaged message on a stream of its own."""
    metadata = [("authorization", f"Bearer {site.key}")]
    async with _channel(site) as channel:
        open_stream = channel.stream_stream("/align2llava.v1.QuestionReward/ScoreStream")

        async def feed(data: bytes) -> Verdict:
            verdict = Verdict.REFUSED
            try:
                async for answer in open_stream(
                    iter([data]), timeout=PATIENCE_S, metadata=metadata
                ):
                    verdict = checked_message(answer)
            except grpc.aio.AioRpcError as error:
                return checked_error(error)
            return verdict

        yield feed


@asynccontextmanager
async def _images(site: Site) -> AsyncGenerator[Feed]:
    """An input is one image; they are sent in groups together."""
    item = {"id": "a", "questions": ["What is it?"]}
    async with _http(site) as http:
        together = _Together(http, site.route, item)
        yield together.feed


class _Together:
    """Sends groups of several callers in one request."""

    def __init__(self, http: httpx.AsyncClient, route: str, item: dict[str, object]) -> None:
        self._http = http
        self._route = route
        self._item = item
        self._waiting: list[tuple[bytes, asyncio.Future[Verdict]]] = []
        self._flush: asyncio.Task[None] | None = None

    async def feed(self, data: bytes) -> Verdict:
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._waiting.append((data, verdict))
        if len(self._waiting) == _IMAGES_A_REQUEST:
            await self._send()
        elif len(self._waiting) == 1:
            self._flush = asyncio.create_task(self._send_later())
        return await verdict

    async def _send_later(self) -> None:
        await asyncio.sleep(0.05)
        await self._send()

    async def _send(self) -> None:
        sent, self._waiting = self._waiting, []
        if not sent:
            return
        groups = [
            {"image": {"sha256": bodies.sha256(data), "data": data}, "items": [self._item]}
            for data, _ in sent
        ]
        try:
            response = await self._http.post(
                self._route,
                content=msgpack.packb({"groups": groups}) or b"",
                headers={"content-type": MSGPACK, "accept": JSON},
            )
            checked(response)
            answered = [group["items"][0] for group in response.json()["groups"]]
            assert len(answered) == len(sent)
        except Exception as error:  # noqa: BLE001  (each image's caller is told)
            for _, verdict in sent:
                verdict.set_exception(error)
            return
        for (_, verdict), one in zip(sent, answered, strict=True):
            verdict.set_result(Verdict.ACCEPTED if "reward" in one else Verdict.REFUSED)


def _rest_flood(kind: str, *, packed: bool, num_inputs: int) -> Flood:
    return Flood(
        name=f"{kind}: {'msgpack' if packed else 'JSON'} bodies",
        kind=kind,
        num_inputs=num_inputs,
        seeds=rest_seeds(kind, packed=packed),
        opened=_rest(MSGPACK if packed else JSON),
    )


FLOODS = (
    *(
        _rest_flood(kind, packed=packed, num_inputs=15_000)
        for kind in KINDS
        for packed in (False, True)
    ),
    *(
        Flood(
            name=f"{kind}: headers",
            kind=kind,
            num_inputs=5_000,
            seeds=lambda: [Seed(body=HEADER_SEED, grammar="headers")],
            opened=_headers,
        )
        for kind in KINDS
    ),
    *(
        Flood(
            name=f"{kind}: gRPC messages",
            kind=kind,
            num_inputs=30_000,
            seeds=grpc_seeds(kind),
            opened=_grpc,
        )
        for kind in KINDS
    ),
    Flood(
        name="question-reward: gRPC streams",
        kind="question-reward",
        num_inputs=12_000,
        seeds=stream_seeds,
        opened=_stream,
    ),
    Flood(
        name="question-reward: images",
        kind="question-reward",
        num_inputs=80_000,
        seeds=image_seeds,
        opened=_images,
    ),
)


async def _flooded(flood: Flood, site: Site, *, seed: int, num_inputs: int) -> Counts:
    rng = random.Random(f"{seed} {flood.name}")
    seeds = flood.seeds()
    counts = Counts()
    at_once = _AT_ONCE * (_IMAGES_A_REQUEST if flood.opened is _images else 1)
    async with flood.opened(site) as feed:

        async def send() -> None:
            while counts.tried < num_inputs:
                counts.tried += 1
                await try_one(feed, mutated(rng.choice(seeds), rng), counts)

        await asyncio.gather(*(send() for _ in range(at_once)))
    return counts


async def try_one(feed: Feed, data: bytes, counts: Counts) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            verdict = await feed(data)
    except ServerFault as error:
        counts.faults += 1
        counts.failed(str(error), data)
    except (TimeoutError, httpx.TimeoutException):
        counts.hangs += 1
        counts.failed("no answer", data)
    except (httpx.TransportError, ValueError) as error:
        counts.faults += 1
        counts.failed(f"{type(error).__name__} {error}", data)
    else:
        counts.accepted += verdict is Verdict.ACCEPTED
        counts.refused += verdict is Verdict.REFUSED


async def _row(flood: Flood, one: Attacked, *, seed: int, num_inputs: int) -> Row:
    """Floods a service that was asked before, and asks it again."""
    pid, num_faults, held = one.worker().pid, one.num_faults_logged(), one.held_bytes()
    began = time.monotonic()
    num_changed = 0
    async with connected(one.site) as caller:
        counts = await _flooded(flood, one.site, seed=seed, num_inputs=num_inputs)
        seconds = time.monotonic() - began
        num_changed += await caller.num_unlike()
    num_changed += one.worker().pid != pid
    for told, data in counts.failures.items():
        FAILURES.mkdir(parents=True, exist_ok=True)
        path = FAILURES / f"{hashlib.sha256(data).hexdigest()[:16]}.bin"
        path.write_bytes(data)
        print(f"    {flood.name}: {told} ({path.relative_to(ROOT)})")
    return Row(
        name=flood.name,
        tried=counts.tried,
        refused=counts.refused,
        accepted=counts.accepted,
        faults=counts.faults,
        hangs=counts.hangs,
        crashes=num_changed,
        uncaught=one.num_faults_logged() - num_faults,
        seconds=seconds,
        note=f"{counts.tried / seconds:.0f} a second; memory {(one.held_bytes() - held) / MIB:+.0f} MiB",
    )


def run(folder: Path, *, seed: int, scale: float, only: str = "") -> list[Row]:
    """Returns a row for each flood; a service lives through all of its floods."""
    rows: list[Row] = []
    for kind in KINDS:
        floods = [flood for flood in FLOODS if flood.kind == kind and only in flood.name]
        if not floods:
            continue
        with services(folder / kind, kinds=[kind], engine="fake") as (one,):
            for flood in floods:
                num_inputs = max(1, int(flood.num_inputs * scale))
                row = asyncio.run(_row(flood, one, seed=seed, num_inputs=num_inputs))
                say(str(row))
                rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Floods live services with damaged requests.")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the whole campaign")
    parser.add_argument("--only", default="", help="floods whose name holds this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="a2l-floods-") as folder:
        run(Path(folder), seed=options.seed, scale=options.scale, only=options.only)


if __name__ == "__main__":
    main()
