"""The command line `a2l`: each verb a thin wrapper over the Python API; errors become exit codes here.

Exit codes: 0 done, 1 bug or failed local write, 2 usage, config or input syntax, 3 quarantine above
its limit, 4 endpoint, 5 budget reached, 75 checkpointed, 124 a job's time-out,
130 interrupted, 143 terminated.
"""

import logging
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import orjson
import typer
from pydantic import BaseModel
from typer.core import TyperGroup

from pipeline import cli_ahead, cli_results
from pipeline.cli_options import (
    AsJson,
    Budgets,
    ConfigPath,
    RunPath,
    Seed,
    Sets,
    all_sets,
    connector_within,
)
from pipeline.cli_serve import serve
from pipeline.config import api_key, load_config
from pipeline.curation.budget import parse_budget
from pipeline.curation.curate import curate
from pipeline.curation.endpoints import NetworkConnector
from pipeline.curation.progress import progress_view
from pipeline.curation.reselect import align, select
from pipeline.curation.runs import Resume, default_run_dir
from pipeline.curation.summary import Summary, summary_text
from pipeline.curation.validate import Validation, validate, validation_text
from pipeline.errors import ConfigError, EndpointError, PipelineError, QuarantineError
from pipeline.jobs.cli import jobs
from pipeline.training.cli import train


class _ExitCodes(TyperGroup):
    """Turns every `PipelineError` into one line on stderr and its exit code."""

    def invoke(self, ctx: typer.Context) -> object:  # pyright: ignore[reportIncompatibleMethodOverride] typer hides its own click
        try:
            return super().invoke(ctx)
        except PipelineError as error:
            typer.echo(f"a2l: {error}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo("a2l: interrupted; resumable with --resume always", err=True)
            raise typer.Exit(130) from error


app = typer.Typer(
    name="a2l",
    cls=_ExitCodes,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Curates visual instruction data. Example: a2l curate examples/blocks/curate.yaml",
)


app.add_typer(cli_ahead.verbs)
app.add_typer(cli_results.verbs)
app.add_typer(jobs)


@app.callback()
def _configure() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


@app.command("validate")
def _validate(config: ConfigPath, *, sets: Sets = None, as_json: AsJson = False) -> None:
    """Checks config, data and endpoints, spends nothing. Example: `a2l validate curate.yaml`."""
    loaded = load_config(config, sets=sets or ())
    connector = NetworkConnector()
    with progress_view() as progress:
        found = validate(loaded, connector=connector, api_key=api_key(), progress=progress)
    print(_as_json(found) if as_json else validation_text(found))
    if found.endpoint_error is not None:
        raise EndpointError(found.endpoint_error)
    limit = loaded.run.quarantine_limit
    _check_quarantine(found.lint.num_dirty, of=found.lint.num_records, limit=limit)


@app.command("curate")
def _curate(
    config: ConfigPath,
    *,
    run_dir: Annotated[Path | None, typer.Option(help="Default: runs/NAME-TIME.")] = None,
    resume: Annotated[Resume, typer.Option(help="Where the run exists.")] = Resume.NEVER,
    sets: Sets = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Read N records only.")] = None,
    seed: Seed = None,
    budgets: Budgets = None,
    as_json: AsJson = False,
) -> None:
    """Curates a dataset. Example: `a2l curate examples/blocks/curate.yaml --run-dir runs/demo`."""
    budget = parse_budget(budgets or ())
    loaded = load_config(config, sets=all_sets(sets, limit=limit, seed=seed))
    run_dir = run_dir or default_run_dir(config)
    with progress_view() as progress:
        summary = curate(
            loaded,
            run_dir=run_dir,
            resume=resume,
            connector=connector_within(budget, run_dir=run_dir),
            api_key=api_key(),
            progress=progress,
        )
    _show(summary, as_json=as_json)


@app.command("select")
def _select(
    run: RunPath,
    *,
    question_keep: Annotated[str | None, typer.Option(help="Share in [0, 1].")] = None,
    answer_keep: Annotated[str | None, typer.Option(help="Share in [0, 1].")] = None,
    as_json: AsJson = False,
) -> None:
    """Decides again from stored rewards. Example: `a2l select runs/demo --answer-keep 0.2`."""
    question = _share("--question-keep", question_keep)
    answer = _share("--answer-keep", answer_keep)
    with progress_view() as progress:
        summary = select(run, question_keep=question, answer_keep=answer, progress=progress)
    _show(summary, as_json=as_json)


@app.command("align")
def _align(run: RunPath, *, as_json: AsJson = False) -> None:
    """Rewrites and reviews what is kept and has no verdict yet. Example: `a2l align runs/demo`."""
    with progress_view() as progress:
        summary = align(run, connector=NetworkConnector(), api_key=api_key(), progress=progress)
    _show(summary, as_json=as_json)


def _share(option: str, text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        share = Decimal(text)
    except InvalidOperation:
        share = Decimal(-1)
    if not share.is_finite() or not 0 <= share <= 1:
        raise ConfigError(f"{option} {text}: a number in [0, 1] is needed")
    return share


def _show(summary: Summary, *, as_json: bool) -> None:
    print(_as_json(summary) if as_json else summary_text(summary))
    limit = summary.quarantine_limit
    _check_quarantine(summary.num_quarantined, of=summary.num_input, limit=limit)


def _as_json(found: Summary | Validation) -> str:
    """Returns what a verb found as one JSON object."""
    return orjson.dumps(found, option=orjson.OPT_INDENT_2, default=_plain).decode()


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump()
    raise TypeError(f"a {type(value).__name__} is no part of an answer")


def _check_quarantine(num_quarantined: int, *, of: int, limit: float) -> None:
    """Refuses more quarantined records than the limit allows.

    Raises:
        QuarantineError: the share is above the limit.
    """
    if num_quarantined > limit * of:
        raise QuarantineError(
            f"{num_quarantined} of {of} records are quarantined; the limit is {limit:g} "
            f"(run.quarantine_limit)"
        )


app.command()(serve)
app.command()(train)
