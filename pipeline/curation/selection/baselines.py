"""Null baselines: other sets of the selection's size, by which the selection is to be judged. Pure.

Each holds as many records of each type as were kept, drawn from all records that selection could
have kept (the kept ones too, as a random subset of the raw set would). At 15 % of LLaVA-665k a
random subset reaches 95.7 % of the full set's result, so a selection shows nothing before it is
compared with one. Source: METHOD, "Sobering evidence".
"""

from collections.abc import Callable
from enum import StrEnum

import polars as pl

from align2llava.pipeline.curation.layout import Decision, Reason
from align2llava.pipeline.curation.uids import keyed_hashes

MAX_LENGTH_BINS = 20
RECORDS_PER_LENGTH_BIN = 5
_OF_FATE = ("decision", "reason")
_LENGTHS = ("question_words", "answer_words")
_RANKS = ("question_rank", "answer_rank")
_RANK = pl.coalesce(_RANKS).alias("rank")


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


def is_drawable(table: pl.DataFrame, name: Baseline) -> bool:
    """Returns whether each type has enough records for the rule: `bottom` wants ranked ones."""
    if name is not Baseline.BOTTOM:
        return True
    able = eligible(table.select("type", *_RANKS, *_OF_FATE)).with_columns(_RANK)
    kept = (pl.col("decision") == Decision.KEPT).sum().alias("kept")
    counts = able.group_by("type").agg(kept, pl.col("rank").count().alias("ranked"))
    return counts.filter(pl.col("ranked") < pl.col("kept")).is_empty()


def baseline_positions(table: pl.DataFrame, name: Baseline, *, seed: int) -> list[int]:
    """Returns the positions of one baseline's records; as `all_baselines`.

    Raises:
        ValueError: `name` is not drawable.
    """
    if not is_drawable(table, name):
        raise ValueError(f"{name}: a type has fewer ranked records than were kept of it")
    return _drawn(_candidates(table, seed=seed), name)


def all_baselines(table: pl.DataFrame, *, seed: int) -> dict[Baseline, list[int]]:
    """Returns the positions, ascending, of the records of each baseline that can be drawn.

    `table`: decisions, of which uids are numbers, and the lengths of the records' texts. Does not depend on the order of the input, but for records with the same content.
    """
    candidates = _candidates(table, seed=seed)
    return {name: _drawn(candidates, name) for name in Baseline if is_drawable(table, name)}


def _drawn(candidates: pl.DataFrame, name: Baseline) -> list[int]:
    chosen = [
        _PICKS[name](of_type, int(of_type["is_kept"].sum()))["position"]
        for of_type in candidates.partition_by("type", maintain_order=True)
    ]
    return pl.concat(chosen).sort().to_list() if chosen else []


def _candidates(table: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Returns what a rule may look at, in an order that is random but the same for the same seed."""
    uids = eligible(table.select("uid", *_OF_FATE))["uid"]
    # `person` keeps the draw independent of selection's ties.
    key = keyed_hashes(uids, seed=seed, person=b"a2l-baseline").alias("key")
    del uids  # memory: of every record
    rows = eligible(table.select("position", "type", *_LENGTHS, *_RANKS, *_OF_FATE))
    words = pl.sum_horizontal(_LENGTHS).alias("words")
    is_kept = (pl.col("decision") == Decision.KEPT).alias("is_kept")
    return rows.select("position", "type", words, _RANK, is_kept, key).sort("key", "position")


def _random(candidates: pl.DataFrame, num: int) -> pl.DataFrame:
    return candidates.head(num)


def _longest(candidates: pl.DataFrame, num: int) -> pl.DataFrame:
    return candidates.sort("words", descending=True, maintain_order=True).head(num)


def _bottom(candidates: pl.DataFrame, num: int) -> pl.DataFrame:
    ranked = candidates.drop_nulls("rank")
    return ranked.sort("rank", descending=True, maintain_order=True).head(num)


def _length_matched(candidates: pl.DataFrame, num: int) -> pl.DataFrame:
    edges = pl.Series(_length_edges(candidates, num), dtype=pl.Int64)
    bins = edges.search_sorted(candidates["words"].cast(pl.Int64), side="right")
    number_in_bin = pl.int_range(pl.len()).over("bin")
    wanted = pl.col("is_kept").sum().over("bin")
    return candidates.with_columns(bins.alias("bin")).filter(number_in_bin < wanted)


def _length_edges(candidates: pl.DataFrame, num: int) -> list[int]:
    """Returns the inner edges of bins that hold about equally many kept records each."""
    kept: list[int] = candidates.filter("is_kept")["words"].sort().to_list()
    num_bins = min(MAX_LENGTH_BINS, max(1, num // RECORDS_PER_LENGTH_BIN))
    inner = {kept[num * index // num_bins] for index in range(1, num_bins)} if kept else set[int]()
    # The outer edges keep records shorter or longer than any kept one out of the outer bins.
    return sorted(inner | ({kept[0], kept[-1] + 1} if kept else set[int]()))


_PICKS: dict[Baseline, Callable[[pl.DataFrame, int], pl.DataFrame]] = {
    Baseline.RANDOM: _random,
    Baseline.LENGTH_MATCHED: _length_matched,
    Baseline.LONGEST: _longest,
    Baseline.BOTTOM: _bottom,
}


def eligible(table: pl.DataFrame) -> pl.DataFrame:
    """Returns the records that selection could have kept."""
    return table.filter(
        pl.col("decision") != Decision.QUARANTINED, pl.col("reason") != Reason.TEXT_ONLY
    )
