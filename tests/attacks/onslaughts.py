"""Attacks on a running service by name, each one round at a time; what was answered is counted.

    python -m tests.attacks.onslaughts NAME SECONDS < SITE

keeps one up for a while from a process of its own, as strangers do, and prints the counts as JSON.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import count

import grpc
import grpc.aio
import httpx
import msgpack

from tests.attacks import bodies
from tests.attacks.bodies import JSON, MIB, MSGPACK

PATIENCE_S = 90.0
_RAW_S = 30.0
MAX_ROUNDS_A_S = 10
REWARD_KINDS = ("question-reward", "answer-reward")
_MESSAGE_LIMIT = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_METHODS = {
    "question-reward": "/align2llava.v1.QuestionReward/Score",
    "answer-reward": "/align2llava.v1.AnswerReward/Score",
    "inner-llm": "/align2llava.v1.InnerLLM/Rewrite",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a service answers, and the key of a caller who has one."""

    kind: str
    http_port: int
    grpc_port: int
    key: str

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def route(self) -> str:
        return "/v1/rewrite" if self.kind == "inner-llm" else "/v1/score"

    @property
    def field(self) -> str:
        """The list of a request's body."""
        return "items" if self.kind == "inner-llm" else "groups"


def is_fault(code: str) -> bool:
    """Whether an answer says that the fault is the service's own."""
    return code.startswith("5") or code in {"INTERNAL", "UNKNOWN"}


Round = Callable[[Site], Awaitable[Counter[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Onslaught:
    """An attack: `finding` is its number in the first campaign, `kinds` are the services it is for."""

    finding: str
    one_round: Round
    kinds: Sequence[str] = (*REWARD_KINDS, "inner-llm")


async def _post(
    site: Site, body: bytes, *, route: str = "", content_type: str = JSON, **headers: str
) -> str:
    """Returns the status of an answer, or what came instead."""
    named = {"content-type": content_type, "authorization": f"Bearer {site.key}"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
        url = f"{site.http_url}{route or site.route}"
        try:
            return str((await http.post(url, content=body, headers=named)).status_code)
        except httpx.TransportError as error:
            return type(error).__name__


async def _call(site: Site, message: bytes, *, num_calls: int = 1, key: str = "") -> Counter[str]:
    """Returns the codes of calls with the same bytes, made at once over four connections."""
    metadata = [("authorization", f"Bearer {key}")] if key else []
    channels = [
        grpc.aio.insecure_channel(
            f"127.0.0.1:{site.grpc_port}",
            options=[*_MESSAGE_LIMIT, ("grpc.use_local_subchannel_pool", 1)],
        )
        for _ in range(min(4, num_calls))
    ]

    async def one(number: int) -> str:
        call = channels[number % len(channels)].unary_unary(_METHODS[site.kind])
        try:
            await call(message, timeout=PATIENCE_S, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    try:
        return Counter(await asyncio.gather(*(one(number) for number in range(num_calls))))
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


def _bomb(name: str) -> Round:
    async def one_round(site: Site) -> Counter[str]:
        content_type, body = _bombs(site.field)[name]
        return Counter([await _post(site, body, content_type=content_type)])

    return one_round


@cache
def _bombs(field: str) -> dict[str, bodies.Bomb]:
    return bodies.rest_bombs(of=field)


def _grpc_bomb(name: str) -> Round:
    return lambda site: _call(site, bodies.GRPC_BOMBS[name], key=site.key)


def _images(make: Callable[[], bytes], *, at_once: int = 2) -> Round:
    """Requests with an image each, none of which the service has seen."""
    made = cache(make)
    numbers = iter(range(2**31))

    async def one_round(site: Site) -> Counter[str]:
        item = (
            {"id": "a", "questions": ["What is it?"]}
            if site.kind == "question-reward"
            else {"id": "a", "question": "What is it?", "answer": "Red."}
        )
        sent: list[bytes] = []
        for _ in range(at_once):
            data = _seen_never(made(), next(numbers))
            image = {"sha256": bodies.sha256(data), "data": data}
            sent.append(msgpack.packb({"groups": [{"image": image, "items": [item]}]}) or b"")
        return Counter(
            await asyncio.gather(*(_post(site, body, content_type=MSGPACK) for body in sent))
        )

    return one_round


def _seen_never(data: bytes, number: int) -> bytes:
    """Returns the image with a comment; what follows the end of a PNG is no part of it."""
    told = f"{os.getpid()} {number}".encode()
    if data[:2] == b"\xff\xd8":
        return data[:2] + b"\xff\xfe" + (len(told) + 2).to_bytes(2, "big") + told + data[2:]
    return data + told


def _chat(make: Callable[[], bytes]) -> Round:
    made = cache(make)

    async def one_round(site: Site) -> Counter[str]:
        return Counter([await _post(site, made(), route="/v1/chat/completions")])

    return one_round


async def _header(site: Site) -> Counter[str]:
    """Header lines without an end, up to 64 MiB."""
    line = b"x: " + b"a" * 8_000 + b"\r\n"

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n")
        for _ in range(64):
            writer.write(line * (MIB // len(line)))
            await writer.drain()
        return "taken" if await reader.read(1) else "cut"

    return Counter([await _raw(site, flood)])


def _half(head: str, *, num_connections: int = 100) -> Round:
    """Connections that each say a part and wait, a byte a second."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, key: str) -> str:
        writer.write(head.replace("KEY", key).encode())
        for _ in range(3):
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(1)
        return "open" if not reader.at_eof() else "cut"

    async def one_round(site: Site) -> Counter[str]:
        talk = partial(drip, key=site.key)
        return Counter(await asyncio.gather(*(_raw(site, talk) for _ in range(num_connections))))

    return one_round


async def _raw(
    site: Site, talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[str]]
) -> str:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.http_port)
    except OSError:
        return "refused"
    try:
        async with asyncio.timeout(_RAW_S):
            return await talk(reader, writer)
    except TimeoutError:
        writer.transport.abort()
        return "hangs"
    except OSError:
        return "cut"
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _bodies_held(site: Site) -> Counter[str]:
    """24 bodies of 40 MiB that are read together."""
    body = b'{"' + site.field.encode() + b'":"' + b"a" * (40 * MIB) + b'"}'
    return Counter(await asyncio.gather(*(_post(site, body) for _ in range(24))))


async def _forged(site: Site) -> Counter[str]:
    line = "2026-11-27T00:00:00+0000 [INFO] FORGED \u001b[31m"
    sent = [await _post(site, json.dumps({site.field: [], f"\n{line}": n}).encode()) for n in "ab"]
    return Counter(sent)


async def _deadlines(site: Site) -> Counter[str]:
    body = json.dumps({site.field: []}).encode()
    return Counter([await _post(site, body, x_deadline_ms="9" * num) for num in (16, 400, 4_301)])


async def _unreadable(site: Site) -> Counter[str]:
    return await _call(site, b"\x0a\xff\xff\xff\xff\x0f", num_calls=20, key=site.key)


async def _no_key(site: Site) -> Counter[str]:
    return await _call(site, b"\x0a" + bytes(30 * MIB), num_calls=60)


_HALF_HEAD = "GET /livez HTTP/1.1\r\nx: "
_HALF_BODY = (
    "POST /v1/score HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    "authorization: Bearer KEY\r\nx-deadline-ms: 999999999999\r\ncontent-length: 900000\r\n\r\n{"
)

ONSLAUGHTS: dict[str, Onslaught] = {
    **{
        f"1 MiB: {name}": Onslaught(finding="S1", one_round=_bomb(name))
        for name in bodies.rest_bombs(0)
    },
    **{
        f"gRPC: {name}": Onslaught(finding="S1", one_round=_grpc_bomb(name))
        for name in bodies.GRPC_BOMBS
    },
    "8,000 scans": Onslaught(
        finding="S2", one_round=_images(bodies.many_scans), kinds=REWARD_KINDS
    ),
    "a large grammar": Onslaught(
        finding="S3", one_round=_chat(bodies.grammar), kinds=("inner-llm",)
    ),
    "100,000 choices": Onslaught(
        finding="S3", one_round=_chat(bodies.choices), kinds=("inner-llm",)
    ),
    "60 calls of 30 MiB without a key": Onslaught(finding="S5", one_round=_no_key),
    "64 MiB of headers": Onslaught(finding="S5", one_round=_header),
    "100 half heads": Onslaught(finding="S5", one_round=_half(_HALF_HEAD)),
    "100 half bodies": Onslaught(finding="S5", one_round=_half(_HALF_BODY)),
    "500 slow connections": Onslaught(
        finding="S5", one_round=_half(_HALF_HEAD, num_connections=500)
    ),
    "24 bodies of 40 MiB": Onslaught(finding="S5", one_round=_bodies_held),
    "forged log lines": Onslaught(finding="S6", one_round=_forged),
    "broken EXIF": Onslaught(
        finding="S9", one_round=_images(bodies.broken_exif), kinds=REWARD_KINDS
    ),
    "unwritable EXIF": Onslaught(
        finding="S9", one_round=_images(bodies.unwritable_exif), kinds=REWARD_KINDS
    ),
    "endless EXIF": Onslaught(
        finding="S9", one_round=_images(bodies.endless_metadata), kinds=REWARD_KINDS
    ),
    "deadlines of 400 digits": Onslaught(finding="S12", one_round=_deadlines),
    "unreadable messages": Onslaught(finding="S12", one_round=_unreadable),
}


async def keep_up(name: str, site: Site, *, seconds: float) -> Counter[str]:
    """Returns what rounds of an attack, one after the other, were answered; there is one at least.

    No more than `MAX_ROUNDS_A_S` begin in a second: what is cheap to refuse would be a question of volume else.
    """
    told: Counter[str] = Counter()
    began = time.monotonic()
    end = began + seconds
    for number in count():
        if told and time.monotonic() >= end:
            break
        told += await ONSLAUGHTS[name].one_round(site)
        await asyncio.sleep(began + (number + 1) / MAX_ROUNDS_A_S - time.monotonic())
    return told


async def attacked(name: str, site: Site, *, seconds: float) -> Counter[str]:
    """Returns what an attack that another process keeps up was answered."""
    command = (sys.executable, "-m", "tests.attacks.onslaughts", name, str(seconds))
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        told, _ = await process.communicate(json.dumps(asdict(site)).encode())
    finally:
        if process.returncode is None:  # who waits was cancelled
            process.kill()
            await process.communicate()
    assert process.returncode == 0, name
    return Counter(json.loads(told))


if __name__ == "__main__":
    os.nice(10)
    found = asyncio.run(
        keep_up(sys.argv[1], Site(**json.load(sys.stdin)), seconds=float(sys.argv[2]))
    )
    print(json.dumps(found))
