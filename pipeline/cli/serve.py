"""The verb `a2l serve`: the three services on this machine."""

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from align2llava.pipeline.errors import TerminatedError
from align2llava.pipeline.screen import say, tell
from align2llava.pipeline.serving.service_process import Served
from align2llava.pipeline.serving.services import GRPC_PORT, HTTP_PORT, serving

verbs = typer.Typer()


@verbs.command("serve")
def _serve(
    *,
    models: Annotated[
        Path,
        typer.Option(help="Folder of the checkpoints question-reward, answer-reward, inner-llm."),
    ] = Path("examples/blocks/models"),
    only: Annotated[
        list[str] | None, typer.Option(help="Serve only this one; may be given again.")
    ] = None,
    http_port: Annotated[
        int,
        typer.Option(
            help="Of question-reward; answer-reward has the next, inner-llm the one after, with --only too."
        ),
    ] = HTTP_PORT,
    grpc_port: Annotated[int, typer.Option(help="As --http-port, of gRPC.")] = GRPC_PORT,
) -> None:
    """Runs the three services here until Ctrl-C. Example: a2l serve --only question-reward.

    Prints `ready NAME http://... grpc://...` for each as it answers, and on stderr what starts, where its log
    is, and what is waited for. Exits 4 when a port is taken, or one cannot start or ends. Settings of the
    services are the A2L_ variables of the environment.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with serving(
            models,
            only=only or (),
            http_port=http_port,
            grpc_port=grpc_port,
            on_ready=_print_ready,
            on_progress=tell,
        ) as running:
            running.watch()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _print_ready(served: Served) -> None:
    say(f"ready {served.name} {served.http_url} {served.grpc_url}")


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise TerminatedError("terminated")
