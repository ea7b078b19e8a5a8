"""`ScoreStream` from the client's side: many requests over few streams of one channel.

A stream stays with the connection it was opened on, and so with one server. `clients.transport.rpc` uses streams for
`grpc[s]://` only: behind a `dns:` name are many servers, where single calls go round evenly and reach a new
server as soon as gRPC knows it, and streams would do neither.

A stream carries at most 64 requests; when all are full another one is opened, since how many calls a service
gets is decided above (`clients.pool.slots`) and nothing may wait here unseen. After `MAX_AGE_S` a stream takes no
more requests and ends with its last answer, so that streams follow a server's GOAWAY. A request that was
given up is still answered by the service, as its deadline allows: the wire has no word to take it back.
What answers no request of a stream, or is larger than any answer to one, ends it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from align2llava.clients.errors import ClientError, DeadlineError, UnavailableError, error_of
from align2llava.clients.transport.bounds import bounds_of
from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire.codes import BY_NAME, Code
from align2llava.clients.wire.convert import proto_values
from align2llava.clients.wire.schemas import ScoreRequest

MAX_IN_FLIGHT = 64
MAX_AGE_S = 60.0
_MAX_DEADLINE_MS = 2**32 - 1

_FRAME_BYTES = 64  # around an answer: the request's id, and lengths

OpenCall = Callable[[AsyncIterator[bytes]], AsyncGenerator[bytes]]
ErrorOf = Callable[[grpc.aio.AioRpcError], ClientError]


class AskAloneError(Exception):
    """The stream broke without naming the request at fault; send each request on its own.

    A write to a stream that the server has just ended hides the server's status, too (gRPC 1.8x).
    """


class NoStreamsError(AskAloneError):
    """The service knows no ScoreStream."""


class ScoreStreams:
    """The streams of one channel. `error_of_rpc` words the error a stream ended with."""

    def __init__(
        self,
        open_call: OpenCall,
        *,
        error_of_rpc: ErrorOf,
        max_message_bytes: int,
        max_age_s: float = MAX_AGE_S,
    ) -> None:
        self._open_call = open_call
        self._error_of_rpc = error_of_rpc
        self._max_message_bytes = max_message_bytes
        self._max_age_s = max_age_s
        self._streams: list[_Stream] = []

    async def ask(self, request: ScoreRequest, *, timeout_s: float) -> pb.ScoreResponse:
        """Returns the answer to one request.

        Raises:
            ValueError: the request cannot be encoded.
            AskAloneError: it is to be asked without a stream.
            ClientError: any other.
        """
        deadline_ms = min(max(1, int(timeout_s * 1000)), _MAX_DEADLINE_MS)
        stream = self._with_room()
        request_id = stream.next_id()
        data = pb.ScoreStreamRequest(
            request_id=request_id, deadline_ms=deadline_ms, request=proto_values(request)
        ).SerializeToString()
        if len(data) > self._max_message_bytes:
            raise AskAloneError
        bounds = bounds_of(request, max_bytes=self._max_message_bytes)
        try:
            async with asyncio.timeout(timeout_s):
                answer = await stream.send(request_id, data, max_bytes=bounds.num_bytes)
        except TimeoutError as error:
            raise DeadlineError(f"Score: no answer within {timeout_s:g} s") from error
        if answer.HasField("error"):
            raise _refusal(answer.error)
        return answer.response

    async def aclose(self) -> None:
        """Ends all streams; calls still in flight fail."""
        streams, self._streams = self._streams, []
        for stream in streams:
            await stream.aclose()

    def _with_room(self) -> "_Stream":
        self._streams = [stream for stream in self._streams if not stream.is_over]
        now = asyncio.get_running_loop().time()
        for stream in self._streams:
            stream.retire_if_due(now)
        found = next((stream for stream in self._streams if stream.has_room), None)
        if found is None:
            retires_at = now + self._max_age_s
            found = _Stream(self._open_call, error_of_rpc=self._error_of_rpc, retires_at=retires_at)
            self._streams.append(found)
        return found


class _Stream:
    """One stream, open from its making on; a task reads its answers until it ends."""

    def __init__(self, open_call: OpenCall, *, error_of_rpc: ErrorOf, retires_at: float) -> None:
        self.is_over = False
        self._is_retired = False
        self._retires_at = retires_at
        self._error_of_rpc = error_of_rpc
        self._num_sent = 0
        self._max_bytes = 0  # of the answers to all that was sent
        self._to_write: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue(
            MAX_IN_FLIGHT + 2  # the two that end it
        )
        self._out: dict[str, asyncio.Future[pb.ScoreStreamResponse]] = {}
        self._reading = asyncio.create_task(self._read(open_call(self._requests())))

    @property
    def has_room(self) -> bool:
        return not (self.is_over or self._is_retired) and len(self._out) < MAX_IN_FLIGHT

    def next_id(self) -> str:
        self._num_sent += 1
        return str(self._num_sent)

    def send(
        self, request_id: str, data: bytes, *, max_bytes: int
    ) -> "asyncio.Future[pb.ScoreStreamResponse]":
        """Returns the answer to come; it keeps its room until answered, even when cancelled."""
        self._max_bytes = max(self._max_bytes, max_bytes + _FRAME_BYTES)
        answer = asyncio.get_running_loop().create_future()
        self._out[request_id] = answer
        self._to_write.put_nowait((request_id, data))
        return answer

    def retire_if_due(self, now: float) -> None:
        """Takes no more requests after its time, and is given up when nobody waits for an answer."""
        if self._is_retired:
            if all(answer.done() for answer in self._out.values()):
                self._reading.cancel()
        elif now >= self._retires_at:
            self._is_retired = True
            self._to_write.put_nowait(None)  # its last answer ends it

    async def aclose(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _requests(self) -> AsyncIterator[bytes]:
        while (written := await self._to_write.get()) is not None:
            request_id, data = written
            answer = self._out.get(request_id)
            if answer is not None and not answer.done():
                yield data
            else:  # given up before it went out
                self._out.pop(request_id, None)

    async def _read(self, answers: AsyncGenerator[bytes]) -> None:
        end: Exception = UnavailableError("the stream was closed")
        try:
            async with aclosing(answers):
                is_answer = True
                async for data in answers:
                    is_answer = len(data) <= self._max_bytes and self._take(data)
                    if not is_answer:
                        break
            over = UnavailableError("the service ended the stream")
            end = over if is_answer else AskAloneError()
        except grpc.aio.AioRpcError as error:
            end = self._end_of(error)
        except DecodeError:
            end = AskAloneError()
        finally:
            self._close(end)

    def _take(self, data: bytes) -> bool:
        """Returns whether it is the answer to a request of this stream."""
        answer = pb.ScoreStreamResponse.FromString(data)
        future = self._out.pop(answer.request_id, None)
        if future is not None and not future.done():
            future.set_result(answer)
        return future is not None

    def _close(self, end: Exception) -> None:
        self.is_over = True
        self._to_write.put_nowait(None)  # ends the writer, which gRPC would leave waiting
        for future in self._out.values():
            if not future.done():
                future.set_exception(end)
        self._out.clear()

    def _end_of(self, error: grpc.aio.AioRpcError) -> Exception:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return NoStreamsError()
        meant = self._error_of_rpc(error)
        if meant.code in (Code.UNAVAILABLE, Code.UNAUTHENTICATED):
            return meant
        return AskAloneError()


def _refusal(error: pb.Error) -> ClientError:
    code = BY_NAME.get(error.code, Code.INTERNAL)
    return error_of(code, error.message, retry_after_s=error.retry_after_ms / 1000)
