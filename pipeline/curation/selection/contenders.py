"""Contenders: the records of an input that are scored, and the stratum in which each competes."""

from collections.abc import Iterable

import polars as pl

from align2llava.pipeline.config.schema import Config, SelectionConfig
from align2llava.pipeline.curation.input.scan import Scan, scan_input
from align2llava.pipeline.curation.input.table import RecordTable, can_be_scored
from align2llava.pipeline.curation.uids import as_number
from align2llava.pipeline.errors import ConfigError
from align2llava.pipeline.process.progress import ProgressView

ONE_STRATUM = "all"  # the name of the only stratum where `selection.stratum` is none


def with_stratum(records: pl.LazyFrame, selection: SelectionConfig) -> pl.LazyFrame:
    """Returns records with the `stratum` each competes in, a category."""
    stratum = pl.col("type") if selection.stratum == "type" else pl.lit(ONE_STRATUM)
    return records.with_columns(stratum.cast(pl.Categorical).alias("stratum"))


def check_keeps(strata: Iterable[str], selection: SelectionConfig) -> None:
    """Checks, before anything is spent, that every stratum has a keep at every stage that is on.

    Raises:
        ConfigError: a stratum is missing from a map.
    """
    present = set(strata)
    stages = {
        "question_keep": selection.question_keep if selection.question else None,
        "answer_keep": selection.answer_keep if selection.answer else None,
    }
    for name, keep in stages.items():
        missing = sorted(present - keep.keys()) if isinstance(keep, dict) else []
        if missing:
            raise ConfigError(f"selection.{name}: no keep for stratum {missing[0]!r}")


def scan_to_select(config: Config, progress: ProgressView, *, reuses: bool = False) -> Scan:
    """Reads the whole input once, as `scan_input` does, and checks that each stratum has its keeps.

    Raises:
        InputError, StoreError: as `scan_input`.
        ConfigError: as `scan_input`, or a stratum has no keep.
    """
    scan = scan_input(config, progress, reuses=reuses)
    strata = _competing(scan.table, config.selection).select(pl.col("stratum").unique()).collect()
    check_keeps(strata["stratum"], config.selection)
    return scan


def contenders(table: RecordTable, selection: SelectionConfig) -> pl.DataFrame:
    """Returns position, uid (UInt128), stratum and num_answers of the records that are scored."""
    columns = ("position", as_number(), "stratum", "num_answers")
    return _competing(table, selection).select(columns).collect(engine="streaming")


def num_contenders(table: RecordTable, selection: SelectionConfig) -> dict[str, int]:
    """Returns how many records are scored, by stratum."""
    counted = _competing(table, selection).group_by("stratum").len().collect()
    return dict(counted.cast({"stratum": pl.String}).iter_rows())


def _competing(table: RecordTable, selection: SelectionConfig) -> pl.LazyFrame:
    return with_stratum(table.lazy().filter(can_be_scored()), selection)
