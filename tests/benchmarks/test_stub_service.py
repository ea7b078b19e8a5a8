import hashlib
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from align2llava.clients.endpoint import Endpoint
from align2llava.clients.transport.connect import connect_reward
from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.schemas import Group, Image, Item, ScoreResponse
from benchmarks.driver_runs import Transport
from benchmarks.stub_process import StubProcess, running_stub
from benchmarks.stub_service import Stats, reward_of

DATA = b"no image is looked at"
SHA256 = hashlib.sha256(DATA).hexdigest()
TRANSPORTS = ("grpc", "rest")

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module", params=["seen"])
def stub(request: pytest.FixtureRequest) -> Iterator[StubProcess]:
    with running_stub(request.param) as process:
        yield process


def group(*questions: str, sha256: str = SHA256, data: bytes | None = DATA) -> Group:
    items = tuple(Item(id=str(at), questions=(text,)) for at, text in enumerate(questions))
    return Group(image=Image(sha256=sha256, data=data), items=items)


async def score(stub: StubProcess, transport: Transport, *groups: Group) -> ScoreResponse:
    endpoint = Endpoint(url=stub.url("question-reward", transport))
    client = connect_reward(endpoint, kind="question-reward")
    try:
        return await client.score(groups, timeout_s=10)
    finally:
        await client.aclose()


def rewards(response: ScoreResponse) -> list[float | None]:
    return [item.reward for one in response.groups for item in one.items]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_reward_follows_from_image_and_texts_alone(stub: StubProcess, transport: Transport):
    answered = await score(stub, transport, group("left?", "right?"), group("left?"))
    left, right, again = rewards(answered)
    assert left == again == reward_of(SHA256, ("left?",))
    assert right == reward_of(SHA256, ("right?",))
    assert left != right


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_image_is_needed_until_it_was_sent(stub: StubProcess, transport: Transport):
    data = transport.encode()
    sha256 = hashlib.sha256(data).hexdigest()
    bare = group("what?", sha256=sha256, data=None)
    (unknown,) = (await score(stub, transport, bare)).groups[0].items
    assert unknown.error is not None
    assert unknown.error.code == "image_needed"
    sent = await score(stub, transport, group("what?", sha256=sha256, data=data))
    assert rewards(sent) == rewards(await score(stub, transport, bare))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", ["question-reward", "answer-reward"])
async def test_each_kind_says_who_it_is(stub: StubProcess, kind: RewardKind, transport: Transport):
    client = connect_reward(Endpoint(url=stub.url(kind, transport)), kind=kind)
    try:
        assert (await client.model(timeout_s=10)).kind == kind
    finally:
        await client.aclose()


def test_health_says_serving(stub: StubProcess):
    with grpc.insecure_channel(f"127.0.0.1:{stub.ports.grpc}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="align2llava.v1.QuestionReward")
        status = health.Check(request, timeout=10).status  # pyright: ignore[reportAttributeAccessIssue]  (not in its stub)
    assert status == health_pb2.HealthCheckResponse.SERVING


async def test_stats_count_what_was_asked(stub: StubProcess):
    before = stub.stats()
    await score(stub, "rest", group("one?", "two?"), group("three?"))
    asked = stub.stats().since(before)
    assert (asked.num_messages, asked.num_groups, asked.num_items) == (1, 2, 3)
    assert asked.cpu_s >= 0


def test_difference_of_stats_is_field_by_field():
    later, earlier = Stats(num_messages=5, num_items=9), Stats(num_messages=2, num_items=4)
    assert later.since(earlier) == Stats(num_messages=3, num_items=5)
