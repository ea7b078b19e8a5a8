import pytest

from pipeline.curation.record_types import type_of


@pytest.mark.parametrize(
    ("configured", "own", "questions", "expected"),
    [
        pytest.param("mine", "theirs", ("a",), "mine", id="the config's wins"),
        pytest.param("auto", "theirs", ("a", "b"), "theirs", id="then its own"),
        pytest.param("auto", 3, ("a", "b"), "conversation", id="a number is no type"),
        pytest.param("auto", "", ("a", "b"), "conversation", id="an empty text is no type"),
        pytest.param("auto", None, ("Why?",), "complex_reasoning", id="one open question"),
        pytest.param(
            "auto", None, ("Describe the following image.",), "detail", id="detail template"
        ),
        pytest.param(
            "auto", None, ("what is this  photo about",), "detail", id="case and blanks aside"
        ),
        pytest.param("auto", None, ("Describe the dog.",), "complex_reasoning", id="no template"),
        pytest.param("auto", None, (), "unknown", id="no question"),
    ],
)
def test_type_rule(configured: str, own: object, questions: tuple[str, ...], expected: str):
    assert type_of(configured, own=own, questions=questions) == expected
