"""The scripted services above their transports: what is answered, what is spoiled, what is noted in the log."""

import asyncio
import math
import os
import signal
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from align2llava.clients.wire import align2llava_pb2 as pb
from tests.contract.noting_driver import name_of
from tests.contract.scripted_answers import (
    draw,
    identity,
    keys_of,
    reviewed,
    rewritten,
    scored,
    texts_of,
)
from tests.contract.scripted_faults import INTERNAL, Faults, Kind, Script

Request = pb.ScoreRequest | pb.RewriteRequest | pb.ReviewRequest
Response = pb.ScoreResponse | pb.RewriteResponse | pb.ReviewResponse
Item = pb.ItemReward | pb.RewriteResult | pb.ReviewResult
# The transport makes these of a good answer; the others stand in the answer itself.
OF_TRANSPORT = frozenset(
    {Kind.SLOW_BODY, Kind.OVERLOADED, Kind.UNAVAILABLE, Kind.RESET, Kind.HALF, Kind.ERROR_BODY}
)
RETRY_AFTER_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One of the servers of a service."""

    kind: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, and the fault that the transport shall make of it; `keys` = the items well answered."""

    response: Response
    fault: Kind | None
    keys: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Kill:
    """A process to be killed once `after` items of a service are answered; 0 = of any."""

    pid: int
    kind: str
    after: int
    is_sent_first: bool  # the answer still goes out


@dataclass(slots=True, kw_only=True)
class Core:
    """The state of all servers under one script."""

    log: Path
    faults: Faults = field(default_factory=Faults)
    kill: Kill | None = None
    num_requests: Counter[str] = field(default_factory=Counter)
    num_streams: int = 0
    _images: defaultdict[Replica, set[str]] = field(default_factory=lambda: defaultdict(set))
    _num_scores: Counter[Replica] = field(default_factory=Counter)

    def begin(self, script: Script, log: Path) -> None:
        """Starts over under another script; images stay known."""
        self.faults = Faults(script=script)
        self.log = log
        self.kill = None
        self.num_requests.clear()
        self.num_streams = 0
        self._num_scores.clear()
        log.touch()

    def model(self, replica: Replica) -> pb.ModelIdentity:
        script = self.faults.script
        return identity(replica.kind, is_lie=self._is_liar(replica) and script.lies_at_once)

    async def reply(self, replica: Replica, request: Request) -> Reply:
        """Returns what a replica shall answer, after the time that it takes."""
        self.num_requests[f"{replica.kind} {replica.number}"] += 1
        keys = keys_of(request)
        is_scoring = isinstance(request, pb.ScoreRequest)
        now = asyncio.get_running_loop().time()
        fault = self.faults.next(replica.kind, keys, is_scoring=is_scoring, now=now)
        if self._is_poisoned(request):
            fault = Kind.ERROR_BODY
        self._note(replica, keys, fault)
        script = self.faults.script
        pause_s = script.delay_s
        if fault is Kind.LATENCY:
            pause_s += 0.15
        elif fault is Kind.HANG:
            pause_s += script.hang_s
        await asyncio.sleep(pause_s)
        if script.stalls_after is not None and self.num_requests.total() > script.stalls_after:
            await asyncio.Event().wait()
        if fault is Kind.FORGETS:
            self._images[replica].clear()
        response = self._response(replica, request)
        if fault is Kind.ERROR_BODY:
            _falsify(response)
        elif fault is not None and fault not in OF_TRANSPORT:
            _spoil(response, fault)
        return Reply(
            response=response, fault=fault, keys=self._well_answered(response, keys, fault)
        )

    def _note(self, replica: Replica, keys: list[str], fault: Kind | None) -> None:
        with self.log.with_suffix(".requests").open("a") as file:
            name = "good" if fault is None else fault.value
            file.write(f"{name} {replica.kind} {replica.number} {' '.join(keys)}\n")

    def answered(self, replica: Replica, reply: Reply, *, message: bytes | None = None) -> None:
        """Notes an answer that goes out now; kills the process that shall not see it.

        `message` is what a client of gRPC notes when the answer comes.
        """
        name = "" if message is None else name_of(message)
        with self.log.open("a") as file:
            file.writelines(f"{key} {replica.kind} {replica.number} {name}\n" for key in reply.keys)
        kill = self.kill
        if kill is None or kill.kind not in ("", replica.kind):
            return
        kill.after -= len(reply.keys)
        if kill.after <= 0:
            self.kill = None
            if kill.is_sent_first:
                asyncio.get_running_loop().call_later(0.003, _kill, kill.pid)
            else:
                _kill(kill.pid)

    def _response(self, replica: Replica, request: Request) -> Response:
        is_lie = self._lies(replica)
        if isinstance(request, pb.ScoreRequest):
            images = self._images[replica]
            response = scored(request, kind=replica.kind, images=images, is_lie=is_lie)
            self._drift(response, replica)
            return response
        if isinstance(request, pb.ReviewRequest):
            return reviewed(request)
        response = rewritten(request)
        for item in response.items if self.faults.script.failing_rewrites else ():
            if draw(item.rewritten.question, 6) == 0:
                item.error.code = "internal"
                self.faults.counts["failing_rewrites"] += 1
        return response

    def _drift(self, response: pb.ScoreResponse, replica: Replica) -> None:
        after = self.faults.script.drifts_after
        if after is not None and self._num_scores[replica] > after:
            for item in _items(response):
                assert isinstance(item, pb.ItemReward)
                item.reward += 3.0

    def _lies(self, replica: Replica) -> bool:
        self._num_scores[replica] += 1
        is_due = self.faults.script.lies_at_once or self._num_scores[replica] > 1
        return self._is_liar(replica) and is_due

    def _is_liar(self, replica: Replica) -> bool:
        return replica.kind == "question-reward" and replica.number == self.faults.script.liar

    def _well_answered(
        self, response: Response, keys: list[str], fault: Kind | None
    ) -> tuple[str, ...]:
        """Returns the keys of what is answered and no canary: those are asked again on purpose."""
        if fault in INTERNAL - {Kind.ITEM_INTERNAL} or fault in {Kind.RESET, Kind.HANG}:
            return ()
        items = _items(response)
        is_canary = [item.id.startswith("canary/") for item in items]
        self.num_requests["canaries"] += sum(is_canary)
        return tuple(
            key
            for key, item, is_left_out in zip(keys, items, is_canary, strict=True)
            if not item.HasField("error") and not is_left_out
        )

    def _is_poisoned(self, request: Request) -> bool:
        poison = self.faults.script.poison
        if poison is None or not isinstance(request, pb.ScoreRequest):
            return False
        items = (item for group in request.groups for item in group.items)
        return any(poison in text for item in items for text in texts_of(item))


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _items(response: Response) -> list[Item]:
    if isinstance(response, pb.ScoreResponse):
        return [item for group in response.groups for item in group.items]
    return list(response.items)


def _falsify(response: Response) -> None:
    """Makes the answer one that must not be believed."""
    for item in _items(response):
        if isinstance(item, pb.ItemReward):
            item.reward = 99.0
        elif isinstance(item, pb.RewriteResult):
            item.rewritten.answer += " and this is false"


def _spoil(response: Response, fault: Kind) -> None:
    items = response.groups[-1].items if isinstance(response, pb.ScoreResponse) else response.items
    if fault is Kind.NAN and isinstance(response, pb.ScoreResponse):
        response.groups[-1].items[-1].reward = math.nan
    elif fault is Kind.WRONG_COUNT:
        del items[-1]
    elif fault is Kind.ITEM_INTERNAL:
        items[-1].error.code = "internal"
        items[-1].error.message = "as scripted"
