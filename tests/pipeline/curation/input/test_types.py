import pytest

from align2llava.pipeline.curation.input.types import TypeRule, type_of


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
    assert type_of(configured, own=own, questions=questions).type == expected


@pytest.mark.parametrize(
    ("configured", "own", "questions", "rule"),
    [
        ("mine", "theirs", ("a",), TypeRule.CONFIG),
        ("auto", "theirs", ("a",), TypeRule.OWN),
        ("auto", None, ("a", "b"), TypeRule.TURNS),
        ("auto", None, ("Describe the image in detail.",), TypeRule.TEMPLATE),
        ("auto", None, ("Why?",), TypeRule.OTHER),
        ("auto", None, (), TypeRule.NONE),
    ],
)
def test_rule_says_what_the_type_was_told_by(
    configured: str, own: object, questions: tuple[str, ...], rule: TypeRule
):
    assert type_of(configured, own=own, questions=questions).rule is rule


@pytest.mark.parametrize(
    "question",
    [
        "Describe the image in detail.",
        "Please describe this image in detail!",
        "Can you describe the image in detail?",
        "describe the following picture, in great detail",
        "Describe the photo shown above.",
        "Describe the image.",
        "Provide a thorough description of this picture.",
        "Could you please give a detailed description of the given photograph?",
        "What is in this picture?",
        "What\u2019s in the photo?",
        "What do you see in the image?",
        "Describe what you see in the picture.",
        "Write an exhaustive depiction of the given image",
        "Analyze the image in a comprehensive and detailed manner",
        "Give an elaborate explanation of the image you see.",
    ],
)
def test_request_for_a_description_in_other_words_is_detail(question: str):
    assert type_of("auto", own=None, questions=(question,)).type == "detail"


@pytest.mark.parametrize(
    "question",
    [
        "Describe the dog in detail.",
        "Describe the dog in the image in detail.",
        "Describe the image on the wall.",
        "What is in the bag in this picture?",
        "What is in the image that could be dangerous?",
        "Describe the image and say who painted it.",
        "Describe how the image was made.",
        "What is this?",
        "Describe",
        "Can you?",
        "Is this a picture?",
        "What is wrong with the image?",
        "Describe the image in detail. " + "Then tell a story about it. " * 9,
    ],
)
def test_question_about_something_is_no_detail(question: str):
    assert type_of("auto", own=None, questions=(question,)).type == "complex_reasoning"
