"""Reads what a run left behind: its decisions, ledger, quarantine, score totals and manifest.

Decides nothing and writes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import polars as pl

from align2llava.pipeline.config.schema import Config
from align2llava.pipeline.curation.input.files import sha256_of
from align2llava.pipeline.curation.input.rows import Row
from align2llava.pipeline.curation.input.scan import Scan, scan_input
from align2llava.pipeline.curation.layout import (
    Manifest,
    QuarantineLine,
    RewardStage,
    RunPaths,
    parts,
)
from align2llava.pipeline.curation.run.manifest import read_manifest
from align2llava.pipeline.curation.run.resume import load_run_config
from align2llava.pipeline.curation.store.decisions import read_decisions
from align2llava.pipeline.errors import InputError, RunError
from align2llava.pipeline.process.progress import LineProgress

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run whose decisions are written, and its manifest."""

    paths: RunPaths
    config: Config
    decisions: pl.DataFrame
    manifest: Manifest

    @property
    def seed(self) -> int:
        """Returns the seed that ties and baselines are drawn with."""
        return self.manifest["seed"]

    def scan(self) -> Scan:
        """Returns the run's input; read again only where the scratch folder has no table of it.

        Raises:
            InputError: a file is gone or cannot be read.
        """
        require_inputs(self.config)
        return scan_input(self.config, LineProgress(), reuses=True)

    def rows(self, scan: Scan, decisions: pl.DataFrame) -> Iterator[Row]:
        """Yields the rows of some decisions in order, as the run saw them whatever images are there now."""
        uids = dict(decisions.select("position", "uid").iter_rows())
        for row in scan.table.rows(decisions["position"].sort()):
            yield row._replace(uid=uids[row.position], fault=None)


def open_run(run_dir: Path, *, manifest: Manifest | None = None) -> FinishedRun:
    """Returns the run; `manifest` None = as it stands in RUN.

    Raises:
        RunError: there is no run, it is not finished, or it is of another version.
    """
    paths = RunPaths(run_dir)
    if not paths.config.is_file():
        raise RunError(f"{run_dir} is no run directory: it has no {paths.config.name}")
    return FinishedRun(
        paths=paths,
        manifest=read_manifest(paths) if manifest is None else manifest,
        config=load_run_config(paths),
        decisions=read_decisions(paths.decisions),
    )


def require_inputs(config: Config) -> None:
    """Checks that the input files are where the run's config says.

    Raises:
        InputError: one is not there; it says how to give its new place.
    """
    for file in config.input.files():
        if not file.path.exists():
            message = (
                "is not there any more; if it moved, say where it is now: --input PATH, "
                "and --images-root DIR for its images"
            )
            raise InputError(message, path=file.path)


def require_unchanged_inputs(run: FinishedRun) -> None:
    """Checks that the inputs are what the run read.

    Raises:
        InputError: a file is missing or its sha256 is not the manifest's.
    """
    require_inputs(run.config)
    for entry in run.manifest["inputs"]:
        path = Path(entry["path"])
        found = sha256_of(path)
        if found != entry["sha256"]:
            message = f"changed since the run: sha256 {found}; the run read {entry['sha256']}"
            raise InputError(message, path=path)


def rewrite_ledger(paths: RunPaths) -> pl.LazyFrame | None:
    """Returns the ledger's rows in the order they were written, None where nothing was rewritten."""
    files = list(parts(paths.rewrites, "parquet"))
    return pl.scan_parquet(files) if files else None


def score_rows(paths: RunPaths, stage: RewardStage) -> pl.LazyFrame | None:
    """Returns a stage's stored rewards, None where the stage never ran."""
    files = list(parts(paths.scores(stage), "parquet"))
    return pl.scan_parquet(files) if files else None


def quarantine_lines(paths: RunPaths) -> Iterator[QuarantineLine]:
    """Yields the quarantined records as they were written.

    Raises:
        RunError: a line is none.
    """
    for part in parts(paths.quarantine, "jsonl"):
        with part.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield _decoded(line, QuarantineLine, f"{part}: line {number}")


def run_events(paths: RunPaths) -> Iterator[dict[str, object]]:
    """Yields the run's log; a last line that a kill cut short is left out.

    Raises:
        RunError: a line before it is no event.
    """
    if not paths.events.is_file():
        return
    with paths.events.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                yield _decoded(line, dict[str, object], f"{paths.events}: line {number}")


def _decoded(line: bytes, kind: type[T], place: str) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RunError(f"{place} is not as a run writes it: {error}") from error
