"""Texts of turns: where an image stood is no part of what models and prompts see."""

IMAGE_TOKEN = "<image>"  # noqa: S105 (LLaVA's placeholder, no secret)


def without_image_tokens(text: str) -> str:
    """Returns a text without `<image>`, stripped; what is a token only once others are gone goes too."""
    text = text.replace(IMAGE_TOKEN, "")
    return (_without_nested(text) if IMAGE_TOKEN in text else text).strip()


def _without_nested(text: str) -> str:
    # One pass, for to replace again and again would take the square of a hostile text's length.
    kept: list[str] = []
    for character in text:
        kept.append(character)
        if character == IMAGE_TOKEN[-1] and "".join(kept[-len(IMAGE_TOKEN) :]) == IMAGE_TOKEN:
            del kept[-len(IMAGE_TOKEN) :]
    return "".join(kept)
