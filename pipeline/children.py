"""Python processes that are started by this one: which words and environment start them.

None imports from the current folder, which is the user's: there may be a `pipeline/` or a `click.py` of theirs.
"""

import os
import sys
from collections.abc import Mapping


def module_command(module: str, *words: str) -> list[str]:
    """Returns the command that runs a module of what is installed here."""
    return [sys.executable, "-P", "-m", module, *words]


def child_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns an environment whose Python processes, and theirs in turn, leave the current folder alone.

    An empty part of PYTHONPATH means the current folder; relative ones lie below it, and are the user's.
    """
    environ = {**environ, "PYTHONSAFEPATH": "1"}
    folders = environ.pop("PYTHONPATH", "").split(os.pathsep)
    if whole := [folder for folder in folders if os.path.isabs(folder)]:  # noqa: PTH117 - a text
        environ["PYTHONPATH"] = os.pathsep.join(whole)
    return environ
