"""A reward service that costs next to nothing, for benchmarks of what asks it; both kinds in one process.

    python benchmarks/stub_service.py --holds all|seen

Speaks the wire contract over gRPC (Score, ScoreStream, GetModel, health) and REST (/v1/score, /v1/model,
JSON and msgpack; one port for each kind). Rewards follow from image hash and texts alone, so they depend
on no order. `seen`: an image known neither by hash nor sent is `image_needed`; `all`: every hash is held.
Prints its ports as one line of JSON; `GET /stats` tells what it has answered. Checks no image, no key.
"""

import argparse
import base64
import json
import socket
import sys
import time
import zlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import grpc
import grpc.aio
import msgpack
import orjson
import uvicorn
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # pyright: ignore[reportAttributeAccessIssue]  (its stubs lack it)
from starlette.types import Receive, Scope, Send

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it sees its folder only

from align2llava.clients.wire import align2llava_pb2 as pb

Kind = Literal["question-reward", "answer-reward"]
Holds = Literal["all", "seen"]
SERVICES: dict[Kind, str] = {"question-reward": "QuestionReward", "answer-reward": "AnswerReward"}
NUM_TOKENS = 64
IMAGE_NEEDED = "image_needed"
_MSGPACK = b"application/x-msgpack"
_JSON = b"application/json"
_MAX_MESSAGE_BYTES = 256 * 2**20


@dataclass(slots=True, kw_only=True)
class Stats:
    """What was asked since the start; `cpu_s` is of the whole process."""

    num_messages: int = 0
    num_groups: int = 0
    num_items: int = 0
    num_images_sent: int = 0
    num_images_needed: int = 0
    cpu_s: float = 0.0

    def since(self, before: "Stats") -> "Stats":
        """Returns what came after `before`."""
        earlier = asdict(before)
        return Stats(**{name: value - earlier[name] for name, value in asdict(self).items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where a stub listens; HTTP has one port for each kind."""

    grpc: int
    http: dict[Kind, int]


def reward_of(sha256: str, texts: Iterable[str]) -> float:
    """Returns the reward of an item in [-4, 4), a multiple of 2**-20, so exact in float32."""
    checksum = zlib.crc32(sha256.encode())
    for text in texts:
        checksum = zlib.crc32(text.encode(), checksum)
    return (checksum >> 9) / 2**20 - 4.0


def model_of(kind: Kind) -> dict[str, str]:
    """Returns the identity that a stub answers with."""
    return {
        "name": f"stub-{kind}",
        "kind": kind,
        "identity": f"{zlib.crc32(kind.encode()):032x}",
        "weights_sha256": "0" * 64,
        "dtype": "float32",
        "engine": "stub",
    }


class Stub:
    """What both surfaces share: the images seen, and the counts."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self._seen: set[str] = set()
        self._stats = Stats()

    def has(self, sha256: str, *, is_sent: bool) -> bool:
        """Returns whether the image of a group is at hand; one that is sent is from now on."""
        if is_sent:
            self._stats.num_images_sent += 1
            self._seen.add(sha256)
            return True
        if self._holds == "all" or sha256 in self._seen:
            return True
        self._stats.num_images_needed += 1
        return False

    def count(self, *, num_groups: int, num_items: int) -> None:
        """Counts one message."""
        self._stats.num_messages += 1
        self._stats.num_groups += num_groups
        self._stats.num_items += num_items

    def stats(self) -> Stats:
        """Returns the counts as they are now."""
        self._stats.cpu_s = time.process_time()
        return self._stats


class GrpcStub:
    """One kind of service over gRPC; bytes in, bytes out."""

    def __init__(self, stub: Stub, kind: Kind) -> None:
        self._stub = stub
        self._model = pb.ModelIdentity(**model_of(kind))

    def handler(self, kind: Kind) -> grpc.GenericRpcHandler:
        """Returns what a server registers."""
        methods = {
            "Score": grpc.unary_unary_rpc_method_handler(self._score),
            "ScoreStream": grpc.stream_stream_rpc_method_handler(self._stream),
            "GetModel": grpc.unary_unary_rpc_method_handler(self._get_model),
        }
        name = f"align2llava.v1.{SERVICES[kind]}"
        return grpc.method_handlers_generic_handler(name, methods)

    async def _get_model(self, _request: bytes, _context: object) -> bytes:
        return self._model.SerializeToString()

    async def _score(self, request: bytes, _context: object) -> bytes:
        response = pb.ScoreResponse()
        self._answer(pb.ScoreRequest.FromString(request), response)
        return response.SerializeToString()

    async def _stream(
        self, requests: AsyncIterator[bytes], _context: object
    ) -> AsyncIterator[bytes]:
        async for data in requests:
            asked = pb.ScoreStreamRequest.FromString(data)
            answered = pb.ScoreStreamResponse(request_id=asked.request_id)
            self._answer(asked.request, answered.response)
            yield answered.SerializeToString()

    def _answer(self, request: pb.ScoreRequest, response: pb.ScoreResponse) -> None:
        response.model.CopyFrom(self._model)
        num_items = 0
        for group in request.groups:
            image = group.image
            sha256 = image.sha256
            has_image = self._stub.has(sha256, is_sent=bool(image.data))
            rewards = response.groups.add()
            rewards.usage.prefix_tokens = NUM_TOKENS
            for item in group.items:
                num_items += 1
                outcome = rewards.items.add(id=item.id)
                if has_image:
                    texts = item.questions or (item.question, item.answer)
                    outcome.reward = reward_of(sha256, texts)
                    outcome.num_tokens = NUM_TOKENS
                else:
                    outcome.error.code = IMAGE_NEEDED
        self._stub.count(num_groups=len(request.groups), num_items=num_items)


class RestStub:
    """Both kinds over REST, as an ASGI application; the port tells which is asked."""

    def __init__(self, stub: Stub, ports: dict[int, Kind]) -> None:
        self._stub = stub
        self._ports = ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; what is no route of ours is a bare 404."""
        headers = dict(scope["headers"])
        match scope["path"]:
            case "/v1/score":
                body = await _body(receive)
                is_msgpack = headers.get(b"content-type") == _MSGPACK
                answer = self._score(msgpack.unpackb(body) if is_msgpack else orjson.loads(body))
                answer["model"] = self._model(scope)
            case "/v1/model":
                answer = self._model(scope)
            case "/stats":
                answer = asdict(self._stub.stats())
            case _:
                await _respond(send, 404, content=b"", content_type=_JSON)
                return
        if headers.get(b"accept") == _MSGPACK:
            await _respond(send, 200, content=msgpack.packb(answer) or b"", content_type=_MSGPACK)
        else:
            await _respond(send, 200, content=orjson.dumps(answer), content_type=_JSON)

    def _model(self, scope: Scope) -> dict[str, str]:
        return model_of(self._ports[scope["server"][1]])

    def _score(self, request: dict[str, Any]) -> dict[str, Any]:
        answers: list[dict[str, Any]] = []
        num_items = 0
        for group in request["groups"]:
            image = group["image"]
            sha256 = image["sha256"]
            data = image.get("data")
            if isinstance(data, str):
                base64.b64decode(data)  # a service has to
            has_image = self._stub.has(sha256, is_sent=bool(data))
            items = group["items"]
            num_items += len(items)
            answers.append(
                {
                    "items": [_outcome(item, sha256=sha256, has_image=has_image) for item in items],
                    "usage": {"prefix_tokens": NUM_TOKENS},
                }
            )
        self._stub.count(num_groups=len(answers), num_items=num_items)
        return {"groups": answers}


def _outcome(item: dict[str, Any], *, sha256: str, has_image: bool) -> dict[str, Any]:
    if not has_image:
        return {"id": item["id"], "error": {"code": IMAGE_NEEDED, "message": ""}}
    texts = item.get("questions") or (item["question"], item["answer"])
    return {"id": item["id"], "reward": reward_of(sha256, texts), "num_tokens": NUM_TOKENS}


async def _body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _respond(send: Send, status: int, *, content: bytes, content_type: bytes) -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _serve(holds: Holds) -> None:
    stub = Stub(holds)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES)])
    server.add_generic_rpc_handlers(tuple(GrpcStub(stub, kind).handler(kind) for kind in SERVICES))
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for name in ("", *(f"align2llava.v1.{service}" for service in SERVICES.values())):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    grpc_port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sockets: dict[Kind, socket.socket] = {kind: _listener() for kind in SERVICES}
    ports: dict[Kind, int] = {kind: int(one.getsockname()[1]) for kind, one in sockets.items()}
    print(json.dumps(asdict(Ports(grpc=grpc_port, http=ports))), flush=True)
    rest = RestStub(stub, {port: kind for kind, port in ports.items()})
    config = uvicorn.Config(rest, lifespan="off", log_level="error", access_log=False)
    try:
        await uvicorn.Server(config).serve(sockets=list(sockets.values()))
    finally:
        await server.stop(None)


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(prog="benchmarks/stub_service.py", description=__doc__)
    parser.add_argument("--holds", choices=("all", "seen"), required=True)
    uvloop.run(_serve(parser.parse_args().holds))


if __name__ == "__main__":
    main()
