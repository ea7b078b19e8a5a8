"""Errors of whole requests: each code of the table, the same over REST and gRPC."""

import asyncio
import time
from pathlib import Path

import httpx
import pytest

from align2llava.clients.api import RewardClient
from align2llava.clients.errors import (
    ClientError,
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
)
from align2llava.clients.wire.schemas import Group, Item
from tests.contract.servers import Server, Transport, server
from tests.contract.wire_values import codes, question_group, square, wire_image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.mark.parametrize(
    "groups",
    [
        [],
        [Group(image=square(), items=())],
        [Group(image=square(), items=(Item(id="a", questions=("q",)),) * 2)],
        [Group(image=square(), items=(Item(id="", questions=("q",)),))],
    ],
    ids=["no groups", "no items", "an id twice", "an empty id"],
)
async def test_malformed_request_is_invalid(questions: RewardClient, groups: list[Group]):
    with pytest.raises(InvalidRequestError):
        await questions.score(groups, timeout_s=10)


@pytest.mark.parametrize("api_key", [None, "another-key", "Secret-key"])
async def test_missing_or_wrong_key_is_unauthenticated(
    strict_server: Server, transport: Transport, api_key: str | None
):
    client = strict_server.reward_client(transport, api_key=api_key)
    with pytest.raises(UnauthenticatedError):
        await client.score([question_group("a")], timeout_s=10)
    with pytest.raises(UnauthenticatedError):
        await client.model(timeout_s=10)
    await client.aclose()


async def test_too_many_items_are_too_large(strict: RewardClient):
    with pytest.raises(TooLargeError, match="9 items; the limit is 8"):
        await strict.score([question_group(*"abcdefghi")], timeout_s=10)


async def test_body_over_the_limit_is_too_large(strict: RewardClient):
    images = [wire_image(bytes([i]) * 90_000) for i in range(3)]
    with pytest.raises(TooLargeError):
        await strict.score([question_group("a", image=image) for image in images], timeout_s=10)


async def test_full_service_refuses_at_once_and_says_when_to_come_again(
    strict_server: Server, transport: Transport
):
    client = strict_server.reward_client(transport, api_key="secret-key")
    busy = asyncio.create_task(client.score([question_group(*["[[slow 250]]"] * 8)], timeout_s=20))
    await asyncio.sleep(0.05)
    outcome = None
    while outcome is None and not busy.done():
        try:
            await client.score([question_group("b")], timeout_s=0.04)
        except OverloadedError as error:
            outcome = error
        except DeadlineError:
            continue
    assert outcome is not None
    assert outcome.retry_after_s > 0
    assert codes(await busy) == [[None] * 8]
    await client.aclose()


async def test_client_waits_out_a_full_service(strict: RewardClient):
    calls = [strict.score([question_group(*["[[slow 20]]"] * 5)], timeout_s=20) for _ in range(4)]
    for response in await asyncio.gather(*calls):
        assert codes(response) == [[None] * 5]


async def test_deadline_is_kept_by_the_service(questions: RewardClient):
    began = time.perf_counter()
    with pytest.raises(DeadlineError):
        await questions.score([question_group("[[slow 2000]]")], timeout_s=0.1)
    assert time.perf_counter() - began < 1.5
    assert codes(await questions.score([question_group("a")], timeout_s=10)) == [[None]]


async def test_loading_service_is_unavailable_and_a_failed_one_not_ready(
    tmp_path: Path, transport: Transport
):
    settings = {"A2L_ENGINE": "torch", "A2L_MODEL_DIR": str(tmp_path)}
    with server("question-reward", tmp_path, settings=settings, await_ready=False) as running:
        await listening(running)
        client = running.reward_client(transport)
        with pytest.raises((UnavailableError, DeadlineError)):
            await client.score([question_group("a")], timeout_s=1)
        await client.aclose()
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{running.url('rest')}/readyz")).status_code == 503


async def listening(running: Server) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", running.grpc_port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def test_service_of_the_other_kind_is_not_taken_for_ours(answer_server: Server):
    client = server_client_of_other_kind(answer_server)
    with pytest.raises(ClientError):
        await client.score([question_group("a")], timeout_s=5)
    await client.aclose()


def server_client_of_other_kind(answer_server: Server) -> RewardClient:
    from align2llava.clients.transport.rpc import GrpcRewardClient

    return GrpcRewardClient(answer_server.endpoint("grpc"), kind="question-reward")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"{", "application/json"),
        (b'{"groups": 1}', "application/json"),
        (b'{"groups": [], "more": 1}', "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"\xc1", "application/x-msgpack"),
        (
            b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94.",
            "application/vnd.bentoml+pickle",
        ),
    ],
    ids=["cut off", "wrong type", "unknown field", "not UTF-8", "not msgpack", "a pickle"],
)
def test_rest_body_outside_the_contract_is_invalid(
    question_server: Server, content: bytes, content_type: str
):
    response = httpx.post(
        f"{question_server.url('rest')}/v1/score",
        content=content,
        headers={"content-type": content_type},
    )
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_request"


def test_unknown_route_answers_in_the_same_form(question_server: Server):
    response = httpx.get(f"{question_server.url('rest')}/v1/nothing")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "invalid_request"
