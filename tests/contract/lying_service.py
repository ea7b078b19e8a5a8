"""Three services that lie, in one process: `python lying_service.py`; each line on stdin names a lie of `lies`.

The first line on stdout gives the URLs by transport, each further one says that a lie is begun. Ends with its stdin.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import msgpack

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire.convert import to_proto
from tests.contract.lies import LIES, MODEL, Answer, Http, Lie, packed
from tests.contract.scripted_answers import identity, reviewed, rewritten, scored
from tests.contract.scripted_rest import METHODS, Call, plain, read_call
from tests.contract.scripted_rpc import SERVICES, UNARY, Context

HONEST = Lie()


class Liar:
    """The three services; `lie` is what all of them tell now."""

    def __init__(self) -> None:
        self.lie = HONEST
        self._images: set[str] = set()

    def answer(self, kind: str, request: Any) -> Answer:
        """Returns the answer before any transport, spoiled where the lie is about its method."""
        if request is None:
            answer = identity(kind)
        elif isinstance(request, pb.ScoreRequest):
            answer = scored(request, kind=kind, images=self._images, is_lie=False)
        elif isinstance(request, pb.RewriteRequest):
            answer = rewritten(request)
        else:
            answer = reviewed(request)
        if self.lie.spoil is not None and self.is_due(request):
            self.lie.spoil(answer)
        return answer

    def is_due(self, request: Any) -> bool:
        """Returns whether the lie is about what is asked."""
        method = MODEL if request is None else type(request).__name__.removesuffix("Request")
        return method == self.lie.method

    async def rest(
        self, kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while True:
                request = _request(await read_call(reader))
                answer = self.answer(kind, request)
                told = Http(body=packed(plain(answer)))
                if self.lie.rest is not None and self.is_due(request):
                    told = self.lie.rest(answer)
                await _write(writer, told)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def message(self, kind: str, request: Any) -> bytes:
        answer = self.answer(kind, request)
        if self.lie.rpc is not None and self.is_due(request):
            return self.lie.rpc(answer)
        return answer.SerializeToString()

    async def start_rpc(self, kind: str) -> str:
        server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])

        def unary(request: Any, context: Context) -> bytes:
            self._zip(context, request)
            return self.message(kind, request)

        async def model(_request: bytes, context: Context) -> bytes:
            return unary(None, context)

        async def asked(request: Any, context: Context) -> bytes:
            return unary(request, context)

        async def stream(
            requests: AsyncIterator[pb.ScoreStreamRequest], context: Context
        ) -> AsyncIterator[bytes]:
            async for one in requests:
                while self.lie.is_unasked:
                    yield pb.ScoreStreamResponse(request_id="mine").SerializeToString()
                self._zip(context, one.request)
                data = self.message(kind, one.request)
                yield pb.ScoreStreamResponse(request_id=one.request_id).SerializeToString() + (
                    b"\x12" + _varint(len(data)) + data
                )

        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(
                asked, request_deserializer=request.FromString
            )
            for name, request in UNARY.items()
        }
        handlers["GetModel"] = grpc.unary_unary_rpc_method_handler(model)
        if kind != "inner-llm":
            handlers["ScoreStream"] = grpc.stream_stream_rpc_method_handler(
                stream, request_deserializer=pb.ScoreStreamRequest.FromString
            )
        name = f"align2llava.v1.{SERVICES[kind]}"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        _SERVERS.append(server)
        return f"grpc://127.0.0.1:{port}"

    def _zip(self, context: Context, request: Any) -> None:
        if self.lie.is_gzipped and self.is_due(request):
            context.set_compression(grpc.Compression.Gzip)


_SERVERS: list[grpc.aio.Server] = []  # one that nobody holds stops


def _request(call: Call) -> Any:
    if call.path not in METHODS:
        return None
    schema, proto = METHODS[call.path]
    return to_proto(schema.model_validate(msgpack.unpackb(call.body)), proto)


async def _write(writer: asyncio.StreamWriter, told: Http) -> None:
    is_chunked = "chunked" in told.headers
    kind = "" if "content-type" in told.headers else "content-type: application/x-msgpack\r\n"
    length = "" if is_chunked else f"content-length: {len(told.body)}\r\n"
    writer.write(f"HTTP/1.1 {told.status}\r\n{kind}{told.headers}{length}\r\n".encode())
    writer.write(told.body)
    await writer.drain()
    while told.endless:
        writer.write(told.endless * 100)
        await writer.drain()


def _varint(number: int) -> bytes:
    data = bytearray()
    while number >= 128:
        data.append(number % 128 + 128)
        number //= 128
    return bytes([*data, number])


async def _main() -> None:
    liar = Liar()
    urls: dict[str, dict[str, str]] = {"rest": {}, "grpc": {}}
    for kind in SERVICES:

        async def serve(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str = kind
        ) -> None:
            await liar.rest(kind, reader, writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        urls["rest"][kind] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        urls["grpc"][kind] = await liar.start_rpc(kind)
    print(json.dumps(urls), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        liar.lie = LIES.get(line.decode().strip(), HONEST)
        print("{}", flush=True)
    os._exit(0)  # clients may still be connected, and are not waited for


if __name__ == "__main__":
    asyncio.run(_main())
