"""A good caller: sends requests at a steady rate, times the answers, and compares them with the first ones."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import grpc.aio
import httpx
import msgpack

from align2llava.clients.transport.rest import IDLE_S
from align2llava.clients.wire import align2llava_pb2 as pb
from tests.attacks import bodies
from tests.attacks.onslaughts import Site

NUM_REQUESTS = 16
PATIENCE_S = 30.0
MAX_WAITING = 64

Request = dict[str, list[dict[str, Any]]]
Answer = list[object]  # what must be equal whenever it is asked again


@dataclass(slots=True, kw_only=True)
class Heard:
    """Answers so far: seconds of each good one from when it was due, and what else came."""

    seconds: list[float] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)  # "429", "504", "differs", "ReadTimeout"
    num_equal: int = 0


class Caller:
    """One caller with a connection for each transport; requests take turns over them."""

    def __init__(self, site: Site, http: httpx.AsyncClient, channel: grpc.aio.Channel) -> None:
        self._site = site
        self._http = http
        self._channel = channel
        self._requests = [_request(site.kind, number) for number in range(NUM_REQUESTS)]
        self._expected: list[Answer] = []
        self.heard = Heard()

    async def learn(self) -> None:
        """Asks each request once, alone, over both transports; they agree."""
        for number in range(NUM_REQUESTS):
            over_rest, over_grpc = (
                await self._rest(self._requests[number]),
                await self._grpc(self._requests[number]),
            )
            assert over_rest == over_grpc, (self._site.kind, over_rest, over_grpc)
            self._expected.append(over_rest)

    async def num_unlike(self) -> int:
        """Asks each request again, and returns how many are answered in another way now."""
        answers = [await self._rest(request) for request in self._requests]
        return sum(one != other for one, other in zip(answers, self._expected, strict=True))

    async def work_off(self, *, seconds: float, num_at_once: int) -> None:
        """Sends the next request when one is answered, `num_at_once` of them together, for a while."""
        end = time.monotonic() + seconds
        numbers = count()

        async def one_after_the_other() -> None:
            while time.monotonic() < end:
                await self._ask(next(numbers), due=time.monotonic())

        await asyncio.gather(*(one_after_the_other() for _ in range(num_at_once)))

    async def keep_on(self, *, rate: float) -> None:
        """Sends `rate` requests a second, whether or not those before are answered, until it is cancelled.

        Where `MAX_WAITING` are not, those that are due are counted as not sent.
        """
        began = time.monotonic()
        async with asyncio.TaskGroup() as sent:
            waiting: set[asyncio.Task[None]] = set()
            for number in count():
                due = began + number / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if len(waiting) >= MAX_WAITING:
                    self.heard.others["not sent"] += 1
                    continue
                asked = sent.create_task(self._ask(number, due=due))
                waiting.add(asked)
                asked.add_done_callback(waiting.discard)

    async def _ask(self, number: int, *, due: float) -> None:
        place = number // 2 % NUM_REQUESTS
        heard = self.heard
        try:
            send = self._rest if number % 2 else self._grpc
            answer = await send(self._requests[place])
        except (httpx.HTTPStatusError, httpx.TransportError, grpc.aio.AioRpcError) as error:
            heard.others[_told(error)] += 1
            return
        heard.seconds.append(time.monotonic() - due)
        if answer == self._expected[place]:
            heard.num_equal += 1
        else:
            heard.others["differs"] += 1

    async def _rest(self, request: Request) -> Answer:
        response = await self._http.post(
            self._site.route,
            content=msgpack.packb(request) or b"",
            headers={"content-type": bodies.MSGPACK, "accept": bodies.JSON},
        )
        response.raise_for_status()
        told = response.json()
        items = told["items"] if "items" in told else told["groups"][0]["items"]
        return [
            [one["rewritten"]["question"], one["rewritten"]["answer"]]
            if "rewritten" in one
            else one["reward"]
            for one in items
        ]

    async def _grpc(self, request: Request) -> Answer:
        metadata = [("authorization", f"Bearer {self._site.key}")]
        if self._site.kind == "inner-llm":
            told = await self._channel.unary_unary(
                "/align2llava.v1.InnerLLM/Rewrite",
                request_serializer=pb.RewriteRequest.SerializeToString,
                response_deserializer=pb.RewriteResponse.FromString,
            )(pb.RewriteRequest(**request), metadata=metadata, timeout=PATIENCE_S)
            return [[one.rewritten.question, one.rewritten.answer] for one in told.items]
        service = "".join(word.capitalize() for word in self._site.kind.split("-"))
        told = await self._channel.unary_unary(
            f"/align2llava.v1.{service}/Score",
            request_serializer=pb.ScoreRequest.SerializeToString,
            response_deserializer=pb.ScoreResponse.FromString,
        )(pb.ScoreRequest(**request), metadata=metadata, timeout=PATIENCE_S)
        return [one.reward for one in told.groups[0].items]


def _told(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return str(error.response.status_code)
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code().name
    return type(error).__name__


def _request(kind: str, number: int) -> Request:
    turn = {"question": f"What color is star {number}?", "answer": "It is red."}
    if kind == "inner-llm":
        return {"items": [{"id": "a", **turn, "sampling": {"temperature": 0, "max_tokens": 32}}]}
    data = bodies.picture(number)
    item = {"id": "a", **turn}
    if kind == "question-reward":
        item = {"id": "a", "questions": [turn["question"], "Where is it?"]}
    group = {"image": {"sha256": bodies.sha256(data), "data": data}, "items": [item]}
    return {"groups": [group]}


@asynccontextmanager
async def connected(site: Site) -> AsyncGenerator[Caller]:
    """A caller that knows what to expect."""
    headers = {"authorization": f"Bearer {site.key}"}
    address = f"127.0.0.1:{site.grpc_port}"
    async with (
        httpx.AsyncClient(
            base_url=site.http_url,
            trust_env=False,
            timeout=PATIENCE_S,
            headers=headers,
            limits=httpx.Limits(keepalive_expiry=IDLE_S),
        ) as http,
        grpc.aio.insecure_channel(address) as channel,
    ):
        caller = Caller(site, http, channel)
        await caller.learn()
        yield caller


@asynccontextmanager
async def calling(site: Site, *, rate: float) -> AsyncGenerator[Caller]:
    """A caller that keeps on asking meanwhile; his answers are waited for at the end."""
    async with connected(site) as caller:
        asking = asyncio.create_task(caller.keep_on(rate=rate))
        try:
            yield caller
        finally:
            asking.cancel()
            await asyncio.wait([asking])
