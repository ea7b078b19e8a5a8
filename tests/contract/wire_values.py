"""Small wire values for the contract suite."""

import hashlib
import io

from PIL import Image as PilImage

from align2llava.clients.wire.schemas import Group, Image, Item, ScoreResponse


def encoded(image: PilImage.Image, *, image_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=image_format)
    return buffer.getvalue()


def wire_image(data: bytes) -> Image:
    return Image(sha256=hashlib.sha256(data).hexdigest(), data=data)


def square(colour: str = "red", size: int = 8) -> Image:
    return wire_image(encoded(PilImage.new("RGB", (size, size), colour)))


def question_group(*texts: str, image: Image | None = None) -> Group:
    items = tuple(Item(id=str(i), questions=(text,)) for i, text in enumerate(texts))
    return Group(image=image or square(), items=items)


def answer_item(item_id: str, question: str, answer: str) -> Item:
    return Item(id=item_id, question=question, answer=answer)


def codes(response: ScoreResponse) -> list[list[str | None]]:
    """The error code of each item, None where it has a reward."""
    return [[item.error and item.error.code for item in group.items] for group in response.groups]


def rewards(response: ScoreResponse) -> list[list[float | None]]:
    return [[item.reward for item in group.items] for group in response.groups]
