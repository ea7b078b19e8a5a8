"""Writes a finished run's dataset again, with or without rewrites, and its null baselines."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from align2llava.clients.wire.schemas import Turn
from align2llava.pipeline.curation.disk.files import write_durably
from align2llava.pipeline.curation.figures.sets import SetFigures, set_figures
from align2llava.pipeline.curation.input.files import sha256_of
from align2llava.pipeline.curation.input.measures import read_texts
from align2llava.pipeline.curation.input.scan import Scan
from align2llava.pipeline.curation.layout import Decision, RewardStage
from align2llava.pipeline.curation.results.export_place import export_place
from align2llava.pipeline.curation.run.card import DatasetFile, dataset_card
from align2llava.pipeline.curation.run.dataset import KeptRecord, write_dataset
from align2llava.pipeline.curation.run.finished import (
    FinishedRun,
    open_run,
    require_unchanged_inputs,
)
from align2llava.pipeline.curation.run.lease import held
from align2llava.pipeline.curation.run.manifest import manifest_of, models_of, write_manifest
from align2llava.pipeline.curation.run.outgoing import first_candidates, outgoing
from align2llava.pipeline.curation.selection.answer_rewards import best_candidates
from align2llava.pipeline.curation.selection.baselines import (
    Baseline,
    baseline_positions,
    is_drawable,
)
from align2llava.pipeline.curation.store.ledger import Ledger
from align2llava.pipeline.curation.store.rewards import stored_rewards
from align2llava.pipeline.curation.uids import as_number, with_numbers
from align2llava.pipeline.curation.wording import count, decimal
from align2llava.pipeline.errors import RunError

logger = logging.getLogger(__name__)

TRAIN = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A dataset that was written; `num_changed` records differ from the input."""

    path: Path
    num_records: int
    num_changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedBaseline:
    """A baseline that was written, and what it is made of."""

    path: Path
    figures: SetFigures


def export_dataset(run_dir: Path, *, with_rewrites: bool, out: Path | None = None) -> Exported:
    """Writes the dataset to `out`, a folder (with its card) or a file; RUN is only read then.

    `out` None = `RUN/dataset/` again; the manifest is taken away before and written last.

    Raises:
        RunError: the run is not finished, or another process holds it.
        ConfigError: something is at `out` that no export wrote.
        InputError: an input is gone or changed since the run.
        StoreError: a write failed.
    """
    if out is not None:
        run = _opened(run_dir)
        dialect = run.scan().corpus.dialect
        place = export_place(out, name=TRAIN, dialect=dialect, run_dir=run_dir)
        exported = _write_kept(run, place.file, with_rewrites=with_rewrites)
        if place.card is not None:
            _write_card(run, place.card, exported=exported, with_rewrites=with_rewrites)
        return exported
    with held(open_run(run_dir).paths):
        run = _opened(run_dir)  # again, now that nobody else can change it
        run.paths.manifest.unlink()
        path = run.paths.train(run.scan().corpus.dialect)
        exported = _write_kept(run, path, with_rewrites=with_rewrites)
        _write_card(run, run.paths.card, exported=exported, with_rewrites=with_rewrites)
        _write_manifest(run)
    logger.info("wrote %s: %d records", exported.path, exported.num_records)
    return exported


def export_baseline(run_dir: Path, name: Baseline, *, out: Path | None = None) -> ExportedBaseline:
    """Writes `baselines/NAME.json` (`.jsonl` where the input is), original texts in input order.

    `out`: a folder or a file to write it to instead, which has no card.

    Of several candidate answers candidate 0, the original, is taken.

    Raises:
        RunError: the run is not finished, is held by another process, or has no ranks to draw from.
        ConfigError: something is at `out`.
        InputError: an input is gone or changed since the run.
        StoreError: a write failed.
    """
    run = _opened(run_dir)
    scan = run.scan()
    lengths = read_texts(scan, wanted=frozenset()).lengths
    table = run.decisions.hstack(lengths)
    if not is_drawable(table, name):
        raise RunError(f"{run_dir}: {name} needs the ranks of more records than the run scored")
    drawn = baseline_positions(with_numbers(table), name, seed=run.seed)
    chosen = table.filter(pl.col("position").is_in(drawn))
    dialect = scan.corpus.dialect
    path = run.paths.baselines / f"{name}.{dialect}"
    if out is not None:
        path = export_place(out, name=name.value, dialect=dialect, run_dir=run_dir).file
    records = (
        KeptRecord(raw=loaded.raw, chosen=first_candidates(len(loaded.record.turns)), rewrites={})
        for loaded in scan.corpus.load(run.rows(scan, chosen))
    )
    with nullcontext() if out is not None else held(run.paths):
        write_dataset(path, records, dialect=dialect, style=scan.style)
    return ExportedBaseline(path=path, figures=set_figures({name.value: chosen})[0])


def _opened(run_dir: Path) -> FinishedRun:
    run = open_run(run_dir)
    require_unchanged_inputs(run)
    return run


def _write_kept(run: FinishedRun, path: Path, *, with_rewrites: bool) -> Exported:
    scan = run.scan()
    kept = run.decisions.filter(pl.col("decision") == Decision.KEPT)
    ledger = Ledger(run.paths.rewrites) if with_rewrites else None
    records = _kept_records(run, scan, kept=kept, ledger=ledger)
    dialect = scan.corpus.dialect
    num_changed = write_dataset(path, records, dialect=dialect, style=scan.style)
    return Exported(path=path, num_records=kept.height, num_changed=num_changed)


def _kept_records(
    run: FinishedRun, scan: Scan, *, kept: pl.DataFrame, ledger: Ledger | None
) -> Iterator[KeptRecord]:
    best: Mapping[int, Sequence[int]] = {}
    if run.config.selection.answer:
        slots = stored_rewards(run.paths.scores(RewardStage.ANSWER))
        best = best_candidates(slots.join(kept.select(as_number()), on="uid", how="semi"))
    for loaded in scan.corpus.load(run.rows(scan, kept)):
        chosen = best.get(int(loaded.uid, 16)) or first_candidates(len(loaded.record.turns))
        rewrites: dict[int, Turn] = {}
        if ledger is not None:
            is_review_on = run.config.alignment.review
            rewrites = outgoing(ledger, loaded, chosen, is_review_on=is_review_on).rewrites
        yield KeptRecord(raw=loaded.raw, chosen=chosen, rewrites=rewrites)


def _write_card(run: FinishedRun, path: Path, *, exported: Exported, with_rewrites: bool) -> None:
    alignment = run.config.alignment.model_copy(update={"rewrite": with_rewrites})
    card = dataset_card(
        run.config.model_copy(update={"alignment": alignment}),
        inputs=run.manifest["inputs"],
        counts=run.manifest["counts"],
        models=models_of(run.manifest),
        file=DatasetFile(
            name=exported.path.name,
            sha256=sha256_of(exported.path),
            num_changed=exported.num_changed,
        ),
    )
    write_durably(path, card.encode())


def _write_manifest(run: FinishedRun) -> None:
    manifest = manifest_of(
        run.paths,
        seed=run.seed,
        inputs=run.manifest["inputs"],
        counts=run.manifest["counts"],
        models=models_of(run.manifest),
    )
    write_manifest(run.paths, manifest)


def exported_text(exported: Exported | ExportedBaseline) -> str:
    """Returns what was written, in one line."""
    if isinstance(exported, Exported):
        return (
            f"{exported.path}: {count(exported.num_records)} records, "
            f"{count(exported.num_changed)} of them differ from the input"
        )
    figures = exported.figures
    types = ", ".join(f"{name} {count(number)}" for name, number in figures.types.items())
    return (
        f"{exported.path}: {count(figures.num_records)} records ({types}); {figures.rule}; "
        f"mean answer words {decimal(figures.mean_answer_words)}, "
        f"{count(figures.num_also_kept)} also kept"
    )
