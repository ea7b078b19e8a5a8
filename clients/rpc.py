"""The gRPC clients: one channel to one service, errors by status and trailer."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Literal, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage
from pydantic import ValidationError

from clients.connection import ConnectedInnerLLMClient, ConnectedRewardClient, Method, Retrying
from clients.endpoint import Endpoint
from clients.errors import BadAnswerError, ClientError, InvalidRequestError, error_of
from clients.wire import align2llava_pb2 as pb
from clients.wire.codes import CODE_TRAILER, RETRY_AFTER_TRAILER, code_of_grpc
from clients.wire.convert import from_proto, to_proto
from clients.wire.schemas import Message

MESSAGES: Mapping[Method, tuple[type[ProtoMessage], type[ProtoMessage]]] = {
    Method.SCORE: (pb.ScoreRequest, pb.ScoreResponse),
    Method.REWRITE: (pb.RewriteRequest, pb.RewriteResponse),
    Method.REVIEW: (pb.ReviewRequest, pb.ReviewResponse),
    Method.LIKELIHOOD: (pb.LikelihoodRequest, pb.LikelihoodResponse),
    Method.GET_MODEL: (pb.GetModelRequest, pb.ModelIdentity),
}
ServiceName = Literal["QuestionReward", "AnswerReward", "InnerLLM"]
S = TypeVar("S", bound=Message)


class GrpcRewardClient(ConnectedRewardClient):
    """A `RewardClient` over gRPC."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        kind: Literal["question-reward", "answer-reward"],
        retries: bool = True,
    ) -> None:
        """Must be made inside a running event loop; `retries` False = a pool retries."""
        service: ServiceName = "QuestionReward" if kind == "question-reward" else "AnswerReward"
        connection = _GrpcConnection(endpoint, service)
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
        self._channel = _channel(endpoint)
        self._metadata = tuple(endpoint.bearer().items())
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
            raise InvalidRequestError(
                f"{method}: the request cannot be encoded: {error}"
            ) from error
        try:
            data = await self._calls[method](message, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise _error_of(error) from error
        try:
            return from_proto(answer_class.FromString(data), schema)
        except (DecodeError, ValidationError, ValueError) as error:
            raise BadAnswerError(
                f"{method}: the answer does not fit the schema: {error}"
            ) from error

    async def aclose(self) -> None:
        await self._channel.close()


def _raw(data: bytes) -> bytes:
    # Decoded above, so that an answer that is no message is a BadAnswerError.
    return data


def _channel(endpoint: Endpoint) -> grpc.aio.Channel:
    scheme, _, rest = endpoint.url.partition("://")
    target = endpoint.url if endpoint.url.startswith("dns:") else rest
    options = [
        ("grpc.max_send_message_length", endpoint.max_body_bytes),
        ("grpc.max_receive_message_length", endpoint.max_body_bytes),
        ("grpc.lb_policy_name", "round_robin"),
        ("grpc.enable_retries", 0),  # retries are ours, by the code table
    ]
    if scheme == "grpcs":
        return grpc.aio.secure_channel(target, endpoint.channel_credentials(), options=options)
    return grpc.aio.insecure_channel(target, options=options)


def _error_of(error: grpc.aio.AioRpcError) -> ClientError:
    trailers = dict(error.trailing_metadata() or ())
    trailer = trailers.get(CODE_TRAILER)
    code = code_of_grpc(error.code(), trailer if isinstance(trailer, str) else None)
    retry_after_s = 0.0
    with suppress(ValueError):
        retry_after_s = max(0.0, float(trailers.get(RETRY_AFTER_TRAILER, "0")) / 1000)
    message = error.details() or error.code().name
    return error_of(code, message, retry_after_s=retry_after_s)
