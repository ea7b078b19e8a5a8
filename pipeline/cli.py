"""The command line `a2l`: each verb a thin wrapper over the Python API; errors become exit codes here.

Exit codes: 0 done, 1 bug or failed local write, 2 usage, config or input syntax, 3 quarantine above
its limit, 4 endpoint, 5 budget reached, 75 checkpointed, 124 a job's time-out,
130 interrupted, 143 terminated.
"""

import logging
from collections import UserDict
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from pipeline.errors import PipelineError

VERBS = {
    "validate": "pipeline.cli_curate",
    "curate": "pipeline.cli_curate",
    "select": "pipeline.cli_decide",
    "align": "pipeline.cli_decide",
    "serve": "pipeline.cli_serve",
    "train": "pipeline.training.cli",
    "preview": "pipeline.cli_ahead",
    "plan": "pipeline.cli_ahead",
    "ablate": "pipeline.cli_ahead",
    "report": "pipeline.cli_results",
    "explain": "pipeline.cli_results",
    "export": "pipeline.cli_results",
    "diff": "pipeline.cli_results",
    "jobs": "pipeline.jobs.cli",
}
"""The module of each verb, in the order of the help; its `verbs` holds it."""


EXTRAS = {
    "reward": ("numpy", "safetensors", "tokenizers", "torch", "transformers"),
    "services": ("bentoml", "grpc_health", "grpc_reflection", "prometheus_client", "starlette"),
}
"""What the base install, the driver, lacks: the packages that each extra brings."""


class _Imported(UserDict[str, Any]):
    """Commands by verb, of which each is imported when it is looked at."""

    def __getitem__(self, verb: str) -> object:
        return get_group(import_module(self.data[verb]).verbs).commands[verb]


class _Verbs(TyperGroup):
    """The verbs; turns every `PipelineError` into one line on stderr and its exit code."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Imported(VERBS)

    def invoke(self, ctx: typer.Context) -> object:  # pyright: ignore[reportIncompatibleMethodOverride] typer hides its own click
        try:
            return super().invoke(ctx)
        except PipelineError as error:
            typer.echo(f"a2l: {error}", err=True)
            raise typer.Exit(error.exit_code) from error
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            extra = next((one for one, brings in EXTRAS.items() if missing in brings), None)
            if extra is None:
                raise
            typer.echo(
                f"a2l: this needs {missing}, which is not installed here: "
                f"pip install 'align2llava[{extra}]'",
                err=True,
            )
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo("a2l: interrupted; resumable with --resume always", err=True)
            raise typer.Exit(130) from error


app = typer.Typer(
    name="a2l",
    cls=_Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Curates visual instruction data. Example: a2l curate examples/blocks/curate.yaml",
)


@app.callback()
def _configure() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
