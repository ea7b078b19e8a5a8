"""The verbs of `a2l` that decide again over a finished run: select, align."""

from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from align2llava.pipeline.cli.options import AsJson, Moved, MovedImages, RunPath, take_moved
from align2llava.pipeline.cli.output import show_summary
from align2llava.pipeline.config.schema import api_key
from align2llava.pipeline.curation.deciding.reselect import align, select
from align2llava.pipeline.curation.endpoints.opening import NetworkConnector
from align2llava.pipeline.errors import ConfigError
from align2llava.pipeline.process.progress import progress_view

verbs = typer.Typer()


@verbs.command("select")
def _select(
    run: RunPath,
    *,
    question_keep: Annotated[str | None, typer.Option(help="Share in [0, 1].")] = None,
    answer_keep: Annotated[str | None, typer.Option(help="Share in [0, 1].")] = None,
    inputs: Moved = None,
    images_root: MovedImages = None,
    as_json: AsJson = False,
) -> None:
    """Decides again from stored rewards. Example: `a2l select runs/demo --answer-keep 0.2`."""
    question = _share("--question-keep", question_keep)
    answer = _share("--answer-keep", answer_keep)
    take_moved(run, inputs, images_root)
    with progress_view() as progress:
        summary = select(run, question_keep=question, answer_keep=answer, progress=progress)
    show_summary(summary, as_json=as_json)


@verbs.command("align")
def _align(
    run: RunPath,
    *,
    inputs: Moved = None,
    images_root: MovedImages = None,
    as_json: AsJson = False,
) -> None:
    """Rewrites and reviews what is kept and has no verdict yet. Example: `a2l align runs/demo`."""
    take_moved(run, inputs, images_root)
    with progress_view() as progress:
        summary = align(run, connector=NetworkConnector(), api_key=api_key(), progress=progress)
    show_summary(summary, as_json=as_json)


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
