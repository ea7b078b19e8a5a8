"""What of an input is no fault, but worth a word before and after it is curated. Pure.

Types too small to keep anything, and `<image>` that do not match the images.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

import polars as pl

from align2llava.pipeline.config.schema import Keeps, SelectionConfig
from align2llava.pipeline.curation.input.table import RecordTable
from align2llava.pipeline.curation.selection.contenders import num_contenders
from align2llava.pipeline.curation.selection.quota import quota

MAX_SHOWN = 5  # strata, or positions


def input_warnings(
    table: RecordTable, selection: SelectionConfig, *, kept: pl.Series | None = None
) -> list[str]:
    """Returns what is worth a word, a line each; of tokens of the records at `kept`, None = of all."""
    records = table.lazy()
    if kept is not None:
        records = records.join(kept.to_frame("position").lazy(), on="position", how="semi")
    return [
        *starved(num_contenders(table, selection), selection),
        *unmatched_tokens(records),
    ]


def starved(num_scored: Mapping[str, int], selection: SelectionConfig) -> Iterator[str]:
    """Yields a line for each stage at which strata keep nothing, as they are too small.

    A stratum whose keep is 0 is meant to keep nothing. A record that cannot be scored makes a
    stratum smaller, so that what is told here is never too much.
    """
    left = {name: number for name, number in sorted(num_scored.items()) if number}
    stages = (
        ("question", selection.question, selection.question_keep),
        ("answer", selection.answer, selection.answer_keep),
    )
    for stage, is_on, keeps in stages:
        if not is_on:
            continue
        cuts = {name: quota(_keep(keeps, name), number) for name, number in left.items()}
        small = [name for name in left if not cuts[name] and _keep(keeps, name)]
        if small:
            shown = [f"{name} ({left[name]} x {_keep(keeps, name)})" for name in small]
            yield (
                f"strata too small to keep a record at the {stage} stage: {len(small)} of "
                f"{len(left)}: {_few(shown)}; selection.{stage}_keep takes a share for each, and "
                "selection.stratum none makes them one"
            )
        left = {name: cut for name, cut in cuts.items() if cut}


def unmatched_tokens(records: pl.LazyFrame) -> Iterator[str]:
    """Yields a line for each way in which the `<image>` of usable `records` do not match their images.

    `records`: position, code, image_sha256 and num_image_tokens.
    """
    has_image, num = pl.col("image_sha256").is_not_null(), pl.col("num_image_tokens")
    kind = (
        pl.when(has_image & (num == 0))
        .then(pl.lit("an image and no <image>"))
        .when(has_image & (num > 1))
        .then(pl.lit("one image and several <image>"))
        .when(~has_image & (num > 0))
        .then(pl.lit("<image> and no image"))
        .alias("kind")
    )
    found = (
        records.filter(pl.col("code").is_null())
        .select("position", kind)
        .drop_nulls("kind")
        .group_by("kind")
        .agg(pl.len().alias("num"), pl.col("position").bottom_k(MAX_SHOWN).sort())
        .sort("kind")
        .collect(engine="streaming")
    )
    for words, number, positions in found.iter_rows():
        where = _few([str(at) for at in positions], of=number)
        yield f"records with {words}: {number} (at {where}); many trainers stop there"


def _keep(keeps: Keeps, stratum: str) -> Decimal:
    return keeps.get(stratum, Decimal(0)) if isinstance(keeps, dict) else keeps


def _few(words: Sequence[str], *, of: int = 0) -> str:
    num_more = max(of, len(words)) - MAX_SHOWN
    return ", ".join(words[:MAX_SHOWN]) + (f" and {num_more} more" if num_more > 0 else "")
