import hashlib
import math
import struct
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align2llava.pipeline.curation.selection.quota import place, quota, smallest_gaps

KEEPS = st.decimals(min_value=0, max_value=1, allow_nan=False, places=4)
REWARDS = st.sampled_from([-1.0, -0.0, 0.0, 0.5, 0.5 + 1e-12, 1.0]) | st.floats(-1e6, 1e6, width=32)
STRATA = st.sampled_from(["conversation", "detail"])
SCHEMA = {"position": pl.Int64, "uid": pl.UInt128, "stratum": pl.String, "reward": pl.Float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    position: int
    uid: str
    stratum: str
    reward: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    rank: int
    cut: int

    @property
    def passes(self) -> bool:
        return self.rank <= self.cut


@st.composite
def contenders(draw: st.DrawFn) -> list[Contender]:
    rows = draw(st.lists(st.tuples(REWARDS, STRATA, st.integers(0, 3)), max_size=40))
    return [
        Contender(
            position=position,
            uid=hashlib.blake2b(f"{position} {salt}".encode(), digest_size=16).hexdigest(),
            stratum=stratum,
            reward=reward,
        )
        for position, (reward, stratum, salt) in enumerate(rows)
    ]


def frame(rows: list[Contender]) -> pl.DataFrame:
    cells = [(row.position, int(row.uid, 16), row.stratum, row.reward) for row in rows]
    return pl.DataFrame(cells, schema=SCHEMA, orient="row")


def placed(rows: list[Contender], keep: Decimal, seed: int = 0) -> dict[int, Placing]:
    found = place(frame(rows), keeps={"conversation": keep, "detail": keep}, seed=seed)
    places = zip(rows, found.select("rank", "cut").iter_rows(), strict=True)
    return {row.position: Placing(rank=rank, cut=cut) for row, (rank, cut) in places}


def as_float32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def ranks_by_the_letter(rows: list[Contender], seed: int) -> dict[int, int]:
    """DESIGN's words one by one: float32 descending, keyed hash ascending, then position."""
    key = seed.to_bytes(8, "little")

    def order(row: Contender) -> tuple[float, bytes, int]:
        tie = hashlib.blake2b(bytes.fromhex(row.uid), key=key, digest_size=8).digest()
        return (-as_float32(row.reward), tie, row.position)

    ranks: dict[int, int] = {}
    for stratum in {row.stratum for row in rows}:
        of_stratum = sorted((row for row in rows if row.stratum == stratum), key=order)
        ranks |= {row.position: rank for rank, row in enumerate(of_stratum, start=1)}
    return ranks


@given(rows=contenders(), seed=st.integers(0, 2**64 - 1))
def test_ranks_are_those_of_the_rule_by_the_letter(rows: list[Contender], seed: int):
    found = {at: one.rank for at, one in placed(rows, Decimal("0.5"), seed).items()}
    assert found == ranks_by_the_letter(rows, seed)


@given(keep=KEEPS, num_scored=st.integers(0, 10**7))
def test_quota_is_the_rounded_share(keep: Decimal, num_scored: int):
    expected = math.floor(Fraction(keep) * num_scored + Fraction(1, 2))
    assert quota(keep, num_scored) == expected


@pytest.mark.parametrize(
    ("keep", "num_scored", "kept"),
    [
        ("0.3", 5, 2),  # 1.5 rounds up
        ("0.3", 0, 0),
        ("0.3", 1, 0),
        ("0.5", 1, 1),
        ("0.1", 157_712, 15_771),
        ("0.29", 50, 15),  # 14.5; a binary 0.29 is a little less
        ("1", 7, 7),
        ("0", 7, 0),
        ("0.4999999999999999999999999999999999", 1, 0),
    ],
)
def test_quota_is_exact_in_decimals(keep: str, num_scored: int, kept: int):
    assert quota(Decimal(keep), num_scored) == kept


@pytest.mark.parametrize("keep", ["-0.1", "1.01"])
def test_keep_outside_of_its_range_is_refused(keep: str):
    with pytest.raises(ValueError, match="lies in"):
        quota(Decimal(keep), 3)


@given(rows=contenders(), keep=KEEPS)
def test_every_stratum_keeps_exactly_its_quota(rows: list[Contender], keep: Decimal):
    placings = placed(rows, keep)
    for stratum in ("conversation", "detail"):
        of_stratum = [row for row in rows if row.stratum == stratum]
        passing = [row for row in of_stratum if placings[row.position].passes]
        assert len(passing) == quota(keep, len(of_stratum))
        ranks = sorted(placings[row.position].rank for row in of_stratum)
        assert ranks == list(range(1, len(of_stratum) + 1))


@given(rows=contenders(), keep=KEEPS)
def test_no_dropped_reward_is_above_a_kept_one(rows: list[Contender], keep: Decimal):
    placings = placed(rows, keep)
    for row in rows:
        for other in rows:
            if row.stratum == other.stratum and as_float32(row.reward) > as_float32(other.reward):
                assert placings[row.position].rank < placings[other.position].rank


@given(rows=contenders(), keep=KEEPS, seed=st.integers(0, 2**64 - 1), data=st.data())
def test_chosen_set_does_not_depend_on_order(
    rows: list[Contender], keep: Decimal, seed: int, data: st.DataObject
):
    shuffled = data.draw(st.permutations(rows))
    moved = [
        Contender(position=position, uid=row.uid, stratum=row.stratum, reward=row.reward)
        for position, row in enumerate(shuffled)
    ]
    before = placed(rows, keep, seed)
    after = placed(moved, keep, seed)
    assert {row.uid for row in rows if before[row.position].passes} == {
        row.uid for row in moved if after[row.position].passes
    }


def test_ties_go_by_the_keyed_hash_of_the_uid():
    uids = [f"{number:032x}" for number in range(20)]
    rows = [
        Contender(position=position, uid=uid, stratum="detail", reward=0.5)
        for position, uid in enumerate(uids)
    ]
    for seed in (0, 1, 2**64 - 1):
        key = seed.to_bytes(8, "little")
        expected = sorted(
            uids,
            key=lambda uid: hashlib.blake2b(bytes.fromhex(uid), digest_size=8, key=key).digest(),
        )
        placings = placed(rows, Decimal("0.5"), seed)
        ranked = sorted(rows, key=lambda row: placings[row.position].rank)
        assert [row.uid for row in ranked] == expected


def test_equal_records_go_by_position():
    rows = [
        Contender(position=position, uid="0" * 32, stratum="detail", reward=0.5)
        for position in range(3)
    ]
    placings = placed(rows, Decimal("0.3"))
    assert [placings[position].rank for position in range(3)] == [1, 2, 3]


def test_rewards_are_compared_as_float32():
    rows = [
        Contender(position=0, uid=f"{0:032x}", stratum="detail", reward=0.1),
        Contender(position=1, uid=f"{1:032x}", stratum="detail", reward=0.1 + 1e-10),
    ]
    ties = [
        Contender(position=row.position, uid=row.uid, stratum="detail", reward=0.5) for row in rows
    ]
    keep = Decimal("0.5")
    assert placed(rows, keep) == placed(ties, keep)


@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf])
def test_reward_that_is_not_finite_is_refused(reward: float):
    row = Contender(position=0, uid="0" * 32, stratum="detail", reward=reward)
    with pytest.raises(ValueError, match="reward"):
        placed([row], Decimal("0.5"))


def test_stratum_without_a_keep_is_refused():
    row = Contender(position=0, uid="0" * 32, stratum="other", reward=1.0)
    with pytest.raises(ValueError, match="'other'"):
        placed([row], Decimal("0.5"))


def test_gap_at_the_cut_is_between_the_last_in_and_the_first_out():
    rows = [
        Contender(position=at, uid=f"{at:032x}", stratum="detail", reward=reward)
        for at, reward in enumerate([4.0, 3.0, 1.0, 0.0])
    ]
    assert smallest_gaps(with_placings(rows, Decimal("0.5"))) == {"detail": 2.0}
    assert smallest_gaps(with_placings(rows, Decimal(1))) == {}


def with_placings(rows: list[Contender], keep: Decimal) -> pl.DataFrame:
    found = frame(rows)
    return found.with_columns(*place(found, keeps={"detail": keep}, seed=0))
