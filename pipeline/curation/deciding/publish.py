"""The end of a run: dataset, card, decisions, quarantine, report, and last the manifest."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl

from align2llava.clients.wire.schemas import ModelIdentity, Turn
from align2llava.pipeline.config.schema import Config
from align2llava.pipeline.curation.disk.files import write_durably
from align2llava.pipeline.curation.faults import Fault
from align2llava.pipeline.curation.input.files import sha256_of
from align2llava.pipeline.curation.input.rows import LoadedRecord
from align2llava.pipeline.curation.input.scan import Scan
from align2llava.pipeline.curation.layout import (
    Decision,
    QuarantineLine,
    RunPaths,
    Stage,
    TypeCounts,
)
from align2llava.pipeline.curation.report.figures import ReportFigures
from align2llava.pipeline.curation.report.write import write_report
from align2llava.pipeline.curation.run.card import DatasetFile, dataset_card
from align2llava.pipeline.curation.run.dataset import KeptRecord, write_dataset
from align2llava.pipeline.curation.run.manifest import counts_of, manifest_of, write_manifest
from align2llava.pipeline.curation.run.outgoing import outgoing
from align2llava.pipeline.curation.selection.decisions import Decisions
from align2llava.pipeline.curation.store.decisions import NAMES, SLICE_ROWS, write_decisions
from align2llava.pipeline.curation.store.ledger import Ledger
from align2llava.pipeline.curation.store.quarantine import QuarantineStore, line_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Counts and faults of the decisions that were written, small enough to keep.

    `faults`: position, reason and message of the quarantined.
    """

    counts: Mapping[str, TypeCounts]
    faults: pl.DataFrame
    num_changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A whole run as it was written."""

    written: Written
    report: ReportFigures
    num_turns_rewritten: int
    num_turns_not_aligned: int


class Publisher:
    """Writes the results of one run; needs its lease."""

    def __init__(
        self,
        paths: RunPaths,
        *,
        config: Config,
        scan: Scan,
        ledger: Ledger,
        quarantine: QuarantineStore,
        models: Mapping[str, ModelIdentity],
    ) -> None:
        self._paths = paths
        self._config = config
        self._scan = scan
        self._ledger = ledger
        self._quarantine = quarantine
        self._models = models
        self._num_rewritten = 0
        self._num_not_aligned = 0

    def write(self, decisions: Decisions, chosen: Mapping[int, Sequence[int]]) -> Written:
        """Writes decisions, quarantine, dataset and card; `chosen` is by position of the kept.

        From here on until `finish` the run has no manifest.

        Raises:
            StoreError: a write failed.
        """
        self._paths.manifest.unlink(missing_ok=True)
        with ThreadPoolExecutor(1, thread_name_prefix="decisions") as beside:
            place, table = self._paths.decisions, decisions.table
            names = self._scan.table.slices(*NAMES, num_rows=SLICE_ROWS)  # read in that thread
            written = beside.submit(write_decisions, place, table, names=names)
            found = self._write_records(decisions, chosen)
            written.result()
        return found

    def _write_records(self, decisions: Decisions, chosen: Mapping[int, Sequence[int]]) -> Written:
        quarantined = decisions.table.filter(pl.col("decision") == Decision.QUARANTINED)
        faults = quarantined.join(decisions.messages, on="position", maintain_order="left")
        self._quarantine.commit()
        self._quarantine.replace(self._lines(faults))
        kept = decisions.table.filter(pl.col("decision") == Decision.KEPT)["position"]
        file = self._write_dataset(kept, chosen)
        self._ledger.commit()
        counts = counts_of(decisions.table)
        card = dataset_card(
            self._config,
            inputs=self._scan.inputs,
            counts=counts,
            models=self._models,
            file=file,
        )
        write_durably(self._paths.card, card.encode())
        return Written(
            counts=counts,
            faults=faults.select("position", "reason", "message"),
            num_changed=file.num_changed,
        )

    def finish(self, written: Written) -> Published:
        """Writes the report, and last the manifest, so that its presence says that all is there.

        Raises:
            StoreError: a write failed.
        """
        manifest = manifest_of(
            self._paths,
            seed=self._config.run.seed,
            inputs=self._scan.inputs,
            counts=written.counts,
            models=self._models,
        )
        report = write_report(self._paths.root, manifest=manifest)
        write_manifest(self._paths, manifest)
        return Published(
            written=written,
            report=report.figures,
            num_turns_rewritten=self._num_rewritten,
            num_turns_not_aligned=self._num_not_aligned,
        )

    def _lines(self, quarantined: pl.DataFrame) -> Iterator[QuarantineLine]:
        verdicts = quarantined.select("stage", "reason", "message").iter_rows()
        raws = self._scan.raws(quarantined["position"])
        for (stage, code, message), (row, raw) in zip(verdicts, raws, strict=True):
            yield line_of(
                position=row.position,
                uid=row.uid,
                raw=raw,
                stage=stage,
                fault=Fault(code=code, message=message),
                attempts=self._attempts(row.uid, stage),
            )

    def _attempts(self, uid: str | None, stage: str) -> int:
        if stage == Stage.INPUT or uid is None:
            return 0
        known = self._quarantine.find(uid, stage)
        return 0 if known is None else known.attempts

    def _write_dataset(self, kept: pl.Series, chosen: Mapping[int, Sequence[int]]) -> DatasetFile:
        dialect = self._scan.corpus.dialect
        path = self._paths.train(dialect)
        records = self._kept_records(kept, chosen)
        changed = write_dataset(path, records, dialect=dialect, style=self._scan.style)
        return DatasetFile(name=path.name, sha256=sha256_of(path), num_changed=changed)

    def _kept_records(
        self, kept: pl.Series, chosen: Mapping[int, Sequence[int]]
    ) -> Iterator[KeptRecord]:
        if not self._config.alignment.rewrite:  # nobody needs the texts
            for row, raw in self._scan.raws(kept):
                yield KeptRecord(raw=raw, chosen=chosen[row.position], rewrites={})
            return
        for loaded in self._scan.load(kept):
            candidates = chosen[loaded.row.position]
            rewrites = self._rewrites(loaded, candidates)
            yield KeptRecord(raw=loaded.raw, chosen=candidates, rewrites=rewrites)

    def _rewrites(self, loaded: LoadedRecord, chosen: Sequence[int]) -> dict[int, Turn]:
        is_review_on = self._config.alignment.review
        found = outgoing(self._ledger, loaded, chosen, is_review_on=is_review_on)
        for turn, original in found.not_aligned.items():
            self._ledger.add_not_aligned(loaded.uid, turn, original)
        self._num_rewritten += len(found.rewrites)
        self._num_not_aligned += len(found.not_aligned)
        return found.rewrites
