"""The command line `a2l`: each verb a thin wrapper over the Python API; errors become exit codes here.

Exit codes: 0 done, 1 bug or failed local write, 2 usage, config or input syntax, 3 quarantine above
its limit, 4 endpoint, 5 budget reached, 75 checkpointed, 130 interrupted, 143 terminated.
"""

import logging

import typer
from typer.core import TyperGroup

from pipeline.errors import PipelineError


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


@app.callback()
def _configure() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
