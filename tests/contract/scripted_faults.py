"""Which fault the scripted services make of a request. Pure: a seed decides, each fault at most twice per item."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

MAX_PER_ITEM = 2


class Kind(StrEnum):
    """What can go wrong with one request."""

    LATENCY = "latency"
    SLOW_BODY = "slow_body"
    OVERLOADED = "overloaded"  # with a Retry-After, for a while
    UNAVAILABLE = "unavailable"
    RESET = "reset"  # of the connection, before the answer
    HALF = "half"  # the answer ends in its middle
    NAN = "nan"
    WRONG_COUNT = "wrong_count"
    ERROR_BODY = "error_body"  # HTTP 500 whose JSON body looks like an answer
    ITEM_INTERNAL = "item_internal"  # one item of the answer is an `internal` error
    FORGETS = "forgets"  # the images it was sent before
    HANG = "hang"  # longer than the caller waits


# The code table allows two more attempts after these, whichever they are: together, not of each.
INTERNAL = frozenset({Kind.HALF, Kind.NAN, Kind.WRONG_COUNT, Kind.ERROR_BODY, Kind.ITEM_INTERNAL})
_SCORING_ONLY = frozenset({Kind.NAN, Kind.FORGETS, Kind.ITEM_INTERNAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What shall happen: `share` of the requests suffer one of `kinds`.

    Replica number `liar` of question-reward answers as another model, from its second answer on or at
    once; every request with a text that holds `poison` fails; `failing_rewrites` = every sixth rewrite
    is an `internal` error; after `drifts_after` answers rewards are 3 higher, of the same model; after
    `stalls_after` answers no more come.
    """

    kinds: tuple[Kind, ...] = ()
    share: float = 0.3
    seed: int = 0
    delay_s: float = 0.0  # of every answer
    hang_s: float = 1.5
    liar: int | None = None
    lies_at_once: bool = False
    poison: str | None = None
    failing_rewrites: bool = False
    drifts_after: int | None = None
    stalls_after: int | None = None


@dataclass(slots=True, kw_only=True)
class Faults:
    """What has happened so far under one script."""

    script: Script = field(default_factory=Script)
    counts: Counter[str] = field(default_factory=Counter)
    _suffered: defaultdict[str, Counter[Kind]] = field(default_factory=lambda: defaultdict(Counter))
    _asked: Counter[tuple[str, ...]] = field(default_factory=Counter)
    _full_until: dict[str, float] = field(default_factory=dict)

    def next(
        self, service: str, keys: Sequence[str], *, is_scoring: bool, now: float
    ) -> Kind | None:
        """Returns the fault of a request for these items, None where it is answered well."""
        self._asked[tuple(keys)] += 1
        seed = f"{self.script.seed} {service} {' '.join(keys)} {self._asked[tuple(keys)]}"
        rng = random.Random(seed)
        kinds = [kind for kind in self.script.kinds if is_scoring or kind not in _SCORING_ONLY]
        if now < self._full_until.get(service, now):
            return self._allowed(Kind.OVERLOADED, keys)
        if not kinds or rng.random() >= self.script.share:
            return None
        kind = self._allowed(rng.choice(kinds), keys)
        if kind is Kind.OVERLOADED:
            self._full_until[service] = now + rng.uniform(0, 0.2)
        return kind

    def _allowed(self, kind: Kind, keys: Sequence[str]) -> Kind | None:
        for key in keys:
            suffered = self._suffered[key]
            if suffered[kind] >= (1 if kind is Kind.HANG else MAX_PER_ITEM):
                return None
            if kind in INTERNAL and sum(suffered[one] for one in INTERNAL) >= MAX_PER_ITEM:
                return None
        for key in keys:
            self._suffered[key][kind] += 1
        self.counts[kind.value] += 1
        return kind
