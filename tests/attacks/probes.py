"""Schemathesis against each service's own OpenAPI document: good and bad requests, every check it has.

    python -m tests.attacks --only probes --scale 0.1

Schemathesis lives in `.venv-schemathesis` (`make .venv-schemathesis/.installed`). It sends the document's
examples, then values at and beyond each bound, then drawn ones, as JSON and as msgpack, and methods that
no route has. Its stateful part does not apply (no answer names a resource that another request could use),
nor does its check of ignored keys: the services are started without any.
What it finds against a decision of ours is named, with the reason, in `schemathesis_hooks.py`; the rest is
counted so:

* `accepted`: answered with a status below 400; `refused`: with one from 400 on that is no fault;
* `faults`: 5xx, but for the 504 of a deadline that the request itself states;
* `hangs`: not answered within `ANSWER_S`, or cut off;
* `crashes`: the process ended, or another model answers than before;
* `uncaught`: every other failed check, named in the note, and tracebacks in the service's log.
"""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx

from align2llava.clients.wire.kinds import ServiceKind
from align2llava.services.surfaces.rest.examples import EXAMPLES
from tests.attacks.rows import Row
from tests.contract.servers import ROOT, Server, server

SCHEMATHESIS = ROOT / ".venv-schemathesis" / "bin" / "schemathesis"
ANSWER_S = 20
TRACEBACK = "Traceback (most recent call last)"

_HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
_NUM_EXAMPLES = 1000  # drawn of each operation at scale 1
_SERVER_ERROR = "not_a_server_error"
_UNANSWERED = ("ReadTimeout", "ConnectTimeout", "ConnectionError", "ChunkedEncodingError")
_FOUND_SOMETHING = (
    1  # schemathesis' exit status; 0 where it found nothing, others are its own faults
)


@dataclass(slots=True, kw_only=True)
class Findings:
    """What schemathesis tells of one service; `failed` counts by the check's name."""

    statuses: Counter[int] = field(default_factory=Counter)
    num_unanswered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    num_decided: int = 0  # against a decision of ours
    checks: set[str] = field(default_factory=set)

    @property
    def tried(self) -> int:
        return self.statuses.total() + self.num_unanswered


def probed(url: str, folder: Path, *, seed: int, num_examples: int) -> Findings:
    """Returns what schemathesis finds at a service; its reports and its screen stay in the folder.

    Raises:
        RuntimeError: it did not come to its end.
    """
    report = folder / "probe.ndjson"
    done = subprocess.run(
        [
            *(SCHEMATHESIS, "run", f"{url}/docs.json", "--checks", "all", "--mode", "all"),
            *("--seed", str(seed), "--max-examples", str(num_examples), "--continue-on-failure"),
            *("--request-timeout", str(ANSWER_S), "--suppress-health-check", "too_slow"),
            *("--generation-database", "none", "--report", "ndjson", "--no-color"),
            *("--report-ndjson-path", report),
        ],
        cwd=folder,
        env=os.environ | {"SCHEMATHESIS_HOOKS": str(_HOOKS), "NO_PROXY": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    (folder / "probe.txt").write_text(done.stdout)
    if done.returncode not in (0, _FOUND_SOMETHING):
        raise RuntimeError(f"schemathesis ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return read_report(report)


def read_report(path: Path) -> Findings:
    """Returns what a report in NDJSON tells.

    Raises:
        RuntimeError: it is cut off, or an operation could not be tried.
    """
    findings = Findings()
    is_whole = False
    with path.open() as lines:
        for line in lines:
            ((kind, event),) = json.loads(line).items()
            is_whole |= kind == "EngineFinished"
            if kind == "ScenarioFinished":
                _add_scenario(findings, event["recorder"])
            elif kind == "FatalError" or (
                kind == "NonFatalError" and event["value"]["type"] not in _UNANSWERED
            ):
                raise RuntimeError(f"schemathesis could not go on: {json.dumps(event)[:2000]}")
    if not is_whole:
        raise RuntimeError(f"{path.name} is cut off")
    return findings


def _add_scenario(findings: Findings, recorder: Mapping[str, Any]) -> None:
    for interaction in recorder.get("interactions", {}).values():
        if (response := interaction.get("response")) is None:
            findings.num_unanswered += 1
        else:
            findings.statuses[response["status_code"]] += 1
    for checks in recorder.get("checks", {}).values():
        findings.checks |= {check["name"] for check in checks}
        findings.failed.update(check["name"] for check in checks if check["status"] == "failure")
    findings.num_decided += sum(recorder.get("filtered_failures", {}).values())


def row(kind: str, findings: Findings, *, seconds: float) -> Row:
    """Returns the row of a service that lives, and whose log is clean."""
    others = Counter({n: c for n, c in findings.failed.items() if n != _SERVER_ERROR})
    told = [f"{len(findings.checks)} checks"]
    told += [f"failed: {name} {count}" for name, count in sorted(findings.failed.items())]
    if findings.num_decided:
        told.append(f"{findings.num_decided} findings against decisions of ours")
    faults = findings.failed[_SERVER_ERROR]
    accepted = sum(count for status, count in findings.statuses.items() if status < 400)
    return Row(
        name=f"probes of {kind}",
        tried=findings.tried,
        accepted=accepted,
        refused=findings.statuses.total() - accepted - faults,
        faults=faults,
        hangs=findings.num_unanswered,
        uncaught=others.total(),
        seconds=seconds,
        note="; ".join(told),
    )


def _of_service(kind: str, folder: Path, *, seed: int, num_examples: int) -> Row:
    with server(cast("ServiceKind", kind), folder) as running:
        before = _model(running)
        began = time.monotonic()
        findings = probed(running.url("rest"), folder, seed=seed, num_examples=num_examples)
        seconds = time.monotonic() - began
        crashes = int(running.process.poll() is not None or _model(running) != before)
    made = row(kind, findings, seconds=seconds)
    traces = running.log.read_text(errors="replace").count(TRACEBACK)
    note = f"{made.note}; {traces} tracebacks in the log" if traces else made.note
    return replace(made, crashes=crashes, uncaught=made.uncaught + traces, note=note)


def _model(running: Server) -> str:
    try:
        return httpx.get(f"{running.url('rest')}/v1/model", trust_env=False, timeout=ANSWER_S).text
    except httpx.TransportError as error:
        return str(error)


def run(folder: Path, *, seed: int, scale: float) -> list[Row]:
    """Returns one row for each service; at scale 1 schemathesis draws 1000 cases of each operation."""
    num_examples = max(1, round(_NUM_EXAMPLES * scale))
    return [
        _of_service(kind, folder / kind, seed=seed, num_examples=num_examples) for kind in EXAMPLES
    ]
