"""`kill -9` of each process of `a2l serve` in turn, while `a2l curate` runs: no orphan, the same dataset.

    python -m tests.attacks.kills --rounds 3 --seed 0 --engine fake --only "inner-llm worker"

After each kill nobody may be left without an `a2l serve` for more than ten seconds, the services answer again
(where `a2l serve` has ended, which it does with exit 4, after it was started anew), and the run ends, resumed
where it ended with exit 4, with the bytes of a run that nobody disturbed.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.attacks.kill_runs import IMPATIENT_S, PATIENT_S, STAGES, Run, World, write_world
from tests.attacks.killable_serve import ROOT_ROLE, Engine, KillableServe, killable_serve
from tests.attacks.rows import Row

_SERVE_ENDED = 4  # the exit code of `a2l serve` where a service has ended
# Each start of vLLM takes long: of the real world those whose end is another one there.
REAL_ROLES = (
    ROOT_ROLE,
    "question-reward worker",
    "inner-llm supervisor",
    "inner-llm worker",
    "inner-llm keeper",
    "inner-llm core",
    "inner-llm vLLM worker",
)


@dataclass(kw_only=True)
class Tally:
    """What became of the kills of one role."""

    role: str
    num_kills: int = 0
    num_in_run: int = 0
    num_resumes: int = 0
    num_crashes: int = 0
    num_hangs: int = 0
    num_tracebacks: int = 0
    seconds: float = 0.0
    gone_s: list[float] = field(default_factory=list)
    ready_s: list[float] = field(default_factory=list)
    remains: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list)

    def row(self) -> Row:
        words = [f"{self.num_in_run} of {self.num_kills} kills while the run was under way"]
        if self.gone_s:
            words.append(f"the last of the dead was gone after {max(self.gone_s):.1f} s")
        if self.ready_s:
            words.append(f"all answered again after {max(self.ready_s):.1f} s")
        words.append(f"{self.num_resumes} resumes after exit 4")
        if remains := [f"{number} {name}" for name, number in sorted(self.remains.items())]:
            words.append(f"left in TMPDIR: {', '.join(remains)}")
        return Row(
            name=f"kill -9 of {self.role}",
            tried=self.num_kills,
            crashes=self.num_crashes,
            hangs=self.num_hangs,
            uncaught=self.num_tracebacks,
            seconds=self.seconds,
            note="; ".join([*words, *self.faults]),
        )

    def fault(self, what: str) -> None:
        self.num_crashes += 1
        self.faults.append(f"kill {self.num_kills}: {what}")


class Campaign:
    """Kills against one `a2l serve`, and what came of them."""

    def __init__(self, serve: KillableServe, world: World, *, seed: int) -> None:
        self._serve = serve
        self._world = world
        self._rng = random.Random(seed)
        self._num_runs = 0
        self.tallies: dict[str, Tally] = {}
        undisturbed = Run(world, "undisturbed", timeout_s=PATIENT_S[world.engine])
        fault = undisturbed.finish()
        assert not fault, fault
        assert undisturbed.num_resumes == 0
        self._dataset = undisturbed.dataset()
        assert len(self._dataset["train.json"]) > 1_000
        self._num_stored = undisturbed.num_stored()

    def kill(self, role: str, *, is_in_own_stage: bool) -> None:
        """Kills a process of this role once, at a drawn moment of a new run, and counts what comes of it."""
        tally = self.tallies.setdefault(role, Tally(role=role))
        began = time.monotonic()
        before = self._serve.remains()
        engine = self._world.engine
        self._num_runs += 1
        timeout_s = self._rng.choice([PATIENT_S[engine], IMPATIENT_S[engine]])
        run = Run(self._world, f"run-{self._num_runs}", timeout_s=timeout_s)
        try:
            run.await_stored(self._drawn_moment(role, is_in_own_stage=is_in_own_stage))
            self._strike(role, tally, run)
            self._check_run(run, tally)
        finally:
            run.stop()
        tally.remains += self._serve.remains() - before
        tally.seconds += time.monotonic() - began

    def _drawn_moment(self, role: str, *, is_in_own_stage: bool) -> int:
        """Returns how many answers shall be on disk, of all or of the stage of the role's service."""
        counts = self._num_stored
        first, num = 0, sum(counts.values())
        for service, stage in STAGES.items():
            if is_in_own_stage and role.startswith(service):
                num = counts[stage]
                break
            first += counts[stage] if is_in_own_stage and role != ROOT_ROLE else 0
        return first + int(self._rng.uniform(0.02, 0.9) * num)

    def _strike(self, role: str, tally: Tally, run: Run) -> None:
        """Kills, waits for the end of who must end, and has the services answer again."""
        victim = self._rng.choice(self._serve.roles()[role])
        doomed = _doomed_with(victim, role)
        began = time.monotonic()
        tally.num_kills += 1
        tally.num_in_run += run.is_running
        victim.kill()
        left, gone_s = self._serve.orphans(doomed)
        tally.gone_s.append(gone_s)
        if role.endswith("supervisor") and (status := self._serve.await_end()) != _SERVE_ENDED:
            tally.fault(f"a2l serve ended with {status}")
        if self._serve.has_ended:
            left += self._serve.orphans([])[0]
        if left:
            tally.fault(f"left after 10 s: {'; '.join(left)}")
        try:
            if self._serve.has_ended:
                if role != ROOT_ROLE and not role.endswith("supervisor"):
                    tally.fault("a2l serve ended")
                self._serve.kill_left()
                self._serve.start()
            else:
                self._serve.await_ready()
        except TimeoutError as error:
            tally.fault(str(error))
            self._serve.kill_left()
            self._serve.start()
        tally.ready_s.append(time.monotonic() - began)

    def _check_run(self, run: Run, tally: Tally) -> None:
        fault = run.finish()
        tally.num_resumes += run.num_resumes
        tally.num_tracebacks += run.num_tracebacks()
        if fault:
            tally.num_hangs += 1
            tally.faults.append(f"kill {tally.num_kills}: {fault}")
        elif run.dataset() != self._dataset:
            tally.fault(f"another dataset than undisturbed: {run.folder}")


def _doomed_with(victim: psutil.Process, role: str) -> Sequence[psutil.Process]:
    """Returns who must end with a process: all below it; of a worker's group, all of the group.

    A resource tracker alone is nobody's end.
    """
    if role == ROOT_ROLE or role.endswith("supervisor"):
        return [victim, *victim.children(recursive=True)]
    if role.endswith("resource tracker"):
        return [victim]
    supervisor = next(p for p in victim.parents() if p.pid == _supervisor_of(victim))
    return supervisor.children(recursive=True)


def _supervisor_of(process: psutil.Process) -> int:
    """Returns the parent of the worker, which leads a group of its own, that a process belongs to."""
    with suppress(psutil.NoSuchProcess):
        for one in (process, *process.parents()):
            if "worker.service" in " ".join(one.cmdline()):
                return one.ppid()
    raise AssertionError(f"{process} is of no worker")


def run(
    folder: Path, *, seed: int, num_rounds: int, engine: Engine, only: Sequence[str] = ()
) -> list[Row]:
    """Returns a row for each role of a process of `a2l serve`, each killed once a round.

    In even rounds the kill falls into the stage of the run that asks the service, in odd ones anywhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Sockets lie below TMPDIR, whose names are bounded.
    with (
        tempfile.TemporaryDirectory(prefix="kills-", ignore_cleanup_errors=True) as tmp,
        killable_serve(folder, tmp=Path(tmp), engine=engine) as serve,
    ):
        roles = list(serve.roles())
        wanted = only or (REAL_ROLES if engine == "real" else roles)
        if unknown := [role for role in wanted if role not in roles]:
            raise ValueError(f"there is no {unknown[0]!r}; there are {', '.join(roles)}")
        world = write_world(folder / "world", urls=serve.grpc_urls, engine=engine)
        campaign = Campaign(serve, world, seed=seed)
        for number in range(num_rounds):
            for role in wanted:
                campaign.kill(role, is_in_own_stage=number % 2 == 0)
        return [tally.row() for tally in campaign.tallies.values()]


def main() -> None:
    """Runs the campaign alone, and prints its rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=["fake", "real"], default="fake")
    parser.add_argument("--only", action="append", default=[], metavar="ROLE")
    parser.add_argument("--folder", type=Path, help="where logs and runs lie; stays")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as own:
        folder = words.folder or Path(own) / "kills"
        rows = run(
            folder, seed=words.seed, num_rounds=words.rounds, engine=words.engine, only=words.only
        )
    for row in rows:
        print(row, flush=True)
    sys.exit(0 if all(row.is_held for row in rows) else 1)


if __name__ == "__main__":
    main()
