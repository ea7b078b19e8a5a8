"""The table of an ablation: each variant's size, composition and mean rewards. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from align2llava.pipeline.config.schema import Config
from align2llava.pipeline.curation.figures.decisions import passed_at
from align2llava.pipeline.curation.layout import Decision, RewardStage, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a variant asked of the services, besides what was stored before it."""

    question_rewards: int = 0
    answer_rewards: int = 0
    rewrites: int = 0
    reviews: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationRow:
    """One variant. Means are over its records with such a reward, whichever variant asked for it.

    `num_scored_*` counts those; `num_also_whole` are kept by the whole run too.
    """

    variant: str
    file: str  # relative to RUN
    num_records: int
    num_also_whole: int
    types: dict[str, int]
    mean_question_reward: float | None
    num_scored_question: int
    mean_answer_reward: float | None
    num_scored_answer: int
    num_turns_rewritten: int
    asked: Asked


def variants(config: Config) -> dict[str, Config]:
    """Returns the config without each of its parts that is on, by the variant's name."""
    selection, alignment = config.selection, config.alignment
    without = {
        "no-question": (selection.question, "selection", {"question": False}),
        "no-answer": (selection.answer, "selection", {"answer": False}),
        "no-rewrite": (alignment.rewrite, "alignment", {"rewrite": False}),
        "no-review": (alignment.rewrite and alignment.review, "alignment", {"review": False}),
    }
    return {
        name: config.model_copy(
            update={section: getattr(config, section).model_copy(update=changed)}
        )
        for name, (is_on, section, changed) in without.items()
        if is_on
    }


def usable_uids(decisions: pl.DataFrame) -> pl.Series:
    """Returns the uids of records that a reward service can be asked about, each once."""
    is_scored = (pl.col("stage") != Stage.INPUT) & ~_is_text_only()
    return decisions.filter(is_scored)["uid"].drop_nulls().unique()


def passed_uids(decisions: pl.DataFrame) -> pl.Series:
    """Returns the uids of records that passed the question stage, or all usable ones where it is off."""
    if decisions["question_rank"].null_count() == decisions.height:
        return usable_uids(decisions)
    passed = passed_at(RewardStage.QUESTION).fill_null(value=False)
    return decisions.filter(passed)["uid"].drop_nulls().unique()


def known_rewards(decisions: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Returns the rewards that any of several decisions of one run hold: uid and both rewards.

    A record's reward of a stage is the same wherever it is known.
    """
    rewards = ("question_reward", "answer_reward")
    return (
        pl.concat([one.select("uid", *rewards) for one in decisions])
        .filter(pl.col("uid").is_not_null())
        .group_by("uid")
        .agg(pl.col(rewards).drop_nulls().first())
    )


def kept(decisions: pl.DataFrame) -> pl.DataFrame:
    """Returns position, uid and type of the kept records."""
    return decisions.filter(pl.col("decision") == Decision.KEPT).select("position", "uid", "type")


def ablation_row(
    variant: str,
    records: pl.DataFrame,
    *,
    file: str,
    whole: pl.DataFrame,
    rewards: pl.DataFrame,
    num_turns_rewritten: int,
    asked: Asked,
) -> AblationRow:
    """Returns the row of a variant that holds `records`; both sets as `kept` gives them."""
    scored = records.join(rewards, on="uid", how="left")
    counts = records["type"].value_counts().sort("type")
    return AblationRow(
        variant=variant,
        file=file,
        num_records=records.height,
        num_also_whole=records.join(whole, on="position", how="semi").height,
        types=dict(counts.rows()),
        mean_question_reward=_mean(scored["question_reward"]),
        num_scored_question=scored["question_reward"].count(),
        mean_answer_reward=_mean(scored["answer_reward"]),
        num_scored_answer=scored["answer_reward"].count(),
        num_turns_rewritten=num_turns_rewritten,
        asked=asked,
    )


def _is_text_only() -> pl.Expr:
    # Kept ones come to the end without a rank; with both stages off so do all others.
    ranks = pl.col("question_rank").is_null() & pl.col("answer_rank").is_null()
    return ranks & (pl.col("stage") == Stage.DONE)


def _mean(column: pl.Series) -> float | None:
    mean = column.cast(pl.Float64).mean()
    return float(mean) if isinstance(mean, int | float) else None
