"""Writes a run's report: `report/index.html`, which needs nothing beside it, and `report/report.json`.

And `report/records.html`, which browses every record.
"""

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import polars as pl

from align2llava.pipeline.curation.disk.files import write_durably
from align2llava.pipeline.curation.figures.examples import choose_examples
from align2llava.pipeline.curation.figures.noise import measured_noise
from align2llava.pipeline.curation.figures.rewrites import (
    RewriteFigures,
    choose_turns,
    rewrite_figures,
    slim,
)
from align2llava.pipeline.curation.figures.sets import compared_sets, set_figures
from align2llava.pipeline.curation.figures.spend import score_totals, service_paces, stage_times
from align2llava.pipeline.curation.figures.truth import TruthTable, read_truth, truth_figures
from align2llava.pipeline.curation.input.measures import read_texts
from align2llava.pipeline.curation.layout import Decision, Manifest
from align2llava.pipeline.curation.report.browsing.page import BrowsedRun, render_records_page
from align2llava.pipeline.curation.report.browsing.parts import write_record_parts
from align2llava.pipeline.curation.report.example_cards import example_cards
from align2llava.pipeline.curation.report.figures import (
    Findings,
    Provenance,
    ReportFigures,
    quarantine_groups,
    report_figures,
    stage_rules,
)
from align2llava.pipeline.curation.report.page import render_page
from align2llava.pipeline.curation.report.rewrite_cards import RewriteCard, rewrite_cards
from align2llava.pipeline.curation.run.finished import (
    FinishedRun,
    open_run,
    quarantine_lines,
    require_unchanged_inputs,
    rewrite_ledger,
    run_events,
)
from align2llava.pipeline.curation.uids import with_numbers

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReport:
    """The path of the page, and what it and `report.json` hold."""

    page: Path
    figures: ReportFigures


def write_report(
    run_dir: Path, *, truth: Path | None = None, manifest: Manifest | None = None
) -> WrittenReport:
    """Writes the report.

    `manifest` None = as it stands in RUN; a driver that has not written it yet gives its own, and
    has just read the inputs. Holds lengths of all records, texts of the shown ones.

    Raises:
        RunError: RUN is no run, or not finished.
        InputError: an input is gone or changed since the run, or the truth file is broken.
        StoreError: the report cannot be written.
    """
    run = open_run(run_dir, manifest=manifest)
    if manifest is None:
        require_unchanged_inputs(run)
    known = None if truth is None else read_truth(truth)
    rows = choose_examples(run.decisions)
    if known is None:  # memory: a million texts that only a truth is found by
        run = replace(run, decisions=run.decisions.drop("id"))
    texts = read_texts(run.scan(), wanted=frozenset(row.position for row in rows))
    table = _beside(run.decisions, texts.lengths)
    rewrites, shown_turns = _rewrites(run, table)
    table = with_numbers(table)
    run = replace(run, decisions=table)  # memory: a uid's text is three times as large
    figures = report_figures(table, _findings(run, table, truth=known, rewrites=rewrites))
    cards = example_cards(rows, texts.records, config=run.config.input, truth=known)
    page = render_page(figures, examples=cards, rewrites=shown_turns)
    _write_records(run)
    _write(run, figures, page)
    return WrittenReport(page=run.paths.report, figures=figures)


def _beside(decisions: pl.DataFrame, lengths: pl.DataFrame) -> pl.DataFrame:
    # memory: polars copies the whole of a table whose columns are cut differently at each question.
    whole, at, cut = lengths.rechunk(), 0, list[pl.DataFrame]()
    for num_rows in decisions["position"].chunk_lengths():
        cut.append(whole.slice(at, num_rows))
        at += num_rows
    return decisions.hstack(pl.concat(cut, rechunk=False))


def _rewrites(
    run: FinishedRun, table: pl.DataFrame
) -> tuple[RewriteFigures | None, list[RewriteCard]]:
    ledger = rewrite_ledger(run.paths)
    if ledger is None:
        return None, []
    kept = table.filter(pl.col("decision") == Decision.KEPT)
    of_kept = ledger.filter(pl.col("uid").is_in(kept["uid"].to_list()))
    turns = slim(of_kept).collect()
    figures = rewrite_figures(turns, num_kept_turns=_num_turns(kept))
    return figures, rewrite_cards(of_kept, choose_turns(turns))


def _num_turns(kept: pl.DataFrame) -> int:
    # Records of equal content share their rows in the ledger.
    return int(kept.unique("uid")["num_turns"].sum())


def _findings(
    run: FinishedRun,
    table: pl.DataFrame,
    *,
    truth: TruthTable | None,
    rewrites: RewriteFigures | None,
) -> Findings:
    sets = compared_sets(table, seed=run.seed)
    events = list(run_events(run.paths))
    return Findings(
        sets=tuple(set_figures(sets)),
        truth=None if truth is None else truth_figures(sets, truth),
        rewrites=rewrites,
        quarantine=tuple(quarantine_groups(run.decisions, quarantine_lines(run.paths))),
        scores=tuple(score_totals(run.paths)),
        noise=tuple(measured_noise(events)),
        times=tuple(stage_times(events)),
        paces=tuple(service_paces(events)),
        provenance=_provenance(run),
    )


def _provenance(run: FinishedRun) -> Provenance:
    manifest = run.manifest
    return Provenance(
        run=run.paths.root.resolve().name,
        seed=run.seed,
        stratum=run.config.selection.stratum,
        rules=stage_rules(run.config),
        inputs=tuple(manifest["inputs"]),
        identities=manifest["identities"],
        files=manifest["files"],
        config_yaml=run.paths.config.read_text(encoding="utf-8", errors="replace"),
    )


def _write_records(run: FinishedRun) -> None:
    paths = run.paths
    paths.records_page.unlink(missing_ok=True)  # it is there once its parts are
    num_bytes = write_record_parts(run, paths.record_parts)
    page = BrowsedRun(
        name=paths.root.resolve().name,
        num_records=run.decisions.height,
        images=os.path.relpath(run.config.input.images_root, paths.records_page.parent),
    )
    html = render_records_page(page).encode("utf-8", errors="backslashreplace")
    write_durably(paths.records_page, html)
    logger.info("wrote %s (parts: %d bytes)", paths.records_page, num_bytes)


def _write(run: FinishedRun, figures: ReportFigures, page: str) -> None:
    data = orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write_durably(run.paths.report_json, data)
    # A lone surrogate cannot be encoded; it can only come from a path.
    write_durably(run.paths.report, page.encode("utf-8", errors="backslashreplace"))
    logger.info("wrote %s (%d bytes)", run.paths.report, len(page))
