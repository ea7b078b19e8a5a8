"""Deciding again over a finished run: other keeps from stored rewards, or missing verdicts filled."""

import time
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path

from align2llava.clients.wire.schemas import ModelIdentity
from align2llava.pipeline.config.schema import Config
from align2llava.pipeline.curation.deciding.curate import align_kept, finish, write_results
from align2llava.pipeline.curation.deciding.summary import Summary
from align2llava.pipeline.curation.deciding.work import Decided, Work
from align2llava.pipeline.curation.endpoints.clear_text import warn_of_clear_text
from align2llava.pipeline.curation.endpoints.opening import Connector, Services, open_inner_llm
from align2llava.pipeline.curation.input.scan import Scan
from align2llava.pipeline.curation.layout import Manifest, RewardStage, RunPaths
from align2llava.pipeline.curation.run.finished import require_inputs
from align2llava.pipeline.curation.run.lease import held
from align2llava.pipeline.curation.run.manifest import input_entries, models_of, read_manifest
from align2llava.pipeline.curation.run.moved import require_same_images
from align2llava.pipeline.curation.run.resume import begin, load_run_config
from align2llava.pipeline.curation.selection.contenders import scan_to_select
from align2llava.pipeline.errors import ConfigError, InputError, RunError
from align2llava.pipeline.process.interrupts import run_async, sigterm_raises
from align2llava.pipeline.process.progress import ProgressView


def select(
    run_dir: Path,
    *,
    question_keep: Decimal | None,
    answer_keep: Decimal | None,
    progress: ProgressView,
) -> Summary:
    """Decides again from stored rewards; never calls a model. A keep of None stays as it is.

    Kept turns without a verdict go out as originals.

    Raises:
        RunError: the run is not finished, or rewards are missing; nothing was changed.
        InputError: an input is not what the run read.
    """
    started = time.monotonic()
    paths = RunPaths(run_dir)
    keeps = {
        name: keep
        for name, keep in (("question_keep", question_keep), ("answer_keep", answer_keep))
        if keep is not None
    }
    with sigterm_raises():
        manifest = read_manifest(paths)
        config = _with_keeps(load_run_config(paths), keeps)
        require_inputs(config)
        scan = scan_to_select(config, progress, reuses=True)
        _check_inputs(paths, scan, manifest)
        require_same_images(scan, paths)
        with (
            held(paths),
            Work.open(paths, config=config, scan=scan, progress=progress) as work,
        ):
            decided = work.decide()
            _refuse_missing(work, decided, keeps)
            begin(paths, config)
            work.events.write("select_started", **{name: str(keep) for name, keep in keeps.items()})
            results = write_results(work, decided, models=models_of(manifest))
            del decided  # memory: as in `curate`
            return finish(work, results, started=started)


def align(
    run_dir: Path, *, connector: Connector, api_key: str | None, progress: ProgressView
) -> Summary:
    """Rewrites and reviews what is kept in a finished run and has no verdict yet.

    Raises:
        RunError: the run is not finished.
        ConfigError: its config has no rewrite.
        EndpointError: the inner LLM cannot be used, or is another one than before.
    """
    started = time.monotonic()
    paths = RunPaths(run_dir)
    with sigterm_raises():
        manifest = read_manifest(paths)
        config = load_run_config(paths)
        if not config.alignment.rewrite or config.endpoints.inner_llm is None:
            raise ConfigError(
                f"{paths.config}: alignment.rewrite is off; there is nothing to align"
            )
        require_inputs(config)
        scan = scan_to_select(config, progress, reuses=True)
        _check_inputs(paths, scan, manifest)
        require_same_images(scan, paths)
        with (
            held(paths),
            Work.open(paths, config=config, scan=scan, progress=progress) as work,
        ):
            decided = work.decide()
            _refuse_missing(work, decided, {})
            models = models_of(manifest) | run_async(
                _align(work, decided, connector=connector, api_key=api_key)
            )
            work.events.write("align_started")
            results = write_results(work, decided, models=models)
            del decided  # memory: as in `curate`
            return finish(work, results, started=started)


async def _align(
    work: Work, decided: Decided, *, connector: Connector, api_key: str | None
) -> dict[str, ModelIdentity]:
    wanted = work.config.endpoints.inner_llm
    warn_of_clear_text((wanted,), api_key=api_key)
    async with AsyncExitStack() as stack:
        inner_llm = await open_inner_llm(
            stack,
            wanted,
            connector=connector,
            api_key=api_key,
            notify=work.events.write,
        )
        services = Services(question=None, answer=None, inner_llm=inner_llm)
        await align_kept(work, decided, services)
        return services.models()


def _with_keeps(config: Config, keeps: dict[str, Decimal]) -> Config:
    selection = config.selection.model_copy(update=keeps)
    return config.model_copy(update={"selection": selection})


def _check_inputs(paths: RunPaths, scan: Scan, manifest: Manifest) -> None:
    entries = input_entries(paths, manifest, num_files=len(scan.inputs))
    for now, before in zip(scan.inputs, entries, strict=True):
        if now["sha256"] != before["sha256"]:
            message = f"sha256 is {now['sha256']}; the run read {before['sha256']}"
            raise InputError(message, path=Path(now["path"]))


def _refuse_missing(work: Work, decided: Decided, keeps: dict[str, Decimal]) -> None:
    num_questions = decided.num_missing[RewardStage.QUESTION]
    num_answers = decided.num_missing[RewardStage.ANSWER]
    if not num_questions and not num_answers:
        return
    sets = " ".join(f"--set selection.{name}={keep}" for name, keep in keeps.items())
    raise RunError(
        f"{num_answers or num_questions} records lack {'answer' if num_answers else 'question'} "
        f"rewards; nothing was changed. Fill them with: a2l curate CONFIG --run-dir "
        f"{work.paths.root} --resume always {sets}"
    )
