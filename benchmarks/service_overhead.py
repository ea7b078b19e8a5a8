"""What a reward service costs beside its engine: REST, gRPC and streams, and what overload does.

    python benchmarks/service_overhead.py [--quick] [--out FILE]

Each group is one JPEG of 640 x 480 with 8 questions. Every image is sent with its bytes, decoded and
encoded by the model each time, offline as in the service: no cache holds anything. Offline is the
engine alone in this process, groups prepared beforehand, so that its throughput is the limit of any
service. The service (`bentoml serve`) and the load generator are processes of their own; the engine
has one thread in both. `--quick`: the blocks checkpoint at all client counts, the mid model under
overload only.

Overload is an open loop at 4 times the peak, over REST and gRPC in turn. The peak is the larger of the
engine's throughput offline and that of a closed loop; batch time is the mean of the batches of that
minute, the throughput that of all accepted requests until the last is answered.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it sees its folder only

from align2llava.services.core.images import decoded
from align2llava.services.engines.api import Candidate, PreparedGroup, RewardGroup
from align2llava.services.engines.torch_engine.reward import EngineLimits, TorchRewardEngine
from benchmarks.measuring import (
    Cell,
    Claim,
    NotRun,
    Report,
    argument_parser,
    at_least,
    at_most,
    percentile,
    say,
)
from benchmarks.mid_model import write_mid_model
from benchmarks.service_calls import Transport
from benchmarks.service_load import Outcome, Plan, group_of
from benchmarks.service_process import ROOT, ServiceProcess, running_service

BLOCKS = ROOT / "examples" / "blocks" / "models" / "question-reward"
TRANSPORTS: tuple[Transport, ...] = ("rest", "grpc", "stream")
NUM_CANDIDATES = 8
MAX_CLIENTS = 64
MAX_BATCH_TOKENS = 16_384
TIMEOUT_S = 300.0

SETTINGS = {
    "A2L_MAX_CACHE_BYTES": "0",
    "A2L_MAX_FEATURE_BYTES": "0",
    "A2L_MAX_BATCH_TOKENS": str(MAX_BATCH_TOKENS),
    "A2L_DEFAULT_DEADLINE_MS": str(round(1e3 * TIMEOUT_S)),
}
# 64 clients that each wait for an answer are no overload: they all find room.
ROOMY = SETTINGS | {"A2L_MAX_QUEUE_BATCHES": "8"}
# Smaller batches cost nothing on a CPU and make waiting short; the share of one ahead is the default.
TIGHT = SETTINGS | {"A2L_MAX_BATCH_TOKENS": "4096"}
MAX_WAIT_MS = 2.0  # the default of A2L_MAX_WAIT_MS
OVERLOAD = 4.0
GOALS: dict[Transport, float] = {"stream": 0.9, "rest": 0.8}
MEMORY_SLACK = 1.05  # what counts as flat


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many groups are sent to a model."""

    offline: int
    requests: Mapping[int, int]  # by number of clients


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much a run measures."""

    shares: Mapping[str, Sizes]  # by model
    overload: Sizes  # for its peak
    settle_s: float  # of overload, not counted: the process fills buffers that it keeps
    overload_s: float


FULL = Scale(
    shares={
        "blocks": Sizes(offline=128, requests={1: 64, 8: 256, MAX_CLIENTS: 512}),
        "mid": Sizes(offline=16, requests={1: 8, 8: 24, MAX_CLIENTS: 80}),
    },
    overload=Sizes(offline=12, requests={8: 24}),
    settle_s=8,
    overload_s=60,
)
QUICK = Scale(
    shares={"blocks": Sizes(offline=48, requests={1: 32, 8: 96, MAX_CLIENTS: 192})},
    overload=Sizes(offline=6, requests={8: 12}),
    settle_s=5,
    overload_s=16,
)


class LoadGenerator:
    """The process that sends; one plan at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, plan: Plan) -> Outcome:
        """Returns what came of a plan.

        Raises:
            RuntimeError: the generator died, or a request failed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(plan)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator died")
        outcome = Outcome(**json.loads(line))
        if outcome.failures:
            raise RuntimeError(f"{len(outcome.failures)} requests failed: {outcome.failures[0]}")
        return outcome


@contextmanager
def load_generator() -> Generator[LoadGenerator]:
    """Starts the process and ends it."""
    with subprocess.Popen(
        [sys.executable, str(ROOT / "benchmarks" / "service_load.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield LoadGenerator(process)
        finally:
            process.terminate()


def closed(service: ServiceProcess, transport: Transport, *, clients: int, requests: int) -> Plan:
    """Returns the plan of clients that each wait for their answer."""
    return Plan(
        transports=[transport],
        http_port=service.http_port,
        grpc_port=service.grpc_port,
        num_clients=clients,
        num_requests=requests,
        num_candidates=NUM_CANDIDATES,
        rate=0.0,
        timeout_s=TIMEOUT_S,
    )


def opened(service: ServiceProcess, *, rate: float, seconds: float) -> Plan:
    """Returns the plan of requests that come whether or not others are answered."""
    return Plan(
        transports=["rest", "grpc"],
        http_port=service.http_port,
        grpc_port=service.grpc_port,
        num_clients=2,
        num_requests=round(rate * seconds),
        num_candidates=NUM_CANDIDATES,
        rate=rate,
        timeout_s=TIMEOUT_S,
    )


class Offline:
    """The engine alone."""

    def __init__(self, model_dir: Path, *, num_groups: int) -> None:
        self._engine = TorchRewardEngine.load(
            model_dir,
            kind="question-reward",
            device="cpu",
            dtype="float32",
            num_threads=1,
            limits=EngineLimits(
                max_batch_tokens=MAX_BATCH_TOKENS, max_feature_bytes=0, long_text="refuse"
            ),
        )
        self._groups = [self._prepared(seed) for seed in range(num_groups)]
        self._engine.launch(self._groups[:2])()

    def _prepared(self, seed: int) -> PreparedGroup:
        group = group_of(seed, NUM_CANDIDATES)
        assert group.image is not None
        assert group.image.data is not None
        return self._engine.prepare(
            RewardGroup(
                image=decoded(group.image.data, max_pixels=10**6),
                candidates=tuple(
                    Candidate(questions=item.questions, answer=None) for item in group.items
                ),
                image_key=group.image.sha256,
            )
        )

    def samples_per_s(self) -> float:
        """Returns the throughput, measured now, in batches as the service forms them."""
        began_s = time.perf_counter()
        for batch in self._batches():
            self._engine.launch(batch)()
        return len(self._groups) * NUM_CANDIDATES / (time.perf_counter() - began_s)

    def _batches(self) -> Generator[list[PreparedGroup]]:
        batch: list[PreparedGroup] = []
        for group in self._groups:
            if sum(one.num_tokens for one in [*batch, group]) > MAX_BATCH_TOKENS and batch:
                yield batch
                batch = []
            batch.append(group)
        yield batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """What every part needs."""

    report: Report
    load: LoadGenerator
    scale: Scale

    def shares(self, name: str, model_dir: Path) -> dict[Transport, float]:
        """Measures a checkpoint offline and through a service; returns the shares at 64 clients.

        Offline is measured before and after each transport; a share is of the mean of both.
        """
        sizes = self.scale.shares[name]
        offline = Offline(model_dir, num_groups=sizes.offline)
        shares: dict[Transport, float] = {}
        with running_service(model_dir, ROOMY) as service:
            self.load.run(closed(service, "stream", clients=8, requests=16))  # warms up
            before = offline.samples_per_s()
            for transport in TRANSPORTS:
                outcomes: dict[int, Outcome] = {}
                for clients, requests in sizes.requests.items():
                    say(f"{name}, {transport}, {clients} clients: {requests} groups")
                    plan = closed(service, transport, clients=clients, requests=requests)
                    outcomes[clients] = self.load.run(plan)
                after = offline.samples_per_s()
                limit = (before + after) / 2
                before = after
                self.report.add_row(
                    {"model": name, "path": "offline", "samples_per_s": limit, "share": 1.0}
                )
                for clients, outcome in outcomes.items():
                    self.report.add_row(
                        {"model": name, "path": transport, "clients": clients}
                        | closed_row(outcome, limit=limit)
                    )
                shares[transport] = samples_per_s(outcomes[MAX_CLIENTS]) / limit
        return shares

    def overload(self, model_dir: Path) -> None:
        """Measures the peak, then sends 4 times as much for a while."""
        scale = self.scale
        offline = Offline(model_dir, num_groups=scale.overload.offline)
        with running_service(model_dir, TIGHT) as service:
            say("mid, overload: the peak first")
            before = offline.samples_per_s()
            [(clients, requests)] = scale.overload.requests.items()
            loop = self.load.run(closed(service, "grpc", clients=clients, requests=requests))
            rate = OVERLOAD * max(before, samples_per_s(loop)) / NUM_CANDIDATES
            self.load.run(opened(service, rate=rate, seconds=scale.settle_s))
            say(f"mid, overload: {scale.overload_s:g} s of {rate:.3g} groups/s")
            memory_mib, work = service.memory_mib(), service.device_work()
            outcome = self.load.run(opened(service, rate=rate, seconds=scale.overload_s))
            work = service.device_work().since(work)
            found = Overload(
                outcome=outcome,
                offered=rate * NUM_CANDIDATES,
                peak=max((before + offline.samples_per_s()) / 2, samples_per_s(loop)),
                batch_s=work.device_s / work.num_batches,
                busy=work.device_s / outcome.elapsed_s,
                memory_mib=memory_mib,
                memory_growth=service.memory_mib() / memory_mib,
            )
        self.report.add_row(found.row())
        for claim, value in found.claims().items():
            self.report.add_claim(f"overload: {claim}", value)


def samples_per_s(outcome: Outcome) -> float:
    """Returns the throughput of what was answered."""
    return len(outcome.latencies_s) * NUM_CANDIDATES / outcome.elapsed_s


def closed_row(outcome: Outcome, *, limit: float) -> dict[str, Cell]:
    """Returns what is shown of a run; `limit` is the throughput that the share is of."""
    throughput = samples_per_s(outcome)
    return {
        "samples_per_s": throughput,
        "share": throughput / limit,
        "p50_ms": 1e3 * percentile(outcome.latencies_s, 0.5),
        "p95_ms": 1e3 * percentile(outcome.latencies_s, 0.95),
        "answered": len(outcome.latencies_s),
        "refused": outcome.num_refused,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Overload:
    """What a service did under more than it can do."""

    outcome: Outcome
    offered: float  # samples/s
    peak: float  # samples/s
    batch_s: float  # mean
    busy: float  # share of the time in which the device computed
    memory_mib: float  # before
    memory_growth: float

    def row(self) -> dict[str, Cell]:
        """Returns what is shown of it."""
        return {
            "model": "mid",
            "path": "overload",
            **closed_row(self.outcome, limit=self.peak),
            "offered_per_s": self.offered,
            "batch_ms": 1e3 * self.batch_s,
            "device_busy": self.busy,
            "memory_mib": self.memory_mib,
            "memory_growth": self.memory_growth,
        }

    def claims(self) -> dict[str, Claim]:
        """Returns what must hold."""
        refused = self.outcome.num_refused
        told = 1 - self.outcome.num_without_retry_after / max(1, refused)
        bound_s = 2 * self.batch_s + MAX_WAIT_MS / 1e3
        p95_s = percentile(self.outcome.latencies_s, 0.95)
        return {
            "requests shed": at_least(refused, 1),
            "share of refusals with Retry-After": at_least(told, 1.0),
            "p95 of accepted / (2 batch times + maximum wait)": at_most(p95_s / bound_s, 1.0),
            "memory after / before": at_most(self.memory_growth, MEMORY_SLACK),
            "throughput / peak": at_least(samples_per_s(self.outcome) / self.peak, 0.9),
        }


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    arguments = argument_parser("service_overhead", __doc__ or "").parse_args()
    is_quick: bool = arguments.quick
    report = Report("service_overhead", is_quick=is_quick)
    with tempfile.TemporaryDirectory(prefix="mid-model-") as folder, load_generator() as load:
        mid = Path(folder) / "mid"
        write_mid_model(mid, kind="question-reward", seed=0)
        measuring = Measuring(report=report, load=load, scale=QUICK if is_quick else FULL)
        measuring.shares("blocks", BLOCKS)
        shares = {} if is_quick else measuring.shares("mid", mid)
        for transport, goal in GOALS.items():
            report.add_claim(
                f"mid, 64 clients, {transport}: share of the offline throughput",
                at_least(shares[transport], goal) if shares else NotRun(why="--quick"),
            )
        measuring.overload(mid)
    report.finish(arguments.out)


if __name__ == "__main__":
    main()
