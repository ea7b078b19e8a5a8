"""A run holds the answers of one model for each of its stages."""

from collections.abc import Iterable

from align2llava.pipeline.errors import EndpointError


def require_one_model(stored: Iterable[str], answering: str, *, what: str) -> None:
    """Checks that the identity which answers is the only one whose answers are stored; `what` names those.

    Raises:
        EndpointError: answers of another model are stored.
    """
    if others := sorted(set(stored) - {answering}):
        raise EndpointError(
            f"the run holds {what} of {others[0]}; the endpoint answers as {answering}; "
            "take a new --run-dir"
        )
