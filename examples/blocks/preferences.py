"""Preference data: several candidates per image with annotators' scores, in both released schemas.

Candidates of one group share the image; some differ only in a defect that the image alone shows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

from examples.blocks.annotators import rated
from examples.blocks.defects import Defect, falsehood, true_score
from examples.blocks.drafts import (
    Draft,
    draw_dialogue_topics,
    draw_facts,
    draw_flawed,
    draw_misdescription,
    draw_reasoning_topics,
    true_description,
)
from examples.blocks.facts import Fact, SimpleFact, Truth
from examples.blocks.language import answer, question
from examples.blocks.phrases import ACCEPTABLE, GENERIC, REFUSALS, Style
from examples.blocks.records import Picture, rambling, tagged
from examples.blocks.sampling import NoSuchFactError, Topic, draw_fact, falsified
from examples.blocks.scene import Scene

T = TypeVar("T")

_REASONING_SHARE = 0.4
_DETAIL_SHARE = 0.25
_MAX_TRIES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One candidate: its texts (all questions, or one answer), style and defects.

    `twin` is shared by candidates of one group that differ in image-dependent defects only.
    """

    texts: tuple[str, ...]
    style: Style
    twin: int
    defects: frozenset[Defect]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The candidates of one slot of an image; `question` is None where they are questions."""

    question: str | None
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceFile:
    """Entries of a released schema and, line by line, the truth about their candidates."""

    entries: list[dict[str, object]]
    truths: list[dict[str, object]]


def question_preferences(pictures: Sequence[Picture], *, rng: Random) -> PreferenceFile:
    """Returns one entry per picture whose candidates are all human turns of a dialogue."""
    file = PreferenceFile(entries=[], truths=[])
    for picture in pictures:
        group = _retried(picture.scene, rng, draw=_question_group)
        scores = _annotate(file, picture, turn=-1, group=group, rng=rng)
        questions = [list(candidate.texts) for candidate in group.candidates]
        for texts in questions:
            texts[0] = tagged(texts[0], rng)
        file.entries.append(
            {
                "id": picture.stem,
                "image": picture.file_name,
                "questions": questions,
                "score": scores,
            }
        )
    return file


def answer_preferences(pictures: Sequence[Picture], *, rng: Random) -> PreferenceFile:
    """Returns one entry per picture: questions, each with several candidate answers."""
    file = PreferenceFile(entries=[], truths=[])
    for picture in pictures:
        conversations: list[dict[str, object]] = []
        for turn, group in enumerate(_retried(picture.scene, rng, draw=_answer_groups)):
            asked = group.question or ""
            human = tagged(asked, rng) if turn == 0 else asked
            scores = _annotate(file, picture, turn=turn, group=group, rng=rng)
            answers = [candidate.texts[0] for candidate in group.candidates]
            conversations.append({"from": "human", "value": human})
            conversations.append({"from": "gpt", "value": answers, "score": scores})
        file.entries.append(
            {"id": picture.stem, "image": picture.file_name, "conversations": conversations}
        )
    return file


def _retried(scene: Scene, rng: Random, *, draw: Callable[[Scene, Random], T]) -> T:
    """Returns the first draw whose topics the scene has facts for."""
    for _ in range(_MAX_TRIES):
        try:
            return draw(scene, rng)
        except NoSuchFactError:
            continue
    raise NoSuchFactError(f"no group of candidates in {_MAX_TRIES} draws for {scene.contents}")


def _annotate(
    file: PreferenceFile, picture: Picture, *, turn: int, group: Group, rng: Random
) -> list[float]:
    """Returns the candidates' scores and appends their truths."""
    ratings = rated([true_score(candidate.defects) for candidate in group.candidates], rng)
    for index, (candidate, rating) in enumerate(zip(group.candidates, ratings, strict=True)):
        file.truths.append(
            {
                "id": picture.stem,
                "turn": turn,
                "candidate": index,
                "score": true_score(candidate.defects),
                "defects": sorted(candidate.defects),
                "style": candidate.style.value,
                "twin": candidate.twin,
                "annotators": list(rating.annotators),
            }
        )
    return [rating.score for rating in ratings]


def _question_group(scene: Scene, rng: Random) -> Group:
    is_reasoning = rng.random() < _REASONING_SHARE
    topics = draw_reasoning_topics(rng) if is_reasoning else _dialogue_topics(rng)
    style, other_style = rng.sample(ACCEPTABLE, 2)
    facts = draw_facts(topics, [Truth.TRUE] * len(topics), scene=scene, rng=rng)
    candidates = [_asked(facts, style=style, twin=0)]
    candidates += [
        _unanswerable(facts, topics, scene=scene, style=style, rng=rng)
        for _ in range(rng.randint(1, 2))
    ]
    candidates.append(_asked(facts, style=other_style, twin=1))
    if rng.random() < 0.7:
        bad = _unanswerable(facts, topics, scene=scene, style=other_style, rng=rng)
        candidates.append(replace(bad, twin=1))
    candidates += [_made_generic(candidates[0], rng) for _ in range(rng.randint(1, 2))]
    rng.shuffle(candidates)
    return Group(question=None, candidates=tuple(candidates))


def _dialogue_topics(rng: Random) -> tuple[Topic, ...]:
    return draw_dialogue_topics(rng.randint(2, 5), rng)


def _asked(facts: Sequence[Fact], *, style: Style, twin: int) -> Candidate:
    texts = tuple(question(fact, style) for fact in facts)
    return Candidate(texts=texts, style=style, twin=twin, defects=frozenset())


def _unanswerable(
    facts: Sequence[Fact], topics: Sequence[Topic], *, scene: Scene, style: Style, rng: Random
) -> Candidate:
    """Returns the same questions, of which at least half ask about what is not there."""
    truths = draw_flawed(topics, Truth.UNANSWERABLE, rng)
    swapped = [
        fact if truth is Truth.TRUE else draw_fact(topic, scene, truth=truth, rng=rng)
        for fact, topic, truth in zip(facts, topics, truths, strict=True)
    ]
    candidate = _asked(swapped, style=style, twin=0)
    if len(set(candidate.texts)) < len(candidate.texts):
        raise NoSuchFactError("a question stands twice")
    return replace(candidate, defects=frozenset({Defect.UNANSWERABLE_QUESTION}))


def _made_generic(candidate: Candidate, rng: Random) -> Candidate:
    """Returns the good candidate with some questions, or all, that fit any image."""
    num_turns = len(candidate.texts)
    num_generic = rng.randint((num_turns + 1) // 2, num_turns)
    texts = list(candidate.texts)
    places = rng.sample(range(num_turns), num_generic)
    for place, phrase in zip(places, rng.sample(GENERIC, num_generic), strict=True):
        texts[place] = phrase.question
    return replace(
        candidate, texts=tuple(texts), twin=2, defects=frozenset({Defect.GENERIC_QUESTION})
    )


def _answer_groups(scene: Scene, rng: Random) -> tuple[Group, ...]:
    if rng.random() < _DETAIL_SHARE:
        return (_description_group(scene, rng),)
    is_reasoning = rng.random() < _REASONING_SHARE
    topics = (
        draw_reasoning_topics(rng) if is_reasoning else draw_dialogue_topics(rng.randint(1, 2), rng)
    )
    facts = draw_facts(topics, [Truth.TRUE] * len(topics), scene=scene, rng=rng)
    return tuple(_answer_group(fact, scene, rng) for fact in facts)


def _answer_group(fact: SimpleFact, scene: Scene, rng: Random) -> Group:
    def lie() -> Draft:
        other = falsified(fact, scene, rng=rng)
        return Draft(fact=other, defects=frozenset({falsehood(other)}))

    return _answered(Draft(fact=fact, defects=frozenset()), lie, rng)


def _description_group(scene: Scene, rng: Random) -> Group:
    return _answered(true_description(scene), lambda: draw_misdescription(scene, rng=rng), rng)


def _answered(true: Draft, lie: Callable[[], Draft], rng: Random) -> Group:
    """Returns true and false answers to one question, plain and with flaws that the text shows."""
    style, other_style = rng.sample(ACCEPTABLE, 2)
    candidates = [
        _answer(true, style=style, twin=0),
        _answer(lie(), style=style, twin=0),
        _answer(true, style=other_style, twin=1),
    ]
    options = [
        lambda: _answer(lie(), style=style, twin=0),
        lambda: _answer(lie(), style=other_style, twin=1),
        lambda: _answer(true, style=Style.FOREIGN, twin=2),
        lambda: _answer(lie(), style=Style.FOREIGN, twin=2),
        lambda: _rambling(_answer(true, style=style, twin=3), rng),
        lambda: _rambling(_answer(lie(), style=style, twin=3), rng),
        lambda: _refusal(rng),
    ]
    candidates += [option() for option in rng.sample(options, rng.randint(2, 4))]
    rng.shuffle(candidates)
    return Group(question=question(true.fact, style), candidates=tuple(candidates))


def _answer(draft: Draft, *, style: Style, twin: int) -> Candidate:
    foreign = {Defect.FOREIGN_STYLE} if style is Style.FOREIGN else set[Defect]()
    return Candidate(
        texts=(answer(draft.fact, style),), style=style, twin=twin, defects=draft.defects | foreign
    )


def _rambling(candidate: Candidate, rng: Random) -> Candidate:
    return replace(
        candidate,
        texts=(rambling(candidate.texts[0], rng),),
        defects=candidate.defects | {Defect.RAMBLING},
    )


def _refusal(rng: Random) -> Candidate:
    return Candidate(
        texts=(rng.choice(REFUSALS),),
        style=Style.PLAIN,
        twin=4,
        defects=frozenset({Defect.REFUSAL}),
    )
