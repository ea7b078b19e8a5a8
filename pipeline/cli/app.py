"""The command line `a2l`: each verb a thin wrapper over the Python API; errors become exit codes here.

Exit codes: 0 done, 1 bug or failed local write, 2 usage, config or input syntax, 3 quarantine above
its limit, 4 endpoint, 5 budget reached, 75 checkpointed, 124 a job's time-out,
130 interrupted, 143 terminated.
"""

import errno
import logging
import os
import platform
from collections import UserDict
from importlib import import_module, metadata
from typing import Annotated, Any

import typer
from typer.core import (
    CompletionItem,  # pyright: ignore[reportPrivateImportUsage] typer hides its own click
    TyperGroup,
)
from typer.main import get_group

from align2llava.pipeline.errors import PipelineError
from align2llava.pipeline.extras import extra_of, how_to_install
from align2llava.pipeline.screen import ShownFormatter, lasting_streams, say, tell

VERBS = {
    "validate": "align2llava.pipeline.cli.curate",
    "curate": "align2llava.pipeline.cli.curate",
    "select": "align2llava.pipeline.cli.decide",
    "align": "align2llava.pipeline.cli.decide",
    "serve": "align2llava.pipeline.cli.serve",
    "train": "align2llava.pipeline.training.cli",
    "preview": "align2llava.pipeline.cli.ahead",
    "plan": "align2llava.pipeline.cli.ahead",
    "ablate": "align2llava.pipeline.cli.ahead",
    "report": "align2llava.pipeline.cli.results",
    "explain": "align2llava.pipeline.cli.results",
    "export": "align2llava.pipeline.cli.results",
    "diff": "align2llava.pipeline.cli.results",
    "jobs": "align2llava.pipeline.jobs.cli",
}
"""The module of each verb, in the order of the help; its `verbs` holds it."""


_NO_PATHS = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR)


class _Imported(UserDict[str, Any]):
    """Commands by verb, of which each is imported when it is looked at."""

    def __getitem__(self, verb: str) -> object:
        return get_group(import_module(self.data[verb]).verbs).commands[verb]


class _Verbs(TyperGroup):
    """The verbs; turns every `PipelineError` into one line on stderr and its exit code."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Imported(VERBS)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(verb) for verb in VERBS if verb.startswith(incomplete)]  # no import

    def main(self, *args: Any, **attributes: Any) -> Any:
        # Errors say in words what gRPC's C core would write on the terminal; read when it is imported.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        with lasting_streams():
            return super().main(*args, **attributes)

    def invoke(self, ctx: typer.Context) -> object:  # pyright: ignore[reportIncompatibleMethodOverride] typer hides its own click
        try:
            return super().invoke(ctx)
        except PipelineError as error:
            tell(f"a2l: {error}")
            raise typer.Exit(error.exit_code) from error
        except OSError as error:
            if error.filename is None:
                raise
            tell(f"a2l: {os.fsdecode(error.filename)}: {error.strerror}")
            raise typer.Exit(2 if error.errno in _NO_PATHS else 1) from error
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            extra = extra_of(missing)
            if extra is None:
                raise
            tell(f"a2l: this needs {missing}, which is not installed here: {how_to_install(extra)}")
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            tell("a2l: interrupted; resumable with --resume always")
            raise typer.Exit(130) from error


app = typer.Typer(
    name="a2l",
    cls=_Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Curates visual instruction data. Example: a2l curate examples/blocks/curate.yaml",
)


def _show_version(is_asked: bool) -> None:
    if not is_asked:
        return
    version = metadata.version("align2llava")
    say(f"a2l {version}, Python {platform.python_version()}, {platform.platform()}")
    raise typer.Exit


@app.callback()
def _configure(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(ShownFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
