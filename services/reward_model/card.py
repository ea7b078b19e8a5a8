"""A model's card: `card.json` in its folder, what the model is for. It decides no number.

{"purpose": "rewards for pictures of coloured shapes"}
"""

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from align2llava.services.reward_model.folder import CheckpointError, read_json

CARD_FILE = "card.json"
MAX_PURPOSE_CHARS = 200

# One line, printable as it is: nothing that moves a cursor or opens a tag.
Purpose = Annotated[str, Field(max_length=MAX_PURPOSE_CHARS, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class ModelCard(BaseModel):
    """`card.json`: read by people, through the service and the driver."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    purpose: Purpose


def read_purpose(folder: Path) -> str:
    """Returns what a folder's card says its model is for, or "" where it has no card.

    Raises:
        CheckpointError: the card holds something else than a purpose of one line.
    """
    path = folder / CARD_FILE
    if not path.exists():
        return ""
    raw = read_json(path)
    try:
        return ModelCard.model_validate_json(json.dumps(raw)).purpose
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"{path}: {key}: {first['msg']}") from error


def write_card(folder: Path, purpose: str) -> None:
    """Writes a folder's card; an empty purpose writes none."""
    if purpose:
        text = ModelCard(purpose=purpose).model_dump_json(indent=2)
        (folder / CARD_FILE).write_text(text + "\n", encoding="utf-8")
