"""Null baselines: other sets of the selection's size, by which the selection is to be judged. Pure.

Each holds as many records of each type as were kept, drawn from all records that selection could
have kept (the kept ones too, as a random subset of the raw set would). At 15 % of LLaVA-665k a
random subset reaches 95.7 % of the full set's result, so a selection shows nothing before it is
compared with one. Source: METHOD, "Sobering evidence".
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from pipeline.curation.figures import eligible
from pipeline.curation.layout import Decision

MAX_LENGTH_BINS = 20
RECORDS_PER_LENGTH_BIN = 5
_RANK = pl.coalesce("question_rank", "answer_rank").alias("rank")


class Baseline(StrEnum):
    """The rule by which a baseline is drawn."""

    RANDOM = "random"
    LENGTH_MATCHED = "length-matched"
    LONGEST = "longest"
    BOTTOM = "bottom"


RULES = {
    Baseline.RANDOM: "drawn at random within each type",
    Baseline.LENGTH_MATCHED: "drawn at random within each type, with as many records from each "
    "length bin (words of questions and answers) as the selection has",
    Baseline.LONGEST: "the records with the most words (questions and answers) of each type",
    Baseline.BOTTOM: "the records of each type with the worst rank at the first stage that scored",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a rule may look at: a record that selection could have kept."""

    position: int
    key: bytes  # random, but the same for the same record and seed
    words: int
    rank: int | None  # 1 = best of its stratum at the first stage that scored
    is_kept: bool


def is_drawable(table: pl.DataFrame, name: Baseline) -> bool:
    """Returns whether each type has enough records for the rule: `bottom` wants ranked ones."""
    if name is not Baseline.BOTTOM:
        return True
    able = eligible(table).with_columns(_RANK)
    kept = (pl.col("decision") == Decision.KEPT).sum().alias("kept")
    counts = able.group_by("type").agg(kept, pl.col("rank").count().alias("ranked"))
    return counts.filter(pl.col("ranked") < pl.col("kept")).is_empty()


def baseline_positions(table: pl.DataFrame, name: Baseline, *, seed: int) -> list[int]:
    """Returns the positions of the baseline's records, ascending.

    Does not depend on the order of the input, but for records with the same content.

    Raises:
        ValueError: `name` is not drawable.
    """
    if not is_drawable(table, name):
        raise ValueError(f"{name}: a type has fewer ranked records than were kept of it")
    able = eligible(table)
    chosen: list[int] = []
    for kind in able["type"].unique():
        candidates = _candidates(able.filter(pl.col("type") == kind), seed=seed)
        num_kept = sum(candidate.is_kept for candidate in candidates)
        chosen += [candidate.position for candidate in _PICKS[name](candidates, num_kept)]
    return sorted(chosen)


def _candidates(rows: pl.DataFrame, *, seed: int) -> list[Candidate]:
    words = (pl.col("question_words") + pl.col("answer_words")).alias("words")
    kept = (pl.col("decision") == Decision.KEPT).alias("is_kept")
    columns = rows.select("position", "uid", words, _RANK, kept)
    found = [
        Candidate(position=position, key=_key(uid, seed), words=words, rank=rank, is_kept=is_kept)
        for position, uid, words, rank, is_kept in columns.iter_rows()
    ]
    return sorted(found, key=lambda candidate: (candidate.key, candidate.position))


def _key(uid: str, seed: int) -> bytes:
    # `person` keeps the draw independent of selection's tie-break, which hashes the same bytes.
    seed_bytes = seed.to_bytes(8, "little")
    content = bytes.fromhex(uid)
    return hashlib.blake2b(content, key=seed_bytes, digest_size=8, person=b"a2l-baseline").digest()


def _random(candidates: list[Candidate], num: int) -> list[Candidate]:
    return candidates[:num]


def _longest(candidates: list[Candidate], num: int) -> list[Candidate]:
    return sorted(candidates, key=lambda candidate: -candidate.words)[:num]


def _bottom(candidates: list[Candidate], num: int) -> list[Candidate]:
    ranked = (candidate for candidate in candidates if candidate.rank is not None)
    return sorted(ranked, key=lambda candidate: -(candidate.rank or 0))[:num]


def _length_matched(candidates: list[Candidate], num: int) -> list[Candidate]:
    edges = _length_edges(candidates, num)
    bins = [_bin(candidate.words, edges) for candidate in candidates]
    wanted = [0] * (len(edges) + 1)
    for candidate, index in zip(candidates, bins, strict=True):
        wanted[index] += candidate.is_kept
    chosen: list[Candidate] = []
    for candidate, index in zip(candidates, bins, strict=True):
        if wanted[index] > 0:
            wanted[index] -= 1
            chosen.append(candidate)
    return chosen


def _length_edges(candidates: Iterable[Candidate], num: int) -> list[int]:
    """Returns the inner edges of bins that hold about equally many kept records each."""
    kept = sorted(candidate.words for candidate in candidates if candidate.is_kept)
    num_bins = min(MAX_LENGTH_BINS, max(1, num // RECORDS_PER_LENGTH_BIN))
    inner = {kept[num * index // num_bins] for index in range(1, num_bins)} if kept else set[int]()
    # The outer edges keep records shorter or longer than any kept one out of the outer bins.
    return sorted(inner | ({kept[0], kept[-1] + 1} if kept else set[int]()))


def _bin(words: int, edges: list[int]) -> int:
    return sum(words >= edge for edge in edges)


_PICKS: dict[Baseline, Callable[[list[Candidate], int], list[Candidate]]] = {
    Baseline.RANDOM: _random,
    Baseline.LENGTH_MATCHED: _length_matched,
    Baseline.LONGEST: _longest,
    Baseline.BOTTOM: _bottom,
}
