"""The verbs of `a2l` that try a config: preview and plan on a sample, ablate on the whole input."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from align2llava.pipeline.cli.options import AsJson, Budgets, ConfigPath, Seed, Sets, all_sets
from align2llava.pipeline.cli.output import print_json
from align2llava.pipeline.config.schema import api_key, load_config
from align2llava.pipeline.curation.ahead.ablation import ablate
from align2llava.pipeline.curation.ahead.ablation_text import ablation_text
from align2llava.pipeline.curation.ahead.plan import plan
from align2llava.pipeline.curation.ahead.plan_text import plan_text
from align2llava.pipeline.curation.ahead.preview import preview
from align2llava.pipeline.curation.ahead.preview_text import preview_text
from align2llava.pipeline.curation.endpoints.budget import connector_within, parse_budget
from align2llava.pipeline.curation.endpoints.opening import NetworkConnector
from align2llava.pipeline.curation.run.resume import Resume, default_run_dir
from align2llava.pipeline.process.progress import progress_view
from align2llava.pipeline.screen import say, tell

verbs = typer.Typer()


@verbs.command("preview")
def _preview(
    config: ConfigPath,
    *,
    size: Annotated[int, typer.Option("-n", "--size", min=1, help="Records to look at.")] = 20,
    sets: Sets = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Curates a small sample and prints it for reading. Example: `a2l preview curate.yaml -n 20`."""
    loaded = load_config(config, sets=all_sets(sets, seed=seed))
    with progress_view() as progress:
        found = preview(
            loaded, size=size, connector=NetworkConnector(), api_key=api_key(), progress=progress
        )
    if as_json:
        print_json(found)
    else:
        say(preview_text(found, width=shutil.get_terminal_size().columns))


@verbs.command("plan")
def _plan(
    config: ConfigPath,
    *,
    sample: Annotated[int, typer.Option(min=1, help="Records to curate for it.")] = 200,
    sets: Sets = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Tells what a run would take, from a sample. Example: `a2l plan curate.yaml --sample 200`."""
    loaded = load_config(config, sets=all_sets(sets, seed=seed))
    with progress_view() as progress:
        found = plan(
            loaded, size=sample, connector=NetworkConnector(), api_key=api_key(), progress=progress
        )
    if as_json:
        print_json(found)
    else:
        say(plan_text(found))


@verbs.command("ablate")
def _ablate(
    config: ConfigPath,
    *,
    run_dir: Annotated[Path | None, typer.Option(help="Default: runs/NAME-TIME.")] = None,
    resume: Annotated[Resume, typer.Option(help="Where the run exists.")] = Resume.NEVER,
    sets: Sets = None,
    seed: Seed = None,
    budgets: Budgets = None,
    as_json: AsJson = False,
) -> None:
    """Curates without each stage in turn. Example: `a2l ablate curate.yaml --run-dir runs/demo`."""
    budget = parse_budget(budgets or ())
    loaded = load_config(config, sets=all_sets(sets, seed=seed))
    run_dir = run_dir or default_run_dir(config)
    with progress_view() as progress:
        found = ablate(
            loaded,
            run_dir=run_dir,
            resume=resume,
            connector=connector_within(budget, run_dir=run_dir),
            api_key=api_key(),
            progress=progress,
            tell=tell,
        )
    if as_json:
        print_json(found)
    else:
        say(ablation_text(found))
