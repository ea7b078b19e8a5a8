"""A soak in small: a service under load, with attacks in between, holds what it held, and leaves nothing."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.measuring import Claim, NotRun
from tests.attacks.onslaughts import Site
from tests.attacks.soak import attack_once, left_files, soak
from tests.attacks.soak_seen import NUM_WINDOWS, Diary, Rest, Sample, Soaked, claims
from tests.attacks.steady import Heard
from tests.attacks.world import MIB, Attacked, is_running, services
from tests.contract.servers import Server

ATTACKS = ["1 MiB: nils", "gRPC: groups", "broken EXIF", "100 half bodies"]
SECONDS = 21.0
MAX_GROWTH = 64 * MIB


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_load_and_attacks_leave_a_service_as_it_was(tmp_path: Path):
    diary = Diary(tmp_path / "told" / "soak.json", window_s=SECONDS / NUM_WINDOWS)
    with services(tmp_path / "homes", kinds=["question-reward"], engine="fake") as running:
        before = set(tmp_path.rglob("*"))
        (soaked,) = asyncio.run(soak(running, ATTACKS, seconds=SECONDS, diary=diary, pace=1 / 12))
    held = [sum(one.num_bytes.values()) for one in soaked.samples]
    assert max(held) - held[0] < MAX_GROWTH
    assert len(soaked.windows) == NUM_WINDOWS
    for window in soaked.windows:
        assert window.num_equal == len(window.seconds) > 0
    assert soaked.told["413"]
    assert soaked.told["OUT_OF_RANGE"]
    left = {"question-reward": left_files(tmp_path / "homes", before)}
    made = claims([soaked], minutes=SECONDS / 60, left=left)
    timing = {"minutes", "question-reward: memory at the end"}
    assert not [claim for claim, one in made.items() if claim not in timing and not _holds(one)]
    assert len(json.loads(diary.part.read_text())["rows"]) == NUM_WINDOWS
    assert soaked.pids
    assert not [pid for pid in soaked.pids if is_running(pid)]


@pytest.mark.timeout(60)
async def test_attack_that_fails_of_itself_is_counted_and_no_more(gone: Attacked):
    soaked = Soaked(attacked=gone)
    await attack_once(soaked, "no such attack", seconds=0)
    assert (soaked.num_attacks, soaked.failed_attacks) == (1, ["no such attack"])


def test_what_grows_holds_no_claim(gone: Attacked):
    grown = _seen(gone, growth=0.03, num_descriptors=1)
    made = claims([grown], minutes=120, left={"question-reward": ["a.tmp"]})
    short = {claim for claim, one in made.items() if not _holds(one)}
    assert short == {
        "question-reward: memory at the end",
        "question-reward: more descriptors at rest",
        "files left",
    }
    assert grown.drift("worker") == pytest.approx(1.03)


def test_growth_is_counted_from_the_first_tenth_after_a_round_of_all_attacks(gone: Attacked):
    grown = _seen(gone, growth=0.03, num_descriptors=0, grows_at=3)
    assert grown.drift() == pytest.approx(1.03)
    grown.round_ended_at = 0.29
    assert grown.drift() == 1.0


def test_what_stays_holds_every_claim(gone: Attacked):
    made = claims([_seen(gone, growth=0.0, num_descriptors=0)], minutes=120, left={})
    assert [claim for claim, one in made.items() if not _holds(one)] == []


def test_soak_that_is_stopped_says_what_it_does_not_know(gone: Attacked):
    stopped = Soaked(attacked=gone)
    stopped.look(at=0.0)
    made = claims([stopped], minutes=1, left={})
    assert isinstance(made["question-reward: memory at the end"], NotRun)
    assert isinstance(made["question-reward: more descriptors at rest"], NotRun)
    assert made["times a service was not whole"] == Claim(value=1, goal="<= 0", holds=False)


@pytest.fixture
def gone(tmp_path: Path) -> Attacked:
    """A service that has ended and said nothing."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    log = tmp_path / "server.log"
    log.touch()
    return Attacked(
        site=Site(kind="question-reward", http_port=1, grpc_port=1, key="k"),
        server=Server(kind="question-reward", http_port=1, grpc_port=1, process=process, log=log),
    )


def _seen(
    gone: Attacked, *, growth: float, num_descriptors: int, grows_at: int = NUM_WINDOWS - 1
) -> Soaked:
    """A soak whose worker grows at a tenth, and whose descriptors are more in the end."""
    seen = Soaked(attacked=gone, worker_pids={gone.server.process.pid})
    for number in range(NUM_WINDOWS):
        more = 1 + growth if number >= grows_at else 1
        seen.samples.append(
            Sample(
                at=number / NUM_WINDOWS + 0.01,
                num_bytes={"worker": int(100 * MIB * more)},
                num_processes=1,
                num_descriptors=40,
                num_threads=4,
                cpu_s=0.0,
            )
        )
        seen.windows.append(Heard(seconds=[0.1], num_equal=1))
    for num in (8, 8 + num_descriptors):
        seen.rests.append(
            Rest(
                processes=Counter(worker=1),
                descriptors=Counter({"worker socket": num}),
                threads=Counter(worker=4),
            )
        )
    return seen


def _holds(outcome: Claim | NotRun) -> bool:
    return isinstance(outcome, Claim) and outcome.holds
