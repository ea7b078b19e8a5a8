import pytest
from pydantic import ValidationError

from align2llava.clients.wire.schemas import Turn
from align2llava.clients.wire.wording import MAX_MESSAGE_CHARS, cut, first_fault, one_line


def test_an_error_is_told_on_one_line_and_by_its_class_where_it_says_nothing():
    assert one_line(ValueError("needed,\n  larger")) == "needed, larger"
    assert one_line(ValueError()) == "ValueError"


def test_a_long_message_is_cut_and_a_short_one_is_left():
    assert cut("m" * MAX_MESSAGE_CHARS) == "m" * MAX_MESSAGE_CHARS
    assert cut("m" * 10**6) == "m" * MAX_MESSAGE_CHARS + "..."


def test_the_first_fault_is_told_by_its_place_without_what_stands_there():
    with pytest.raises(ValidationError) as caught:
        Turn.model_validate({"question": 5, "answer": "a", "k" * 10**6: 1})
    assert first_fault(caught.value) == "question: Input should be a valid string"
    with pytest.raises(ValidationError) as caught:
        Turn.model_validate({"question": "q", "answer": "a", "k" * 10**6: 1})
    assert len(first_fault(caught.value)) < 120
