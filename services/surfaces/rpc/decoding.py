"""gRPC requests from bytes to messages: counted first, large ones in a thread, refused by the table.

The library would parse on the event loop, and answer what a deserializer raises with UNKNOWN, a
class name of Python and a trace in the log. So it hands the bytes on, and they are read where the
handler would have got the message. Knows no service.
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
from align2llava.services.surfaces.counting import (
    max_parts,
    max_values,
    protobuf_values,
    refuse_values,
)
from align2llava.services.surfaces.turns import in_turn

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[ProtoMessage, ProtoMessage]
Handler: TypeAlias = "grpc.RpcMethodHandler[ProtoMessage, ProtoMessage]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """Makes handlers that are given messages no larger than of `max_items`; others `end` their call.

    `end` answers an error and never returns.
    """

    end: Callable[[Context, ServiceError], Awaitable[None]]
    max_items: int

    def of(self, handler: Handler, method: str) -> Handler:
        """Returns a handler of the same shape. Ours answer streams by streams alone."""
        read = self._reader(handler.request_deserializer, method)
        write = handler.response_serializer
        if handler.request_streaming:
            guarded = self._of_stream(handler.stream_stream, read)
            return grpc.stream_stream_rpc_method_handler(guarded, None, write)
        if handler.response_streaming:
            guarded = self._of_message(handler.unary_stream, read)
            return grpc.unary_stream_rpc_method_handler(guarded, None, write)
        guarded = self._of_message(handler.unary_unary, read)
        return grpc.unary_unary_rpc_method_handler(guarded, None, write)

    # Any, here and below: the library's stubs describe the handlers of its other, blocking server.
    def _of_message(self, behaviour: Any, read: Any) -> Any:
        async def answering(data: bytes, context: Context) -> object:
            return await behaviour(await read(data, context), context)

        async def yielding(data: bytes, context: Context) -> AsyncIterator[object]:
            async with aclosing(behaviour(await read(data, context), context)) as answers:
                async for answer in answers:
                    yield answer

        return yielding if isasyncgenfunction(behaviour) else answering

    def _of_stream(self, behaviour: Any, read: Any) -> Any:
        async def messages(parts: AsyncIterator[bytes], context: Context) -> AsyncIterator[object]:
            async for data in parts:
                yield await read(data, context)

        async def answering(parts: AsyncIterator[bytes], context: Context) -> None:
            await behaviour(messages(parts, context), context)

        async def yielding(parts: AsyncIterator[bytes], context: Context) -> AsyncIterator[object]:
            async with aclosing(behaviour(messages(parts, context), context)) as answers:
                async for answer in answers:
                    yield answer

        return yielding if isasyncgenfunction(behaviour) else answering

    def _reader(self, parse: Any, method: str) -> Any:
        descriptor = parse.__self__.DESCRIPTOR  # `FromString` of a message's class
        limit, parts = max_values(self.max_items), max_parts(self.max_items)

        def message_of(data: bytes) -> object:
            num_values = protobuf_values(data, descriptor, limit=limit, max_parts=parts)
            refuse_values(num_values, limit=limit)
            return parse(data)

        async def read(data: bytes, context: Context) -> object:
            try:
                return await in_turn(len(data), message_of, data)
            except ServiceError as error:
                refusal = error
            except DecodeError:
                refusal = InvalidRequestError(
                    f"the request's {len(data)} bytes are not the message that {method} takes: "
                    "they are no protobuf, or a text in them is not UTF-8"
                )
            logger.info("%s: refused a request of %d bytes: %s", method, len(data), refusal.code)
            await self.end(context, refusal)
            raise refusal

        return read
