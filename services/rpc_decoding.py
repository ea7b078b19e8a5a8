"""gRPC requests whose bytes are no message: refused by the table, and named in one quiet line.

The library answers what a deserializer raises with UNKNOWN, a class name of Python and a trace in
the log. So ours raises nothing: what it cannot read it returns as `Undecodable`, and the call ends
where its handler would have got the message. Knows no service.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from inspect import isasyncgenfunction
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage

from align2llava.services.errors import InvalidRequestError, ServiceError

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[ProtoMessage, ProtoMessage]
Handler: TypeAlias = "grpc.RpcMethodHandler[ProtoMessage, ProtoMessage]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecodable:
    """What stands for a request that could not be read."""

    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """Makes handlers whose undecodable requests `end` their call.

    `end` answers an error and never returns.
    """

    end: Callable[[Context, ServiceError], Awaitable[None]]

    def of(self, handler: Handler, method: str) -> Handler:
        """Returns a handler of the same shape. Ours answer streams by streams alone."""
        read = _reader(handler.request_deserializer)
        write = handler.response_serializer
        if handler.request_streaming:
            guarded = self._of_stream(handler.stream_stream, method)
            return grpc.stream_stream_rpc_method_handler(guarded, read, write)
        if handler.response_streaming:
            guarded = self._of_message(handler.unary_stream, method)
            return grpc.unary_stream_rpc_method_handler(guarded, read, write)
        guarded = self._of_message(handler.unary_unary, method)
        return grpc.unary_unary_rpc_method_handler(guarded, read, write)

    # Any, here and below: the library's stubs describe the handlers of its other, blocking server.
    def _of_message(self, behaviour: Any, method: str) -> Any:
        async def guarded(request: object, context: Context) -> object:
            if isinstance(request, Undecodable):
                await self._refuse(request, context, method=method)
            return await behaviour(request, context)

        return guarded

    def _of_stream(self, behaviour: Any, method: str) -> Any:
        async def read(requests: AsyncIterator[object], context: Context) -> AsyncIterator[object]:
            async for request in requests:
                if isinstance(request, Undecodable):
                    await self._refuse(request, context, method=method)
                yield request

        async def answering(requests: AsyncIterator[object], context: Context) -> None:
            await behaviour(read(requests, context), context)

        async def yielding(
            requests: AsyncIterator[object], context: Context
        ) -> AsyncIterator[object]:
            async with aclosing(behaviour(read(requests, context), context)) as answers:
                async for answer in answers:
                    yield answer

        return yielding if isasyncgenfunction(behaviour) else answering

    async def _refuse(self, request: Undecodable, context: Context, *, method: str) -> None:
        logger.info("%s: refused a request of %d undecodable bytes", method, request.num_bytes)
        error = InvalidRequestError(
            f"the request's {request.num_bytes} bytes are not the message that {method} takes: "
            "they are no protobuf, or a text in them is not UTF-8"
        )
        await self.end(context, error)


def _reader(read: Any) -> Any:
    def tried(data: bytes) -> object:
        try:
            return read(data)
        except DecodeError:
            return Undecodable(num_bytes=len(data))

    return tried
