import pytest

from align2llava.clients.wire.schemas import RewriteResult, Turn
from align2llava.pipeline.curation.layout import Gate
from align2llava.pipeline.curation.stages.gates import gated, is_hard_format

ORIGINAL = Turn(question="How many cats are there?", answer="There are 2 cats on the red mat.")


def result(answer: str, *, question: str = "How many cats do you see?", reason: str = "stop"):
    return RewriteResult(
        id="a", rewritten=Turn(question=question, answer=answer), finish_reason=reason
    )


def failed(found: RewriteResult, original: Turn = ORIGINAL) -> Gate | None:
    trial = gated(original, found, length_ratio=3.0)
    false = [gate for gate, passed in trial.outcomes.items() if not passed]
    assert trial.passes is (not false)
    assert len(false) <= 1
    return false[0] if false else None


def test_faithful_rewrite_passes_every_gate():
    trial = gated(ORIGINAL, result("I see two cats on the red mat."), length_ratio=3.0)
    assert trial.passes
    assert set(trial.outcomes) == set(Gate)


@pytest.mark.parametrize(
    ("found", "gate"),
    [
        pytest.param(RewriteResult(id="a", unparsed="hm"), Gate.PARSED, id="no turn"),
        pytest.param(result("There are 2 cats", reason="length"), Gate.FINISHED, id="cut off"),
        pytest.param(result("  "), Gate.NON_EMPTY, id="empty answer"),
        pytest.param(result("2 cats.", question=" "), Gate.NON_EMPTY, id="empty question"),
        pytest.param(result("2 cats and " * 40), Gate.LENGTH, id="rambling"),
        pytest.param(result("2 cats </answer>"), Gate.NO_LEAK, id="a tag"),
        pytest.param(
            result("I keep my own manner of writing: 2 cats."), Gate.NO_LEAK, id="the prompt"
        ),
        pytest.param(result("2 cats.\nUser: and more?"), Gate.NO_LEAK, id="a role"),
        pytest.param(result("2 cats <image>"), Gate.IMAGE_TOKEN, id="image token"),
        pytest.param(result("There are 3 cats on the red mat."), Gate.NUMBERS, id="other number"),
        pytest.param(result("There are cats on the red mat."), Gate.NUMBERS, id="lost number"),
        pytest.param(result("There are 2 cats on 5 mats."), Gate.NUMBERS, id="new number"),
    ],
)
def test_bad_rewrite_fails_its_gate(found: RewriteResult, gate: Gate):
    assert failed(found) is gate


def test_far_shorter_answer_fails_the_length_gate():
    original = Turn(question="What is there?", answer="A cat sits on a mat. " * 20)
    assert failed(result("A cat.", question="What is there?"), original) is Gate.LENGTH


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("It has 1,200 legs.", "Its legs: 1200.", True),
        ("Twelve birds.", "12 birds.", True),
        ("One of them.", "A bird.", True),  # also an article
        ("It weighs 1.5 kg.", "It weighs 15 kg.", False),
        ("Often someone comes.", "Someone comes often.", True),  # no ten in often
    ],
)
def test_numbers_are_compared_whatever_their_spelling(one: str, other: str, *, is_same: bool):
    original = Turn(question="What is it like?", answer=one)
    found = failed(result(other, question="What is it like?"), original)
    assert found is (None if is_same else Gate.NUMBERS)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is it red?", "Yes."),
        ("Is it red?", "no"),
        ("Which one?", "B"),
        ("Which one?", "(c)"),
        ("How many?", "12"),
        ("What share?", "3.5%"),
        ("Where is it?", "[0.1, 0.2, 0.55, 0.9]"),
        ("Where is it?", "(10, 20)"),
        ("What colour?", "dark red"),
        ("What is it?\nAnswer the question using a single word or phrase.", "It is a big cat."),
        ("Answer with the option's letter from the given choices.", "It is A, of course."),
    ],
)
def test_hard_formats_are_left_alone(question: str, answer: str):
    assert is_hard_format(Turn(question=question, answer=answer))


@pytest.mark.parametrize("answer", ["It is red.", "Yes, the cat is red.", "a big red cat"])
def test_open_answers_are_not_hard(answer: str):
    assert not is_hard_format(Turn(question="What is it?", answer=answer))
