"""`<image>` in texts: gone, wherever it hides, in one pass."""

from hypothesis import given
from hypothesis import strategies as st

from align2llava.clients.wire.texts import IMAGE_TOKEN, without_image_tokens


def replaced_until_none_is_left(text: str) -> str:
    while IMAGE_TOKEN in text:
        text = text.replace(IMAGE_TOKEN, "")
    return text.strip()


@given(st.lists(st.sampled_from(["<image>", "<im", "age>", "<image", ">", "<", "a", " "])))
def test_no_token_is_left_that_others_hid(pieces: list[str]):
    text = "".join(pieces)
    assert without_image_tokens(text) == replaced_until_none_is_left(text)


def test_texts_are_stripped_of_the_token_and_of_spaces():
    assert without_image_tokens("<image>\nWhat? ") == "What?"
    assert without_image_tokens("<im<image>age>x") == "x"
    assert without_image_tokens("<im" * 20_000 + "age>" * 20_000) == ""
