"""Targets of the wire: bodies, messages and headers at real services in this process."""

import asyncio
import base64
import hashlib
import io
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import grpc
import grpc.aio
import httpx
import msgpack
from PIL import Image

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.services import answer_reward, inner_llm, question_reward
from align2llava.services.answer_reward import AnswerReward
from align2llava.services.inner_llm import InnerLLM
from align2llava.services.question_reward import QuestionReward
from tests.fuzz.campaign import Feed, ServerFault, Target, Verdict
from tests.fuzz.mutator import Seed
from tests.services.in_process import InProcess, in_process

_PATIENCE_S = 15.0
_SERVICES = {
    "question-reward": (QuestionReward, question_reward.RUNTIME),
    "answer-reward": (AnswerReward, answer_reward.RUNTIME),
    "inner-llm": (InnerLLM, inner_llm.RUNTIME),
}
JSON, MSGPACK = "application/json", "application/x-msgpack"
OWN_FAULTS = {"UNKNOWN", "INTERNAL", "UNAVAILABLE", "UNIMPLEMENTED"}
TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
T = TypeVar("T")
Opened = Callable[[Path], AbstractContextManager[Feed]]


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return buffer.getvalue()


DATA = _png()
SHA256 = hashlib.sha256(DATA).hexdigest()
_QUESTION_ITEM = {"id": "a", "questions": ["What is it?", "And now?"]}
_ANSWER_ITEM = {"id": "a", "question": "What is it?", "answer": "Red."}
_TURN = {"question": "What is it?", "answer": "Red."}
_SAMPLING = {"temperature": 0.5, "seed": 1, "max_tokens": 20}


def _score(item: object, data: object) -> dict[str, object]:
    return {"groups": [{"image": {"sha256": SHA256, "data": data}, "items": [item]}]}


BODIES: dict[str, list[tuple[str, dict[str, object]]]] = {
    "question-reward": [("/v1/score", _score(_QUESTION_ITEM, base64.b64encode(DATA).decode()))],
    "answer-reward": [("/v1/score", _score(_ANSWER_ITEM, base64.b64encode(DATA).decode()))],
    "inner-llm": [
        ("/v1/rewrite", {"items": [{"id": "a", **_TURN, "sampling": _SAMPLING}]}),
        ("/v1/review", {"items": [{"id": "a", "original": _TURN, "rewrite": _TURN}]}),
        ("/v1/likelihood", {"items": [{"id": "a", "prompt": "p", "completion": "c d"}]}),
    ],
}


class Wait(Protocol):
    """Waits for a call."""

    def __call__(self, call: Awaitable[T], /) -> T: ...


@contextmanager
def service(kind: str) -> Iterator[tuple[Wait, InProcess]]:
    """A service that runs while a call is waited for, and the way to wait for one."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        ready: asyncio.Future[InProcess] = loop.create_future()
        ended = asyncio.Event()

        async def host() -> None:
            async with in_process(*_SERVICES[kind]) as running:
                ready.set_result(running)
                await ended.wait()

        async def result(call: Awaitable[T]) -> T:
            return await call

        def wait(call: Awaitable[T], /) -> T:
            return runner.run(result(call))

        hosting = loop.create_task(host())
        running = runner.run(result(ready))
        try:
            yield wait, running
        finally:
            ended.set()
            runner.run(result(hosting))


def _rest(kind: str, *, packed: bool) -> Opened:
    """The first byte of an input chooses the route, the rest is the body."""

    def opened(_: Path) -> Iterator[Feed]:
        with service(kind) as (wait, running):

            def feed(data: bytes) -> Verdict:
                route = BODIES[kind][data[0]][0]
                headers = {"content-type": MSGPACK if packed else JSON}
                call = running.http.post(
                    route, content=data[1:], headers=headers, timeout=_PATIENCE_S
                )
                return checked(wait(asyncio.wait_for(call, _PATIENCE_S)))

            yield feed

    return contextmanager(opened)


def checked(response: httpx.Response, *, may_be_late: bool = False) -> Verdict:
    """What an answer means; items of it may have errors of their own.

    Raises:
        ServerFault: 5xx, or not in the form of the table.
    """
    told = f"{response.status_code} {response.content[:200]!r}"
    if response.status_code >= 500 and not (may_be_late and response.status_code == 504):
        raise ServerFault(told)
    if response.status_code >= 400:
        is_packed = response.headers.get("content-type", "").startswith(MSGPACK)
        body = msgpack.unpackb(response.content) if is_packed else response.json()
        if not {"code", "message"} <= set(body["error"]):
            raise ServerFault(f"not in the form of the table: {told}")
        return Verdict.REFUSED
    if b'"internal"' in response.content or b"\xa8internal" in response.content:
        raise ServerFault(f"an item is internal: {told}")
    return Verdict.ACCEPTED


def rest_seeds(kind: str, *, packed: bool) -> Callable[[], Sequence[Seed]]:
    def seeds() -> list[Seed]:
        return [
            Seed(
                body=pack(_with_bytes(body)) if packed else json.dumps(body).encode(),
                grammar="msgpack" if packed else "json",
                prefix=bytes([place]),
            )
            for place, (_, body) in enumerate(BODIES[kind])
        ]

    return seeds


def pack(body: object) -> bytes:
    packed = msgpack.packb(body)
    assert packed is not None
    return packed


def _with_bytes(body: dict[str, object]) -> dict[str, object]:
    is_score = "groups" in body
    item = _QUESTION_ITEM if "questions" in json.dumps(body) else _ANSWER_ITEM
    return _score(item, DATA) if is_score else body


def _headers(_: Path) -> Iterator[Feed]:
    """Lines NAME: VALUE; the body is good."""
    body = json.dumps(BODIES["question-reward"][0][1]).encode()
    with service("question-reward") as (wait, running):

        def feed(data: bytes) -> Verdict:
            lines = [line.partition(b": ") for line in data.split(b"\n")]
            # Other names than tokens never pass the HTTP parser in front of us, nor the test's client.
            headers = [(name.lower(), value) for name, _, value in lines if TOKEN.fullmatch(name)]
            call = _sent(running, headers, body)
            return checked(wait(asyncio.wait_for(call, _PATIENCE_S)), may_be_late=True)

        yield feed


async def _sent(
    running: InProcess, headers: list[tuple[bytes, bytes]], body: bytes
) -> httpx.Response:
    """Sends headers as they are: the library would put some of them right."""
    request = running.http.build_request("POST", "/v1/score", content=body)
    request.headers = httpx.Headers([(b"host", b"127.0.0.1"), *headers])
    return await running.http.send(request)


HEADER_SEED = b"""content-type: application/json
content-length: %d
x-deadline-ms: 20000
authorization: Bearer key
accept: application/json
content-encoding: identity
traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
connection: keep-alive""" % len(json.dumps(BODIES["question-reward"][0][1]))

METHODS: dict[str, list[tuple[str, bytes]]] = {
    "question-reward": [
        (
            "QuestionReward/Score",
            pb.ScoreRequest(
                groups=[
                    pb.Group(
                        image=pb.Image(sha256=SHA256, data=DATA),
                        items=[pb.Item(id="a", questions=["What is it?", "b"])],
                    )
                ]
            ).SerializeToString(),
        ),
        ("QuestionReward/GetModel", b"\x0a\x01a"),
    ],
    "answer-reward": [
        (
            "AnswerReward/Score",
            pb.ScoreRequest(
                groups=[
                    pb.Group(
                        image=pb.Image(sha256=SHA256, data=DATA),
                        items=[pb.Item(id="a", question="What is it?", answer="Red.")],
                    )
                ]
            ).SerializeToString(),
        ),
    ],
    "inner-llm": [
        (
            "InnerLLM/Rewrite",
            pb.RewriteRequest(
                items=[
                    pb.RewriteItem(
                        id="a",
                        question="q",
                        answer="a",
                        sampling=pb.Sampling(temperature=0.5, seed=3, max_tokens=9),
                    )
                ]
            ).SerializeToString(),
        ),
        (
            "InnerLLM/Review",
            pb.ReviewRequest(
                items=[
                    pb.ReviewItem(
                        id="a",
                        original=pb.Turn(question="q", answer="a"),
                        rewrite=pb.Turn(question="q", answer="b"),
                    )
                ]
            ).SerializeToString(),
        ),
        (
            "InnerLLM/Likelihood",
            pb.LikelihoodRequest(
                items=[pb.LikelihoodItem(id="a", prompt="p", completion="c")]
            ).SerializeToString(),
        ),
    ],
}


def _grpc(kind: str) -> Opened:
    def opened(_: Path) -> Iterator[Feed]:
        with service(kind) as (wait, running):
            calls = [
                running.channel.unary_unary(f"/align2llava.v1.{name}") for name, _ in METHODS[kind]
            ]

            async def ask(data: bytes) -> bytes:
                return await calls[data[0]](data[1:], timeout=_PATIENCE_S)

            yield lambda data: _answered(lambda: wait(ask(data)))

    return contextmanager(opened)


def grpc_seeds(kind: str) -> Callable[[], Sequence[Seed]]:
    return lambda: [
        Seed(body=body, grammar="proto", prefix=bytes([place]))
        for place, (_, body) in enumerate(METHODS[kind])
    ]


def _stream(_: Path) -> Iterator[Feed]:
    """Two messages on one stream: the damaged one and a good one."""
    good = pb.ScoreStreamRequest(
        request_id="good", request=pb.ScoreRequest.FromString(METHODS["question-reward"][0][1])
    ).SerializeToString()
    with service("question-reward") as (wait, running):
        open_stream = running.channel.stream_stream("/align2llava.v1.QuestionReward/ScoreStream")

        async def ask(data: bytes) -> bytes:
            answered = asyncio.Event()

            async def messages():
                yield data
                # A write to a stream that the server has just ended would hide the server's status.
                await answered.wait()
                yield good

            answers: list[bytes] = []
            async for answer in open_stream(messages(), timeout=_PATIENCE_S):
                answers.append(answer)
                answered.set()
            return b"".join(answers)

        yield lambda data: _answered(lambda: wait(ask(data)))


def stream_seeds() -> list[Seed]:
    request = pb.ScoreRequest.FromString(METHODS["question-reward"][0][1])
    message = pb.ScoreStreamRequest(request_id="a", deadline_ms=9_000, request=request)
    return [Seed(body=message.SerializeToString(), grammar="proto")]


def _answered(ask: Callable[[], bytes]) -> Verdict:
    try:
        return checked_message(ask())
    except grpc.aio.AioRpcError as error:
        return checked_error(error)


def checked_message(answer: bytes) -> Verdict:
    """What a message means; raises as `checked` does."""
    if b"\x0a\x08internal" in answer:
        raise ServerFault(f"internal: {answer[:90]!r}")
    return Verdict.ACCEPTED


def checked_error(error: grpc.aio.AioRpcError) -> Verdict:
    """What the end of a call means; raises as `checked` does."""
    trailers = dict(error.trailing_metadata() or ())
    told = f"{error.code().name} {error.details()!r:.90} {trailers.get('a2l-code')}"
    if error.code().name in OWN_FAULTS or "a2l-code" not in trailers:
        raise ServerFault(told) from error
    return Verdict.REFUSED


def _rest_target(kind: str, *, packed: bool, num_inputs: int) -> Target:
    form = "msgpack" if packed else "JSON"
    return Target(
        name=f"{kind} {form} bodies",
        seeds=rest_seeds(kind, packed=packed),
        opened=_rest(kind, packed=packed),
        num_inputs=num_inputs,
    )


TARGETS = (
    _rest_target("question-reward", packed=False, num_inputs=4_000),
    _rest_target("question-reward", packed=True, num_inputs=4_000),
    _rest_target("answer-reward", packed=False, num_inputs=2_000),
    _rest_target("answer-reward", packed=True, num_inputs=2_000),
    _rest_target("inner-llm", packed=False, num_inputs=3_000),
    _rest_target("inner-llm", packed=True, num_inputs=3_000),
    Target(
        name="headers",
        seeds=lambda: [Seed(body=HEADER_SEED, grammar="headers")],
        opened=contextmanager(_headers),
        num_inputs=3_000,
    ),
    Target(
        name="reward messages over gRPC",
        seeds=grpc_seeds("question-reward"),
        opened=_grpc("question-reward"),
        num_inputs=5_000,
    ),
    Target(
        name="inner-llm messages over gRPC",
        seeds=grpc_seeds("inner-llm"),
        opened=_grpc("inner-llm"),
        num_inputs=4_000,
    ),
    Target(
        name="messages of a stream",
        seeds=stream_seeds,
        opened=contextmanager(_stream),
        num_inputs=3_000,
    ),
)
