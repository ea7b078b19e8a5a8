"""Selection: which records pass a stage. Pure; knows no files, no models, no clock.

The quota is exact, ties are broken by a keyed hash of the uid, and the outcome does not depend on
the order of the input.
"""

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One scored record of a stage; `reward` is compared as float32, higher is better."""

    position: int
    uid: str  # 32 hex digits
    stratum: str
    reward: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """A record's rank in its stratum (1 = best) and the stratum's cut; it passes iff rank <= cut."""

    rank: int
    cut: int

    @property
    def passes(self) -> bool:
        """Returns whether the record survives the stage."""
        return self.rank <= self.cut


def quota(keep: Decimal, num_scored: int) -> int:
    """Returns how many of `num_scored` records are kept: floor(keep * num_scored + 1/2).

    Raises:
        ValueError: `keep` is outside [0, 1].
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"keep is {keep}; it lies in [0, 1]")
    # As integers: the product of two decimals would be rounded to the context's precision.
    numerator, denominator = keep.as_integer_ratio()
    return (2 * numerator * num_scored + denominator) // (2 * denominator)


def place(
    contenders: Sequence[Contender], *, keeps: Mapping[str, Decimal], seed: int
) -> dict[int, Placing]:
    """Returns each contender's placing, by position.

    Within a stratum by descending float32 reward; ties by ascending keyed hash of the uid, then by
    position.

    Raises:
        ValueError: a reward is not finite, or a stratum has no keep.
    """
    strata: dict[str, list[Contender]] = {}
    for contender in contenders:
        if not math.isfinite(contender.reward):
            raise ValueError(f"record {contender.uid} has the reward {contender.reward}")
        strata.setdefault(contender.stratum, []).append(contender)
    missing = sorted(strata.keys() - keeps.keys())
    if missing:
        raise ValueError(f"no keep for stratum {missing[0]!r}")
    placings: dict[int, Placing] = {}
    for stratum, members in strata.items():
        members.sort(key=lambda one: _sort_key(one, seed))
        cut = quota(keeps[stratum], len(members))
        for rank, member in enumerate(members, start=1):
            placings[member.position] = Placing(rank=rank, cut=cut)
    return placings


def record_reward(candidates_by_turn: Sequence[Sequence[float]]) -> float:
    """Returns a record's answer reward: the mean over turns of each turn's best candidate.

    Summed in float64 in turn order; the result is rounded to float32.
    """
    total = 0.0
    for candidates in candidates_by_turn:
        total += max(candidates)
    return as_float32(total / len(candidates_by_turn))


def best_candidate(rewards: Sequence[float]) -> int:
    """Returns the index of the best reward as float32, the lowest index of equal ones."""
    rounded = [as_float32(reward) for reward in rewards]
    return rounded.index(max(rounded))


def as_float32(value: float) -> float:
    """Returns the value rounded to float32."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def smallest_gap(
    contenders: Sequence[Contender], placings: Mapping[int, Placing]
) -> dict[str, float]:
    """Returns per stratum the lowest passing reward minus the highest failing one.

    A stratum where all or none pass has no gap and is left out.
    """
    passing: dict[str, float] = {}
    failing: dict[str, float] = {}
    for one in contenders:
        reward = as_float32(one.reward)
        if placings[one.position].passes:
            passing[one.stratum] = min(reward, passing.get(one.stratum, math.inf))
        else:
            failing[one.stratum] = max(reward, failing.get(one.stratum, -math.inf))
    return {
        stratum: passing[stratum] - failing[stratum] for stratum in passing if stratum in failing
    }


def _sort_key(contender: Contender, seed: int) -> tuple[float, bytes, int]:
    key = seed.to_bytes(8, "little")
    tie = hashlib.blake2b(bytes.fromhex(contender.uid), key=key, digest_size=8).digest()
    return (-as_float32(contender.reward), tie, contender.position)
