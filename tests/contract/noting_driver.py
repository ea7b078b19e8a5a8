"""`a2l` that notes every gRPC message that it takes in: `python noting_driver.py NOTES curate ...`.

A server cannot know which of its answers came; a broken connection loses those on their way.
"""

import hashlib
import sys
from pathlib import Path
from unittest.mock import patch


def name_of(message: bytes) -> str:
    """Returns the name under which a message is noted."""
    return hashlib.sha256(message).hexdigest()[:20]


def main() -> None:
    from align2llava.pipeline.cli.app import app

    notes = Path(sys.argv.pop(1))

    def noted(message: bytes) -> bytes:
        with notes.open("a") as file:
            file.write(f"{name_of(message)}\n")
        return message

    with patch("align2llava.clients.transport.rpc._raw", noted):
        app()


if __name__ == "__main__":
    main()
