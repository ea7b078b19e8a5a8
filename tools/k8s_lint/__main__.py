"""`python -m tools.k8s_lint k8s/overlays/production --pinned`: one line for each finding, exit 1 if any."""

from pathlib import Path
from typing import Annotated

import typer

from tools.k8s_lint.rendering import RenderError, manifests_of
from tools.k8s_lint.rules import PINNED, RULES


def lint(
    overlay: Annotated[Path, typer.Argument(help="A folder with a kustomization.")],
    *,
    pinned: Annotated[bool, typer.Option("--pinned", help="Every image by digest.")] = False,
) -> None:
    """Renders an overlay and holds it against the rules."""
    try:
        manifests = manifests_of(overlay)
    except RenderError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    rules = {**RULES, **PINNED} if pinned else RULES
    lines = [
        f"{name}: {f.where}: {f.what}" for name, rule in rules.items() for f in rule(manifests)
    ]
    for line in lines:
        typer.echo(line)
    typer.echo(f"{overlay}: {len(rules)} rules, {len(lines)} findings", err=True)
    raise typer.Exit(1 if lines else 0)


if __name__ == "__main__":
    typer.run(lint)
