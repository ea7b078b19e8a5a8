"""Pools over real transports: scripted servers that are slow, full, cut off, or not who they claim to be."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import grpc.aio
import httpx
import msgpack
import pytest

from align2llava.clients.api import RewardClient
from align2llava.clients.endpoint import Endpoint
from align2llava.clients.errors import OtherModelError, UnavailableError
from align2llava.clients.pool.pool import Pool
from align2llava.clients.pool.pooled import PooledRewardClient
from align2llava.clients.pool.slots import Member
from align2llava.clients.transport.rest import RestRewardClient
from align2llava.clients.transport.rpc import GrpcRewardClient
from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire.codes import TABLE, Code
from align2llava.clients.wire.schemas import Group, Item, ModelIdentity, ScoreResponse

MODEL = ModelIdentity(
    name="m", kind="question-reward", identity="right", weights_sha256="w", dtype="float32"
)
Context = grpc.aio.ServicerContext[bytes, bytes]
Act = Callable[[int], Awaitable[Code | None]]  # the number of the request, from 0 -> a refusal


def reward_of(item_id: str) -> float:
    return int(item_id) / 2


class Stub:
    """One scripted server: `act` may wait, and name the code to refuse with."""

    def __init__(self, act: Act, *, identity: str = "right") -> None:
        self.act = act
        self.identity = identity
        self.num_requests = 0
        self.num_cancelled = 0
        self.in_flight = self.most_in_flight = 0

    async def answer(self, ids: list[str]) -> ScoreResponse | Code:
        number, self.num_requests = self.num_requests, self.num_requests + 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            code = await self.act(number)
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        if code is not None:
            return code
        items = [{"id": one, "reward": reward_of(one)} for one in ids]
        model = MODEL.model_copy(update={"identity": self.identity})
        return ScoreResponse.model_validate({"model": model, "groups": [{"items": items}]})


@asynccontextmanager
async def over_rest(stub: Stub) -> AsyncIterator[RewardClient]:
    async def handler(request: httpx.Request) -> httpx.Response:
        group = msgpack.unpackb(request.content)["groups"][0]
        answer = await stub.answer([item["id"] for item in group["items"]])
        if answer is Code.UNAVAILABLE:
            raise httpx.ReadError("connection reset by peer")
        if isinstance(answer, Code):
            return httpx.Response(TABLE[answer].http_status)
        return httpx.Response(200, content=msgpack.packb(answer.model_dump(exclude_none=True)))

    client = RestRewardClient(
        Endpoint(url="http://service"), transport=httpx.MockTransport(handler), retries=False
    )
    try:
        yield client
    finally:
        await client.aclose()


def proto_of(answer: ScoreResponse) -> pb.ScoreResponse:
    items = [pb.ItemReward(id=i.id, reward=i.reward) for i in answer.groups[0].items]
    model = pb.ModelIdentity(name="m", kind=MODEL.kind, identity=answer.model.identity)
    return pb.ScoreResponse(model=model, groups=[pb.GroupRewards(items=items)])


@asynccontextmanager
async def over_grpc(stub: Stub) -> AsyncIterator[RewardClient]:
    async def handler(request: bytes, context: Context) -> bytes:
        group = pb.ScoreRequest.FromString(request).groups[0]
        answer = await stub.answer([item.id for item in group.items])
        if isinstance(answer, Code):
            trailers = (("a2l-code", answer.value),)
            await context.abort(TABLE[answer].grpc_status, "as asked", trailers)
        return proto_of(answer).SerializeToString()

    async with grpc_client({"Score": grpc.unary_unary_rpc_method_handler(handler)}) as client:
        yield client


@asynccontextmanager
async def over_stream(stub: Stub) -> AsyncIterator[RewardClient]:
    async def handler(requests: AsyncIterator[bytes], context: Context) -> None:
        writing = asyncio.Lock()

        async def one(data: bytes) -> None:
            asked = pb.ScoreStreamRequest.FromString(data)
            answer = await stub.answer([i.id for i in asked.request.groups[0].items])
            message = pb.ScoreStreamResponse(request_id=asked.request_id)
            if isinstance(answer, Code):
                message.error.code, message.error.message = answer.value, "as asked"
            else:
                message.response.CopyFrom(proto_of(answer))
            async with writing:
                await context.write(message.SerializeToString())

        async with asyncio.TaskGroup() as tasks:
            async for data in requests:
                tasks.create_task(one(data))

    async with grpc_client(
        {"ScoreStream": grpc.stream_stream_rpc_method_handler(handler)}
    ) as client:
        yield client


@asynccontextmanager
async def grpc_client(
    handlers: dict[str, "grpc.RpcMethodHandler[bytes, bytes]"],
) -> AsyncIterator[RewardClient]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("align2llava.v1.QuestionReward", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    endpoint = Endpoint(url=f"grpc://127.0.0.1:{port}")
    client = GrpcRewardClient(endpoint, kind="question-reward", retries=False)
    try:
        yield client
    finally:
        await client.aclose()
        await server.stop(None)


OVER = {"rest": over_rest, "grpc": over_grpc, "stream": over_stream}


class Pooled:
    """A pool of scripted servers over one transport."""

    def __init__(self, transport: str) -> None:
        self._connect = OVER[transport]
        self._stack = AsyncExitStack()
        self.expelled: list[str] = []

    async def open(self, *stubs: Stub, max_in_flight: int = 16) -> PooledRewardClient:
        members = [
            Member(
                str(number),
                await self._stack.enter_async_context(self._connect(stub)),
                max_in_flight=max_in_flight,
            )
            for number, stub in enumerate(stubs)
        ]
        pool = Pool(members, model=MODEL, on_expelled=lambda url, _: self.expelled.append(url))
        self._stack.callback(pool.close)
        return PooledRewardClient(pool)

    async def aclose(self) -> None:
        await self._stack.aclose()


@pytest.fixture(params=[*OVER])
async def pooled(request: pytest.FixtureRequest) -> AsyncIterator[Pooled]:
    pooled = Pooled(request.param)
    yield pooled
    await pooled.aclose()


async def scored(client: RewardClient, num_calls: int, *, timeout_s: float = 5.0) -> None:
    """Makes calls at once; each must have its own rewards."""

    async def call(number: int) -> None:
        ids = [str(2 * number), str(2 * number + 1)]
        group = Group(items=tuple(Item(id=one, questions=("q",)) for one in ids))
        response = await client.score([group], timeout_s=timeout_s)
        assert [item.reward for item in response.groups[0].items] == [reward_of(one) for one in ids]
        assert response.model.identity == "right"

    async with asyncio.TaskGroup() as tasks:
        for number in range(num_calls):
            tasks.create_task(call(number))


async def well(_number: int) -> Code | None:
    await asyncio.sleep(0.001)
    return None


def refusing(code: Code, numbers: range) -> Act:
    async def act(number: int) -> Code | None:
        await asyncio.sleep(0.001)
        return code if number in numbers else None

    return act


@pytest.mark.parametrize("code", [Code.OVERLOADED, Code.UNAVAILABLE, Code.INTERNAL])
async def test_burst_of_faults_costs_no_call(pooled: Pooled, code: Code):
    faulty, other = Stub(refusing(code, range(5, 9))), Stub(well)
    await scored(await pooled.open(faulty, other), 150)
    assert faulty.num_requests > 9
    assert faulty.num_requests + other.num_requests >= 154


async def test_server_that_is_full_again_and_again_gets_every_call_answered(pooled: Pooled):
    """Room for six at once: the seventh is refused."""
    stub = Stub(well)

    async def act(_number: int) -> Code | None:
        if stub.in_flight > 6:
            return Code.OVERLOADED
        await asyncio.sleep(0.002)
        return None

    stub.act = act
    await scored(await pooled.open(stub, max_in_flight=64), 200)
    assert stub.num_requests < 260


async def test_server_that_queues_and_never_refuses_is_given_few_calls(pooled: Pooled):
    one_by_one = asyncio.Lock()

    async def act(_number: int) -> Code | None:
        async with one_by_one:
            await asyncio.sleep(0.006)
        return None

    stub = Stub(act)
    client = await pooled.open(stub, max_in_flight=64)
    await scored(client, 150)
    stub.most_in_flight = 0
    await scored(client, 100)
    assert stub.most_in_flight <= 24


async def test_lying_replica_is_put_out(pooled: Pooled):
    liar, honest = Stub(well, identity="other"), Stub(well)
    await scored(await pooled.open(liar, honest), 60)
    assert pooled.expelled == ["0"]
    assert honest.num_requests == 60


async def test_replica_that_changes_its_model_is_put_out(pooled: Pooled):
    drifting, honest = Stub(well), Stub(well)
    client = await pooled.open(drifting, honest)
    await scored(client, 30)
    drifting.identity = "other"
    await scored(client, 30)
    assert pooled.expelled == ["0"]


async def test_only_replica_that_changes_its_model_is_an_error(pooled: Pooled):
    stub = Stub(well, identity="other")
    client = await pooled.open(stub)
    group = Group(items=(Item(id="1", questions=("q",)),))
    with pytest.raises(OtherModelError):
        await client.score([group], timeout_s=5)


@pytest.mark.parametrize("pooled", ["rest", "grpc"], indirect=True)
async def test_loser_of_two_calls_is_cancelled_at_the_server(pooled: Pooled):
    stuck = await raced(pooled)
    for _ in range(100):
        if stuck.in_flight == 0:
            break
        await asyncio.sleep(0.01)
    assert stuck.in_flight == 0
    assert stuck.num_cancelled >= 1


async def test_stuck_call_is_answered_elsewhere(pooled: Pooled):
    await raced(pooled)


async def raced(pooled: Pooled) -> Stub:
    """A replica is stuck with a call that the other one answers then."""
    is_stuck = False

    async def act(_number: int) -> Code | None:
        await asyncio.sleep(60 if is_stuck else 0.005)
        return None

    async def steady(_number: int) -> Code | None:
        await asyncio.sleep(0.005)
        return None

    stuck, other = Stub(act), Stub(steady)
    client = await pooled.open(stuck, other)
    await scored(client, 300)
    is_stuck = True
    async with asyncio.timeout(20):  # of 60
        await scored(client, 2)
    return stuck


async def test_service_that_only_refuses_ends_the_wait_and_is_not_stormed(pooled: Pooled):
    stub = Stub(refusing(Code.OVERLOADED, range(10**9)))
    client = await pooled.open(stub)
    group = Group(items=(Item(id="1", questions=("q",)),))
    with pytest.raises(UnavailableError, match="overloaded"):
        await client.score([group], timeout_s=0.5)
    assert stub.num_requests < 12
