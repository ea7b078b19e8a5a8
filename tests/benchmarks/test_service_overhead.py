from dataclasses import replace

import pytest

from benchmarks.service_load import Outcome
from benchmarks.service_overhead import NUM_CANDIDATES, Overload, closed_row

GOOD = Overload(
    outcome=Outcome(latencies_s=[1.0] * 95 + [1.9] * 5, elapsed_s=50.0, num_refused=300),
    offered=64.0,
    peak=16.5,
    batch_s=1.0,
    busy=0.98,
    memory_mib=800.0,
    memory_growth=1.01,
)


def falling_short(found: Overload) -> list[str]:
    return [name for name, claim in found.claims().items() if not claim.holds]


def test_good_run_fulfils_every_claim():
    assert falling_short(GOOD) == []


@pytest.mark.parametrize(
    ("outcome", "claim"),
    [
        (replace(GOOD.outcome, num_refused=0), "requests shed"),
        (replace(GOOD.outcome, num_without_retry_after=1), "share of refusals with Retry-After"),
        (
            replace(GOOD.outcome, latencies_s=[1.0] * 90 + [2.1] * 10),
            "p95 of accepted / (2 batch times + maximum wait)",
        ),
        (replace(GOOD.outcome, elapsed_s=60.0), "throughput / peak"),
    ],
    ids=["nothing refused", "a refusal without a time", "late answers", "less done"],
)
def test_each_claim_can_fall_short(outcome: Outcome, claim: str):
    assert falling_short(replace(GOOD, outcome=outcome)) == [claim]


def test_memory_that_grows_falls_short():
    assert falling_short(replace(GOOD, memory_growth=1.2)) == ["memory after / before"]


def test_row_counts_samples_and_not_requests():
    row = closed_row(GOOD.outcome, limit=4.0 * NUM_CANDIDATES)
    assert row["samples_per_s"] == 2 * NUM_CANDIDATES
    assert row["share"] == 0.5
    assert (row["p50_ms"], row["answered"], row["refused"]) == (1000, 100, 300)
