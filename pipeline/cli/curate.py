"""The verbs of `a2l` that take a config to a dataset: validate, curate."""

from pathlib import Path
from typing import Annotated

import typer

from align2llava.pipeline.cli.options import (
    AsJson,
    Budgets,
    ConfigPath,
    Seed,
    Sets,
    all_sets,
)
from align2llava.pipeline.cli.output import check_quarantine, print_json, show_summary
from align2llava.pipeline.config.schema import api_key, load_config
from align2llava.pipeline.curation.deciding.curate import curate
from align2llava.pipeline.curation.deciding.validate import validate, validation_text
from align2llava.pipeline.curation.endpoints.budget import connector_within, parse_budget
from align2llava.pipeline.curation.endpoints.opening import NetworkConnector
from align2llava.pipeline.curation.run.resume import Resume, default_run_dir
from align2llava.pipeline.errors import EndpointError
from align2llava.pipeline.process.progress import progress_view
from align2llava.pipeline.screen import say, tell

verbs = typer.Typer()


@verbs.command("validate")
def _validate(config: ConfigPath, *, sets: Sets = None, as_json: AsJson = False) -> None:
    """Checks config, data and endpoints, spends nothing. Example: `a2l validate curate.yaml`."""
    loaded = load_config(config, sets=sets or ())
    connector = NetworkConnector()
    with progress_view() as progress:
        found = validate(loaded, connector=connector, api_key=api_key(), progress=progress)
    if as_json:
        print_json(found)
    else:
        say(validation_text(found))
    if found.endpoint_errors:
        *others, last = found.endpoint_errors.values()
        for error in others:
            tell(f"a2l: {error}")
        raise EndpointError(last)
    limit = loaded.run.quarantine_limit
    check_quarantine(found.lint.num_dirty, of=found.lint.num_records, limit=limit)


@verbs.command("curate")
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
    show_summary(summary, as_json=as_json)
