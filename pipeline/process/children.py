"""Processes that are started by this one: which words and environment start them.

No Python process imports from the current folder, which is the user's: there may be a `pipeline/` or a `click.py`
of theirs. None at all is told what only the driver is told, its key before all.
"""

import os
import sys
from collections.abc import Mapping

_DRIVERS = "A2L__"


def module_command(module: str, *words: str) -> list[str]:
    """Returns the command that runs a module of what is installed here."""
    return [sys.executable, "-P", "-m", module, *words]


def child_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns an environment whose Python processes, and theirs in turn, leave the current folder alone.

    An empty part of PYTHONPATH means the current folder; relative ones lie below it, and are the user's.
    """
    environ = {**foreign_environ(environ), "PYTHONSAFEPATH": "1"}
    folders = environ.pop("PYTHONPATH", "").split(os.pathsep)
    if whole := [folder for folder in folders if os.path.isabs(folder)]:  # noqa: PTH117 - a text
        environ["PYTHONPATH"] = os.pathsep.join(whole)
    return environ


def foreign_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns an environment for a program of others."""
    return {name: value for name, value in environ.items() if not name.startswith(_DRIVERS)}
