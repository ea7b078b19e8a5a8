"""Targets of the clients: answers of a service that lies, over both transports."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import grpc
import grpc.aio
import httpx

from align2llava.clients.api import InnerLLMClient, RewardClient
from align2llava.clients.endpoint import Endpoint
from align2llava.clients.errors import ClientError
from align2llava.clients.transport.rest import RestInnerLLMClient, RestRewardClient
from align2llava.clients.transport.rpc import GrpcInnerLLMClient, GrpcRewardClient
from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire.schemas import Group, Image, Item, RewriteItem
from tests.fuzz.campaign import Feed, Target, Verdict
from tests.fuzz.mutator import Seed
from tests.fuzz.wire import DATA, SHA256, pack

_PATIENCE_S = 10.0
_MODEL = {
    "name": "a",
    "kind": "question-reward",
    "identity": "i",
    "weights_sha256": "w",
    "dtype": "float32",
}
_REWARDS = {
    "model": _MODEL,
    "groups": [
        {"items": [{"id": "a", "reward": 0.5, "num_tokens": 3}], "usage": {"device_ms": 1.0}}
    ],
}
_REWRITES = {
    "model": _MODEL,
    "items": [{"id": "a", "rewritten": {"question": "q", "answer": "a"}, "finish_reason": "stop"}],
}
_ERROR = {"error": {"code": "overloaded", "message": "full", "retry_after_ms": 5}}
_STATUSES = (200, 400, 401, 409, 413, 422, 429, 500, 502, 503, 504, 404, 302, 206)
_RETRY_AFTERS = ("0", "1", "nan", "inf", "-1", "9" * 400, "Wed, 21 Oct 2026 07:28:00 GMT", "")
_CODES = tuple(grpc.StatusCode)[1:]
_GROUP = Group(
    image=Image(sha256=SHA256, data=DATA), items=(Item(id="a", questions=("What is it?",)),)
)
T = TypeVar("T")
Ask = Callable[[int], object]


async def _asked(reward: RewardClient, inner: InnerLLMClient, which: int) -> None:
    match which % 3:
        case 0:
            await reward.score([_GROUP], timeout_s=_PATIENCE_S)
        case 1:
            await inner.rewrite(
                [RewriteItem(id="a", question="q", answer="a")], timeout_s=_PATIENCE_S
            )
        case _:
            await reward.model(timeout_s=_PATIENCE_S)


def _rest(_: Path) -> Iterator[Feed]:
    """The first bytes choose the call, the status, the content type and `retry-after`."""
    told = b""

    async def answer(_request: httpx.Request) -> httpx.Response:
        kind = ("application/x-msgpack", "application/json", "text/html")[told[2] % 3]
        headers = {"content-type": kind, "retry-after": _RETRY_AFTERS[told[3] % len(_RETRY_AFTERS)]}
        return httpx.Response(
            _STATUSES[told[1] % len(_STATUSES)], headers=headers, content=told[4:]
        )

    with asyncio.Runner() as runner:

        async def opened() -> tuple[RewardClient, InnerLLMClient]:
            endpoint = Endpoint(url="http://127.0.0.1:1")
            transport = httpx.MockTransport(answer)
            return (
                RestRewardClient(endpoint, transport=transport, retries=False),
                RestInnerLLMClient(endpoint, transport=transport, retries=False),
            )

        reward, inner = runner.run(opened())

        def feed(data: bytes) -> Verdict:
            nonlocal told
            told = data.ljust(4, b"\x00")
            runner.run(_asked(reward, inner, told[0]))
            return Verdict.ACCEPTED

        yield feed


def _rest_seeds() -> list[Seed]:
    good = [(0, _REWARDS), (1, _REWRITES), (2, _MODEL)]
    seeds = [
        Seed(body=pack(body), grammar="msgpack", prefix=bytes([which, 0, 0, 0]))
        for which, body in good
    ]
    for status in range(1, len(_STATUSES)):
        after = status % len(_RETRY_AFTERS)
        body = json.dumps(_ERROR).encode()
        seeds.append(Seed(body=body, grammar="json", prefix=bytes([0, status, 1, after])))
    return seeds


class _Liar(grpc.GenericRpcHandler):
    """Answers every method with bytes as they are, or with a status and strange trailers."""

    def __init__(self) -> None:
        self.told = b"\x00\x00"

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        if handler_call_details.method.endswith("ScoreStream"):
            return grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, _request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await self._maybe_abort(context)
        return self.told[2:]

    async def _stream(self, requests, context: grpc.aio.ServicerContext):
        async for message in requests:
            await self._maybe_abort(context)
            asked = pb.ScoreStreamRequest.FromString(message)
            try:
                answer = pb.ScoreStreamResponse.FromString(self.told[2:])
            except ValueError:
                yield self.told[2:]
                return
            if self.told[1] % 4:
                answer.request_id = asked.request_id
            yield answer.SerializeToString()
            if self.told[1] % 5 == 0:
                return

    async def _maybe_abort(self, context: grpc.aio.ServicerContext) -> None:
        if self.told[0] >= 128:
            code = _CODES[self.told[0] % len(_CODES)]
            names = ("overloaded", "internal", "nonsense", "")
            after = _RETRY_AFTERS[self.told[1] % len(_RETRY_AFTERS)]
            trailers = (("a2l-code", names[self.told[1] % 4]), ("a2l-retry-after-ms", after))
            await context.abort(code, "told \u00e9", trailers)


def _rpc(_: Path) -> Iterator[Feed]:
    liar = _Liar()
    with asyncio.Runner() as runner:

        async def opened() -> tuple[grpc.aio.Server, RewardClient, InnerLLMClient]:
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((liar,))
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            endpoint = Endpoint(url=f"grpc://127.0.0.1:{port}")
            reward = GrpcRewardClient(endpoint, kind="question-reward", retries=False)
            return server, reward, GrpcInnerLLMClient(endpoint, retries=False)

        async def closed() -> None:
            await reward.aclose()
            await inner.aclose()
            await server.stop(0)

        server, reward, inner = runner.run(opened())
        try:

            def feed(data: bytes) -> Verdict:
                liar.told = data.ljust(2, b"\x00")
                runner.run(_asked(reward, inner, liar.told[0]))
                return Verdict.ACCEPTED

            yield feed
        finally:
            runner.run(closed())


def _rpc_seeds() -> list[Seed]:
    model = pb.ModelIdentity(**_MODEL)
    item = pb.ItemReward(id="a", reward=0.5, num_tokens=3)
    rewards = pb.ScoreResponse(model=model, groups=[pb.GroupRewards(items=[item])])
    streamed = pb.ScoreStreamResponse(response=rewards)
    turn = pb.Turn(question="q", answer="a")
    rewrites = pb.RewriteResponse(model=model, items=[pb.RewriteResult(id="a", rewritten=turn)])
    good = [(0, streamed, 1), (0, streamed, 2), (1, rewrites, 0), (2, model, 0)]
    seeds = [
        Seed(body=message.SerializeToString(), grammar="proto", prefix=bytes([which, variant]))
        for which, message, variant in good
    ]
    aborts = [Seed(body=b"", grammar="bytes", prefix=bytes([128 + n, n])) for n in range(32)]
    return seeds * 8 + aborts


TARGETS = (
    Target(
        name="answers to the REST clients",
        seeds=_rest_seeds,
        opened=contextmanager(_rest),
        typed=(ClientError,),
        num_inputs=6_000,
    ),
    Target(
        name="answers to the gRPC clients",
        seeds=_rpc_seeds,
        opened=contextmanager(_rpc),
        typed=(ClientError,),
        num_inputs=5_000,
    ),
)
