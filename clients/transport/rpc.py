"""The gRPC clients: one channel to one service, errors by status and trailer."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from typing import Literal, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage
from pydantic import ValidationError

from align2llava.clients.endpoint import Endpoint
from align2llava.clients.errors import (
    BadAnswerError,
    ClientError,
    InvalidRequestError,
    OtherServiceError,
    error_of,
)
from align2llava.clients.transport.bounds import MAX_ANSWER_BYTES, Bounds, bounds_of
from align2llava.clients.transport.connection import (
    ConnectedInnerLLMClient,
    ConnectedRewardClient,
    Method,
    Retrying,
)
from align2llava.clients.transport.spoken import raise_for_mix_up
from align2llava.clients.transport.streaming import AskAloneError, NoStreamsError, ScoreStreams
from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire.codes import CODE_TRAILER, RETRY_AFTER_TRAILER, code_of_grpc
from align2llava.clients.wire.convert import from_proto, to_proto
from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.schemas import Message, ScoreRequest
from align2llava.clients.wire.wording import first_fault, one_line

logger = logging.getLogger(__name__)

MESSAGES: Mapping[Method, tuple[type[ProtoMessage], type[ProtoMessage]]] = {
    Method.SCORE: (pb.ScoreRequest, pb.ScoreResponse),
    Method.REWRITE: (pb.RewriteRequest, pb.RewriteResponse),
    Method.REVIEW: (pb.ReviewRequest, pb.ReviewResponse),
    Method.LIKELIHOOD: (pb.LikelihoodRequest, pb.LikelihoodResponse),
    Method.GET_MODEL: (pb.GetModelRequest, pb.ModelIdentity),
}
ServiceName = Literal["QuestionReward", "AnswerReward", "InnerLLM"]
KINDS: Mapping[ServiceName, str] = {
    "QuestionReward": "question-reward",
    "AnswerReward": "answer-reward",
    "InnerLLM": "inner-llm",
}
MIN_TIMEOUT_S = 0.001
_SMALL_BYTES = (
    2**20
)  # of a request, which no server refuses for its size: by default gRPC takes four times as much
S = TypeVar("S", bound=Message)


class GrpcRewardClient(ConnectedRewardClient):
    """A `RewardClient` over gRPC."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        kind: RewardKind,
        retries: bool = True,
    ) -> None:
        """Must be made inside a running event loop; `retries` False = a pool retries."""
        service: ServiceName = "QuestionReward" if kind == "question-reward" else "AnswerReward"
        single = _GrpcConnection(endpoint, service)
        is_many = endpoint.address().scheme == "dns"
        connection = single if is_many else _StreamingConnection(single)
        super().__init__(Retrying(connection) if retries else connection)


class GrpcInnerLLMClient(ConnectedInnerLLMClient):
    """An `InnerLLMClient` over gRPC."""

    def __init__(self, endpoint: Endpoint, *, retries: bool = True) -> None:
        """Must be made inside a running event loop; `retries` False = a pool retries."""
        connection = _GrpcConnection(endpoint, "InnerLLM")
        super().__init__(Retrying(connection) if retries else connection)


class _GrpcConnection:
    """One channel: requests and answers as schemas, failures as `ClientError`."""

    def __init__(self, endpoint: Endpoint, service: ServiceName) -> None:
        self.url = endpoint.url
        self.max_body_bytes = endpoint.max_body_bytes
        self._service: ServiceName = service
        self._channel = _channel(endpoint)
        self._metadata = tuple(endpoint.bearer().items())
        self._endpoint = endpoint
        self._through = endpoint.through()
        self._calls = {
            method: self._channel.unary_unary(
                f"/align2llava.v1.{service}/{method.value}",
                request_serializer=request.SerializeToString,
                response_deserializer=_raw,
            )
            for method, (request, _) in MESSAGES.items()
        }

    async def attempt(
        self, method: Method, request: Message | None, schema: type[S], *, timeout_s: float
    ) -> S:
        request_class, answer_class = MESSAGES[method]
        try:
            message = request_class() if request is None else to_proto(request, request_class)
        except ValueError as error:
            raise _unsendable(method, error) from error
        try:
            data = await self._calls[method](message, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            if method is Method.GET_MODEL:
                await self._raise_for_mix_up(error, timeout_s=timeout_s)
            limit = min(_SMALL_BYTES, self.max_body_bytes)
            if _is_over_our_limit(error) and message.ByteSize() < limit:
                raise BadAnswerError(f"{method}: the answer is larger than any may be") from error
            raise self.error_of_rpc(error) from error
        bounds = bounds_of(request, max_bytes=self.max_body_bytes)
        if len(data) > bounds.num_bytes:
            raise BadAnswerError(f"{method}: the answer is over {bounds.num_bytes} bytes")
        try:
            answer = answer_class.FromString(data)
        except DecodeError as error:
            raise BadAnswerError(f"the answer is no message: {error}") from error
        return _fitting(answer, schema, bounds=bounds)

    async def open_score_stream(self, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        open_call = self._channel.stream_stream(
            f"/align2llava.v1.{self._service}/ScoreStream",
            request_serializer=_raw,
            response_deserializer=_raw,
        )
        call = open_call(requests, metadata=self._metadata)
        try:
            async for data in call:
                yield data
        finally:
            call.cancel()

    def error_of_rpc(self, error: grpc.aio.AioRpcError) -> ClientError:
        """Returns what a failed call means, by its status and trailers."""
        return error_of_rpc(error, through=self._through)

    async def _raise_for_mix_up(self, error: grpc.aio.AioRpcError, *, timeout_s: float) -> None:
        """Raises where another service or protocol answers at the URL."""
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            await raise_for_mix_up(self._endpoint)
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            return
        for service, kind in KINDS.items():
            get_model = self._channel.unary_unary(
                f"/align2llava.v1.{service}/{Method.GET_MODEL.value}",
                request_serializer=pb.GetModelRequest.SerializeToString,
                response_deserializer=_raw,
            )
            with suppress(grpc.aio.AioRpcError):
                await get_model(pb.GetModelRequest(), timeout=timeout_s, metadata=self._metadata)
                needed = KINDS[self._service]
                raise OtherServiceError(f"the {kind} service answers there; {needed} is needed")
        raise OtherServiceError(f"a gRPC server answers there that knows no {self._service}")

    async def aclose(self) -> None:
        await self._channel.close()


class _StreamingConnection:
    """Scores over streams, and all else over single calls of the same channel.

    A service without ScoreStream is asked by single calls for good.
    """

    def __init__(self, single: _GrpcConnection) -> None:
        self._single = single
        self._url = single.url
        self._has_streams = True
        self._streams = ScoreStreams(
            single.open_score_stream,
            error_of_rpc=single.error_of_rpc,
            max_message_bytes=single.max_body_bytes,
        )

    async def attempt(
        self, method: Method, request: Message | None, schema: type[S], *, timeout_s: float
    ) -> S:
        left_s = timeout_s
        if self._has_streams and isinstance(request, ScoreRequest):
            started = asyncio.get_running_loop().time()
            answer = await self._streamed(request, timeout_s=timeout_s)
            if answer is not None:
                bounds = bounds_of(request, max_bytes=self._single.max_body_bytes)
                return _fitting(answer, schema, bounds=bounds)
            left_s = max(MIN_TIMEOUT_S, started + timeout_s - asyncio.get_running_loop().time())
        return await self._single.attempt(method, request, schema, timeout_s=left_s)

    async def _streamed(
        self, request: ScoreRequest, *, timeout_s: float
    ) -> pb.ScoreResponse | None:
        """Returns a stream's answer, None where the request is to be asked alone."""
        try:
            return await self._streams.ask(request, timeout_s=timeout_s)
        except ValueError as error:
            raise _unsendable(Method.SCORE, error) from error
        except AskAloneError as error:
            if isinstance(error, NoStreamsError) and self._has_streams:
                self._has_streams = False
                logger.warning("%s has no ScoreStream: it is asked by single calls", self._url)
            return None

    async def aclose(self) -> None:
        await self._streams.aclose()
        await self._single.aclose()


def _unsendable(method: Method, error: ValueError) -> InvalidRequestError:
    return InvalidRequestError(f"{method}: the request cannot be encoded: {error}")


def _fitting(answer: ProtoMessage, schema: type[S], *, bounds: Bounds) -> S:
    try:
        return from_proto(answer, schema, max_entries=bounds.num_entries)
    except ValidationError as error:
        fault = first_fault(error)
        raise BadAnswerError(f"the answer does not fit the schema: {fault}") from error
    except ValueError as error:
        raise BadAnswerError(f"the answer does not fit the schema: {one_line(error)}") from error


def _is_over_our_limit(error: grpc.aio.AioRpcError) -> bool:
    """Returns whether gRPC itself refused a message for its size, and did not say that the server's did."""
    trailers = dict(error.trailing_metadata() or ())
    is_there = (error.details() or "").startswith("SERVER:")
    is_grpc = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and CODE_TRAILER not in trailers
    return is_grpc and not is_there


def _raw(data: bytes) -> bytes:
    # Decoded above, so that an answer that is no message is a BadAnswerError.
    return data


def _channel(endpoint: Endpoint) -> grpc.aio.Channel:
    address = endpoint.address()
    target = address.url if address.scheme == "dns" else address.netloc
    options: list[tuple[str, int | str]] = [
        ("grpc.max_send_message_length", endpoint.max_body_bytes),
        ("grpc.max_receive_message_length", min(endpoint.max_body_bytes, MAX_ANSWER_BYTES)),
        ("grpc.lb_policy_name", "round_robin"),
        ("grpc.enable_retries", 0),  # retries are ours, by the code table
        # gRPC itself would take a proxy from the environment, for loopback too.
        ("grpc.enable_http_proxy", 0 if endpoint.proxy is None else 1),
    ]
    if endpoint.proxy is not None:
        options.append(("grpc.http_proxy", endpoint.proxy))
    if address.scheme == "grpcs":
        return grpc.aio.secure_channel(target, endpoint.channel_credentials(), options=options)
    return grpc.aio.insecure_channel(target, options=options)


def error_of_rpc(error: grpc.aio.AioRpcError, *, through: str = "") -> ClientError:
    """Returns what a failed call means, by its status and trailers; `through` ends its message."""
    trailers = dict(error.trailing_metadata() or ())
    trailer = trailers.get(CODE_TRAILER)
    code = code_of_grpc(error.code(), trailer if isinstance(trailer, str) else None)
    retry_after_s = 0.0
    with suppress(ValueError):
        retry_after_s = max(0.0, float(trailers.get(RETRY_AFTER_TRAILER, "0")) / 1000)
    message = error.details() or error.code().name
    return error_of(code, f"{message}{through}", retry_after_s=retry_after_s)
