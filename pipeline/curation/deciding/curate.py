"""Curates: the whole of a run, from its config to its manifest. Reads like a table of contents."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl

from align2llava.clients.wire.schemas import ModelIdentity
from align2llava.pipeline.config.schema import Config
from align2llava.pipeline.curation.deciding.publish import Publisher, Written
from align2llava.pipeline.curation.deciding.summary import Summary, summary_of
from align2llava.pipeline.curation.deciding.work import Decided, Work
from align2llava.pipeline.curation.endpoints.opening import (
    Connector,
    Services,
    log_event,
    open_services,
)
from align2llava.pipeline.curation.layout import RewardStage, RunPaths
from align2llava.pipeline.curation.run.lease import held
from align2llava.pipeline.curation.run.moved import check_moved
from align2llava.pipeline.curation.run.resume import Resume, begin, check_resume, load_run_config
from align2llava.pipeline.curation.selection.contenders import scan_to_select
from align2llava.pipeline.curation.selection.warnings import input_warnings
from align2llava.pipeline.curation.stages.alignment import Aligner
from align2llava.pipeline.curation.stages.batches import answer_slots, question_slots
from align2llava.pipeline.curation.stages.rewarding import RewardStageRunner
from align2llava.pipeline.process.gc_pauses import rare_collections
from align2llava.pipeline.process.interrupts import run_async, sigterm_raises
from align2llava.pipeline.process.memory import peak_rss_bytes
from align2llava.pipeline.process.progress import ProgressView


def curate(
    config: Config,
    *,
    run_dir: Path,
    resume: Resume,
    connector: Connector,
    api_key: str | None,
    progress: ProgressView,
) -> Summary:
    """Curates the input of a config into a run directory.

    Quarantine above its limit is for the caller to judge, by the summary.

    Raises:
        PipelineError: as its classes say; whatever was answered before is stored.
    """
    started = time.monotonic()
    paths = RunPaths(run_dir)
    with sigterm_raises(), rare_collections():
        is_resumed = check_resume(paths, config, resume=resume)
        reselected = _reselected(paths, config) if is_resumed else []
        scan = scan_to_select(config, progress)
        if is_resumed:
            check_moved(paths, config, scan)
        run_async(_check_endpoints(config, connector=connector, api_key=api_key))
        with held(paths):
            begin(paths, config)
            with Work.open(paths, config=config, scan=scan, progress=progress) as work:
                work.events.write(
                    "run_started",
                    resumed=is_resumed,
                    num_records=sum(entry["num_records"] for entry in scan.inputs),
                    inputs=[entry["sha256"] for entry in scan.inputs],
                )
                decided, models = run_async(_ask(work, connector=connector, api_key=api_key))
                results = write_results(work, decided, models=models)
                results = replace(results, warnings=[*reselected, *results.warnings])
                del decided  # memory: the report reads of the decisions what it needs
                return finish(work, results, started=started)


def _reselected(paths: RunPaths, config: Config) -> list[str]:
    """Returns what the run was selected by until now, by `a2l select` say, where that is another thing."""
    if not paths.config.is_file():
        return []
    before = load_run_config(paths).selection
    return [
        f"selection.{name} was {old} in this run and is {new} now, as the config says"
        for name in ("question_keep", "answer_keep")
        if (old := getattr(before, name)) != (new := getattr(config.selection, name))
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Dataset and decisions as they were written, and what the report and the summary still need."""

    publisher: Publisher
    written: Written
    gaps: Mapping[str, Mapping[str, float]]
    warnings: Sequence[str]


def write_results(work: Work, decided: Decided, *, models: Mapping[str, ModelIdentity]) -> Results:
    """Writes all but report and manifest. Drop `decided` afterwards: it holds most of the driver's memory.

    Raises:
        StoreError: a write failed; the run has no manifest then.
    """
    publisher = Publisher(
        work.paths,
        config=work.config,
        scan=work.scan,
        ledger=work.ledger,
        quarantine=work.quarantine,
        models=models,
    )
    written = publisher.write(decided.decisions, decided.chosen)
    warnings = input_warnings(work.scan.table, work.config.selection, kept=decided.kept_positions())
    return Results(publisher=publisher, written=written, gaps=decided.gaps, warnings=warnings)


def finish(work: Work, results: Results, *, started: float) -> Summary:
    """Writes report and manifest and returns the run's summary; `started` is of the monotonic clock.

    Raises:
        StoreError: a write failed; the run has no manifest then.
    """
    summary = summary_of(
        str(work.paths.root),
        dataset=str(work.paths.train(work.scan.corpus.dialect)),
        published=results.publisher.finish(results.written),
        gaps=results.gaps,
        warnings=results.warnings,
        asked={stage.value: counts for stage, counts in work.asked.items()},
        quarantine_limit=work.config.run.quarantine_limit,
        seconds=time.monotonic() - started,
    )
    work.events.write(
        "run_finished",
        num_kept=summary.num_kept,
        num_quarantined=summary.num_quarantined,
        seconds=summary.seconds,
    )
    return summary


async def align_kept(work: Work, decided: Decided, services: Services) -> None:
    """Rewrites and reviews what is kept and has no verdict yet.

    Raises:
        EndpointError: the inner LLM cannot be used.
    """
    if services.inner_llm is None:
        return
    kept = decided.kept_positions()
    started = time.monotonic()
    work.progress.start("align", total=len(kept))
    aligner = Aligner(
        service=services.inner_llm,
        ledger=work.ledger,
        config=work.config.alignment,
        run=work.config.run,
        progress=work.progress,
    )
    await aligner.run(work.scan.load(kept), decided.chosen)
    work.progress.finish()
    _log_stage(work, "align", num_records=len(kept), started=started)


async def _check_endpoints(config: Config, *, connector: Connector, api_key: str | None) -> None:
    # Before the run directory is made, so that the same command may be tried again.
    async with AsyncExitStack() as stack:
        await open_services(stack, config, connector=connector, api_key=api_key, notify=log_event)


async def _ask(
    work: Work, *, connector: Connector, api_key: str | None
) -> tuple[Decided, dict[str, ModelIdentity]]:
    async with AsyncExitStack() as stack:
        services = await open_services(
            stack,
            work.config,
            connector=connector,
            api_key=api_key,
            notify=work.events.write,
        )
        await _score(work, services, RewardStage.QUESTION, positions=work.scan.scorable_positions())
        await _score(work, services, RewardStage.ANSWER, positions=work.survivors())
        # Anew: the question stage's ranks, held meanwhile, would be 20 bytes a record.
        decided = work.decide()
        assert not any(decided.num_missing.values())  # all were asked for
        await align_kept(work, decided, services)
        return decided, services.models()


async def _score(
    work: Work, services: Services, stage: RewardStage, *, positions: pl.Series
) -> None:
    is_question = stage is RewardStage.QUESTION
    service = services.question if is_question else services.answer
    if service is None:
        return
    started = time.monotonic()
    work.progress.start(stage.value, total=len(positions))
    runner = RewardStageRunner(
        stage,
        service=service,
        store=work.rewards[stage],
        quarantine=work.quarantine,
        slots=question_slots if is_question else answer_slots,
        config=work.config.run,
        progress=work.progress,
    )
    await runner.run(work.scan.load(positions))
    work.progress.finish()
    counts = runner.counts(num_images=work.scan.num_images(positions))
    work.asked[stage] = counts
    _log_stage(work, stage.value, num_records=len(positions), started=started, **asdict(counts))


def _log_stage(work: Work, stage: str, *, num_records: int, started: float, **counts: int) -> None:
    work.events.write(
        "stage_finished",
        stage=stage,
        num_records=num_records,
        seconds=round(time.monotonic() - started, 3),
        peak_rss_bytes=peak_rss_bytes(),
        **counts,
    )
