"""Options that several verbs of `a2l` take, and what they mean for the config."""

from pathlib import Path
from typing import Annotated

import typer

ConfigPath = Annotated[Path, typer.Argument(help="The config, a YAML file.")]
RunPath = Annotated[Path, typer.Argument(help="A run directory.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="a.b=value, over the config.")]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Seed of samples, ties and rewrites: run.seed.")
]
Budgets = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        help="requests=N, minutes=N or gpu-seconds=N; stops there, resumable. May be given again.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def all_sets(
    sets: list[str] | None, *, limit: int | None = None, seed: int | None = None
) -> list[str]:
    """Returns what `--set` gives, and after it what options of their own give."""
    given = list(sets or [])
    if limit is not None:
        given.append(f"run.limit={limit}")
    if seed is not None:
        given.append(f"run.seed={seed}")
    return given
