"""More than a service can do: it sheds at once, says when to come again, and answers what it took."""

from pathlib import Path

import pytest

from benchmarks.service_load import Load, Outcome, Plan
from tests.contract.servers import ROOT, Server, server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

OVERLOAD = 4
NUM_REQUESTS = 240


def plan(running: Server, *, num_clients: int, num_requests: int, rate: float) -> Plan:
    return Plan(
        transports=["rest", "grpc"],
        http_port=running.http_port,
        grpc_port=running.grpc_port,
        num_clients=num_clients,
        num_requests=num_requests,
        num_candidates=4,
        rate=rate,
        timeout_s=60,
    )


async def test_four_times_the_sustainable_rate_is_shed_and_the_rest_answered(tmp_path: Path):
    settings = {
        "A2L_ENGINE": "torch",
        "A2L_MODEL_DIR": str(ROOT / "examples" / "blocks" / "models" / "question-reward"),
        "A2L_MAX_BATCH_TOKENS": "1024",
    }
    with server("question-reward", tmp_path, settings=settings) as running:
        calm = await Load(plan(running, num_clients=4, num_requests=40, rate=0)).run()
        rate = OVERLOAD * len(calm.latencies_s) / calm.elapsed_s
        flood = await Load(plan(running, num_clients=2, num_requests=NUM_REQUESTS, rate=rate)).run()
        again = await Load(plan(running, num_clients=1, num_requests=4, rate=0)).run()
    assert [outcome.failures for outcome in (calm, flood, again)] == [[], [], []]
    assert flood.num_refused >= NUM_REQUESTS / 4
    assert flood.num_without_retry_after == 0
    assert len(flood.latencies_s) + flood.num_refused == NUM_REQUESTS
    assert worst_s(flood) < 10 * worst_s(calm)
    assert len(again.latencies_s) == 4


def worst_s(outcome: Outcome) -> float:
    return max(outcome.latencies_s)
