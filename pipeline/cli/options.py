"""Options that several verbs of `a2l` take, and what they mean for the config."""

from pathlib import Path
from typing import Annotated

import typer

from align2llava.pipeline.curation.run.moved import move_inputs

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
Moved = Annotated[
    list[Path] | None,
    typer.Option(
        "--input",
        help="Where an input file lies now, if it moved since the run. Of several, all in order.",
    ),
]
MovedImages = Annotated[
    Path | None,
    typer.Option("--images-root", help="Where the images lie now, if they moved since the run."),
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


def take_moved(run: Path, inputs: list[Path] | None, images_root: Path | None) -> None:
    """Records in RUN where its data lies now, if that is given; see `move_inputs`."""
    if inputs or images_root is not None:
        move_inputs(run, inputs=inputs or [], images_root=images_root)
