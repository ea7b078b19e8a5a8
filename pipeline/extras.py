"""What the base install, the driver, lacks: which extra brings a package, and how to install it."""

import sys

EXTRAS = {
    "reward": ("numpy", "safetensors", "tokenizers", "torch", "transformers"),
    "services": ("bentoml", "grpc_health", "grpc_reflection", "prometheus_client", "starlette"),
}
"""The packages that each extra brings."""

NEWEST_PYTHON = (3, 12)
"""The newest Python that the extras are for; clients and driver run on newer ones."""


def extra_of(module: str) -> str | None:
    """Returns the extra that brings a module, None where none does."""
    package = module.partition(".")[0]
    return next((extra for extra, brings in EXTRAS.items() if package in brings), None)


def how_to_install(extras: str, *, python: tuple[int, int] = sys.version_info[:2]) -> str:
    """Returns what to type for extras, joined by commas; on a newer Python, that another is needed."""
    command = f"pip install 'align2llava[{extras}]'"
    if python <= NEWEST_PYTHON:
        return command
    here, newest = (".".join(map(str, one)) for one in (python, NEWEST_PYTHON))
    return (
        f"{command} in an environment of Python 3.11 or {newest}; this is {here}, on which "
        "services and trainings are not tried"
    )
