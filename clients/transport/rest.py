"""The REST clients: msgpack over HTTP/1.1, errors by status."""

import asyncio
from contextlib import suppress
from itertools import count
from typing import TypeVar

import httpx
import msgpack
import orjson
from pydantic import BaseModel, ValidationError

from align2llava.clients.endpoint import Endpoint
from align2llava.clients.errors import (
    BadAnswerError,
    ClientError,
    DeadlineError,
    InvalidRequestError,
    TooLargeError,
    UnavailableError,
    error_of,
)
from align2llava.clients.transport.bounds import MAX_FIELDS, Bounds, bounds_of
from align2llava.clients.transport.connection import (
    ConnectedInnerLLMClient,
    ConnectedRewardClient,
    Method,
    Retrying,
)
from align2llava.clients.transport.spoken import raise_for_mix_up
from align2llava.clients.wire.codes import DEADLINE_HEADER, MAX_DEADLINE_MS, code_of_http
from align2llava.clients.wire.schemas import ErrorBody, Message
from align2llava.clients.wire.wording import first_fault, one_line

MSGPACK = "application/x-msgpack"
PLAIN = "identity"
MAX_ERROR_BYTES = 2**16
# A connection is used again for so long: services end an idle one after 5 s, and a request that meets the end fails.
IDLE_S = 3.0
PATHS = {
    Method.SCORE: "/v1/score",
    Method.REWRITE: "/v1/rewrite",
    Method.REVIEW: "/v1/review",
    Method.LIKELIHOOD: "/v1/likelihood",
    Method.GET_MODEL: "/v1/model",
}
S = TypeVar("S", bound=Message)


class RestRewardClient(ConnectedRewardClient):
    """A `RewardClient` over REST."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        retries: bool = True,
    ) -> None:
        """`transport` None = the network; `retries` False = a pool retries."""
        connection = _RestConnection(endpoint, transport)
        super().__init__(Retrying(connection) if retries else connection)


class RestInnerLLMClient(ConnectedInnerLLMClient):
    """An `InnerLLMClient` over REST."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        retries: bool = True,
    ) -> None:
        """`transport` None = the network; `retries` False = a pool retries."""
        connection = _RestConnection(endpoint, transport)
        super().__init__(Retrying(connection) if retries else connection)


class _Failure(BaseModel):
    error: ErrorBody


class _RestConnection:
    """One service over HTTP: requests and answers as schemas, failures as `ClientError`."""

    def __init__(self, endpoint: Endpoint, transport: httpx.AsyncBaseTransport | None) -> None:
        self._max_body_bytes = endpoint.max_body_bytes
        self._endpoint = endpoint
        self._through = endpoint.through()
        self._http = httpx.AsyncClient(
            base_url=endpoint.address().url,
            headers={"accept": MSGPACK, "accept-encoding": PLAIN, **endpoint.bearer()},
            verify=endpoint.ssl_context() if endpoint.url.startswith("https:") else False,
            transport=transport,
            trust_env=False,  # its proxy is the endpoint's; ~/.netrc is no key of ours
            proxy=endpoint.proxy if transport is None else None,
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=None, keepalive_expiry=IDLE_S
            ),
        )

    async def attempt(
        self, method: Method, request: Message | None, schema: type[S], *, timeout_s: float
    ) -> S:
        path = PATHS[method]
        bounds = bounds_of(request, max_bytes=self._max_body_bytes)
        http_request = self._http.build_request(
            "GET" if request is None else "POST",
            path,
            content=self._body(request),
            headers={
                DEADLINE_HEADER: str(min(max(1, int(timeout_s * 1000)), MAX_DEADLINE_MS)),
                **({} if request is None else {"content-type": MSGPACK}),
            },
            timeout=timeout_s,
        )
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._http.send(http_request, stream=True)
                content = await _read(response, max_bytes=bounds.num_bytes)
        except (httpx.TimeoutException, TimeoutError) as error:
            raise DeadlineError(
                f"{path}: no answer within {timeout_s:g} s{self._through}"
            ) from error
        except httpx.TransportError as error:
            if method is Method.GET_MODEL:
                await raise_for_mix_up(self._endpoint)
            raise UnavailableError(
                f"{path}: {type(error).__name__}: {error}{self._through}"
            ) from error
        if response.status_code != 200:
            raise _error_of(response, content, through=self._through)
        return _parsed(schema, content, path=path, bounds=bounds)

    def _body(self, request: Message | None) -> bytes | None:
        if request is None:
            return None
        try:
            body = msgpack.packb(request.model_dump(exclude_none=True))
        except UnicodeEncodeError as error:
            raise InvalidRequestError(f"a text cannot be encoded as UTF-8: {error}") from error
        assert body is not None  # its stub is looser than the function
        if len(body) > self._max_body_bytes:
            raise TooLargeError(
                f"the request is {len(body)} bytes; the limit is {self._max_body_bytes}"
            )
        return body

    async def aclose(self) -> None:
        await self._http.aclose()


async def _read(response: httpx.Response, *, max_bytes: int) -> bytes:
    """Returns the body as it came; of an error that is too long nothing, since its status tells all."""
    is_error = response.status_code != 200
    content = bytearray()
    try:
        # httpx would unpack a whole chunk, to any size, before anybody can count.
        encoding = response.headers.get("content-encoding", PLAIN)
        if encoding.lower() != PLAIN:
            raise BadAnswerError(
                f"the answer has content-encoding {encoding}; {PLAIN} was asked for"
            )
        async for chunk in response.aiter_bytes():
            content += chunk
            if is_error and len(content) > MAX_ERROR_BYTES:
                return b""
            if len(content) > max_bytes:
                raise BadAnswerError(f"the answer is over {max_bytes} bytes")
    finally:
        await response.aclose()
    return bytes(content)


def _parsed(schema: type[S], content: bytes, *, path: str, bounds: Bounds) -> S:
    try:
        return schema.model_validate(_unpacked(content, bounds))
    except ValidationError as error:
        fault = first_fault(error)
        raise BadAnswerError(f"{path}: the answer does not fit the schema: {fault}") from error
    except (ValueError, msgpack.UnpackException) as error:
        raise BadAnswerError(f"{path}: the answer is no msgpack: {one_line(error)}") from error


def _unpacked(content: bytes, bounds: Bounds) -> object:
    """Returns what msgpack holds.

    Raises:
        ValueError: it is no msgpack, or has more lists or maps, or longer ones, than any good answer.
    """
    num_nodes = count(1)

    def counted(node: object) -> object:
        if next(num_nodes) > bounds.num_nodes:
            raise ValueError(f"more than {bounds.num_nodes} lists and maps")
        return node

    return msgpack.unpackb(
        content,
        use_list=True,
        list_hook=counted,
        object_hook=counted,
        max_array_len=bounds.num_entries,
        max_map_len=MAX_FIELDS,
    )


def _error_of(response: httpx.Response, content: bytes, *, through: str) -> ClientError:
    code = code_of_http(response.status_code)
    message = f"HTTP {response.status_code}"
    with suppress(ValidationError, ValueError, msgpack.UnpackException):
        # The status decides; the body only words it.
        is_msgpack = response.headers.get("content-type", "").startswith(MSGPACK)
        body = msgpack.unpackb(content) if is_msgpack else orjson.loads(content)
        message = _Failure.model_validate(body).error.message
    retry_after_s = 0.0
    with suppress(ValueError):
        retry_after_s = max(0.0, float(response.headers.get("retry-after", "0")))
    return error_of(code, f"{message}{through}", retry_after_s=retry_after_s)
