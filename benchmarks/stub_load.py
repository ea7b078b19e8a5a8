"""What the stub service itself can do: requests encoded beforehand, answers not looked at.

Sends from this process, with many requests out at once, over one gRPC stream or several HTTP
connections. The figure bounds every figure that was taken against the stub.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Sequence

import grpc.aio
import httpx
import msgpack

from align2llava.clients.wire import align2llava_pb2 as pb
from benchmarks.stub_process import StubProcess

GROUPS_A_MESSAGE = 16
ITEMS_A_GROUP = 2
ITEMS_A_MESSAGE = GROUPS_A_MESSAGE * ITEMS_A_GROUP
_NUM_DISTINCT = 64
_NUM_CONNECTIONS = 8
_MSGPACK = "application/x-msgpack"
_METHOD = "/align2llava.v1.QuestionReward/ScoreStream"


async def grpc_items_per_s(stub: StubProcess, *, num_messages: int) -> float:
    """Returns the items a second of one `ScoreStream`."""
    messages = [_proto(number).SerializeToString() for number in range(_NUM_DISTINCT)]

    async def requests() -> AsyncIterator[bytes]:
        for number in range(num_messages):
            yield messages[number % _NUM_DISTINCT]

    async with grpc.aio.insecure_channel(f"127.0.0.1:{stub.ports.grpc}") as channel:
        await channel.channel_ready()
        call = channel.stream_stream(_METHOD)(requests())
        began_s = time.perf_counter()
        num_answered = 0
        async for _ in call:
            num_answered += 1
        elapsed_s = time.perf_counter() - began_s
    assert num_answered == num_messages
    return num_messages * ITEMS_A_MESSAGE / elapsed_s


async def rest_items_per_s(stub: StubProcess, *, num_messages: int) -> float:
    """Returns the items a second of `POST /v1/score` with msgpack bodies."""
    bodies = [_packed(number) for number in range(_NUM_DISTINCT)]
    numbers = iter(range(num_messages))
    async with httpx.AsyncClient(
        base_url=stub.url("question-reward", "rest"),
        headers={"accept": _MSGPACK, "content-type": _MSGPACK},
        trust_env=False,
    ) as http:

        async def send() -> None:
            for number in numbers:
                response = await http.post("/v1/score", content=bodies[number % _NUM_DISTINCT])
                response.raise_for_status()

        began_s = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(_NUM_CONNECTIONS)))
        return num_messages * ITEMS_A_MESSAGE / (time.perf_counter() - began_s)


def _groups(number: int) -> Sequence[tuple[str, Sequence[tuple[str, str]]]]:
    """Returns hash and items (id, question) of each group of a message."""
    return [
        (
            hashlib.sha256(f"{number}/{group}".encode()).hexdigest(),
            [
                (f"{number:032d}/-1/{item}", f"What is beside the red car in picture {group}?")
                for item in range(ITEMS_A_GROUP)
            ],
        )
        for group in range(GROUPS_A_MESSAGE)
    ]


def _proto(number: int) -> pb.ScoreStreamRequest:
    message = pb.ScoreStreamRequest(request_id=str(number))
    for sha256, items in _groups(number):
        group = message.request.groups.add()
        group.image.sha256 = sha256
        for name, question in items:
            group.items.add(id=name, questions=[question])
    return message


def _packed(number: int) -> bytes:
    groups = [
        {
            "image": {"sha256": sha256},
            "items": [{"id": name, "questions": [question]} for name, question in items],
        }
        for sha256, items in _groups(number)
    ]
    return msgpack.packb({"groups": groups}) or b""
