"""The small files of a model folder: JSON objects, read or refused by name. Knows none of their keys."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue

from align2llava.clients.wire.wording import one_line


class CheckpointError(ValueError):
    """A model folder cannot be used; the message says which file and why."""


@contextmanager
def faults_named(path: Path) -> Generator[None]:
    """Names the file that a library is made to read, where it refuses what stands in it.

    Raises:
        CheckpointError: the library raised, whatever that was.
    """
    try:
        yield
    except Exception as error:  # tokenizers raises nothing narrower
        words = one_line(error)
        raise CheckpointError(f"{path} cannot be used: {words}") from error


def read_json(path: Path) -> dict[str, JsonValue]:
    """Returns the JSON object of a file.

    Raises:
        CheckpointError: the file is missing or unreadable, or holds no JSON object that can be
            written again.
    """
    try:
        value: JsonValue = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(value, ensure_ascii=False).encode()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    # Deep nesting is a RecursionError, a number of 5,000 digits or a lone surrogate a ValueError.
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return value
