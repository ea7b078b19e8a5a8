"""Drafts the facts of a dialogue or a description, true or flawed, for one scene. Words come later."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from examples.blocks.defects import Defect
from examples.blocks.facts import Description, Fact, Kind, SimpleFact, Truth
from examples.blocks.language import question
from examples.blocks.phrases import Style
from examples.blocks.sampling import (
    DIALOGUE,
    PRESUPPOSING,
    REASONING,
    Makeup,
    NoSuchFactError,
    Topic,
    described,
    draw_fact,
    draw_topic,
    inventing,
    makeup_of,
    omitting,
    redescribed,
)
from examples.blocks.scene import Scene

_MAX_REPEATS = 20

# As often as any scene can answer, or fail to answer, different questions of the kind.
_MOST_OF_DIALOGUE = (*DIALOGUE, Kind.COLOR, Kind.POSITION, Kind.EXISTENCE)

# How many things scenes hold; follows from `draw_scene`.
SIZE_SHARES: dict[int, float] = {3: 2 / 15, 4: 4 / 15, 5: 5 / 15, 6: 4 / 15}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A fact and what is wrong with stating it."""

    fact: Fact
    defects: frozenset[Defect]


def draw_dialogue_topics(num_turns: int, rng: Random) -> tuple[Topic, ...]:
    """Returns topics of which at least one can be unanswerable."""
    first = rng.choice(PRESUPPOSING)
    others = list(_MOST_OF_DIALOGUE)
    others.remove(first)
    kinds = [first, *rng.sample(others, num_turns - 1)]
    rng.shuffle(kinds)
    return tuple(draw_topic(kind, rng) for kind in kinds)


def draw_reasoning_topics(rng: Random) -> tuple[Topic, ...]:
    """Returns the one topic of a reasoning question."""
    return (draw_topic(rng.choice(REASONING), rng),)


def can_be_unanswerable(topic: Topic) -> bool:
    """Tells whether questions of the topic presuppose something."""
    return topic.kind in (*PRESUPPOSING, *REASONING)


def draw_flawed(topics: Sequence[Topic], truth: Truth, rng: Random) -> tuple[Truth, ...]:
    """Returns `truth` for at least half of the turns that can have it, and true for the others."""
    able = [
        index
        for index, topic in enumerate(topics)
        if truth is not Truth.UNANSWERABLE or can_be_unanswerable(topic)
    ]
    num_flawed = rng.randint((len(able) + 1) // 2, len(able))
    flawed = set(rng.sample(able, num_flawed))
    return tuple(truth if index in flawed else Truth.TRUE for index in range(len(topics)))


def draw_facts(
    topics: Sequence[Topic], truths: Sequence[Truth], *, scene: Scene, rng: Random
) -> tuple[SimpleFact, ...]:
    """Returns facts of the topics that stand to the scene as wanted; no question comes twice.

    Raises:
        NoSuchFactError: the scene does not have them; another may.
    """
    facts: list[SimpleFact] = []
    asked: set[str] = set()
    for topic, truth in zip(topics, truths, strict=True):
        fact = _draw_unasked(topic, truth, scene=scene, asked=asked, rng=rng)
        asked.add(question(fact, Style.NATIVE))
        facts.append(fact)
    return tuple(facts)


def draft_description(makeup: Makeup, *, scene: Scene, rng: Random) -> Draft:
    """Returns a false description with as many blocks and signs as `makeup` says.

    It omits from a scene that has more, invents in one that has less, and else gets things wrong.

    Raises:
        NoSuchFactError: the scene has no such description; another may.
    """
    num_things = makeup.num_blocks + makeup.num_signs
    surplus = len(scene.contents) - num_things
    if surplus > 0:
        fact, defect = omitting(scene, num_left=num_things, rng=rng), Defect.OMISSION
    elif surplus < 0:
        fact, defect = inventing(scene, num_added=-surplus, rng=rng), Defect.INVENTED_OBJECT
    else:
        fact, defect = _reworked(scene, rng), Defect.WRONG_ANSWER
    if makeup_of(fact.contents) != makeup:
        raise NoSuchFactError(f"the description of this scene has not {makeup}")
    return Draft(fact=fact, defects=frozenset({defect}))


def draw_falsehood(makeup: Makeup, rng: Random) -> int:
    """Returns how many things a scene to be misdescribed has: as many, one more or one less."""
    num_things = makeup.num_blocks + makeup.num_signs
    able = [num for num in (num_things - 1, num_things, num_things + 1) if num in SIZE_SHARES]
    return rng.choices(able, [SIZE_SHARES[num] for num in able])[0]


def draw_misdescription(scene: Scene, *, rng: Random) -> Draft:
    """Returns a false description: one thing left out, one invented, or some wrong.

    Of two lengths neither is likelier to be the true one: a scene of n things gets a description
    of m as often as the reverse.
    """
    num_things = len(scene.contents)
    fewer, more = SIZE_SHARES.get(num_things - 1, 0.0), SIZE_SHARES.get(num_things + 1, 0.0)
    lot = rng.random()
    try:
        if lot < fewer:
            omitted = omitting(scene, num_left=num_things - 1, rng=rng)
            return Draft(fact=omitted, defects=frozenset({Defect.OMISSION}))
        if lot < fewer + more:
            invented = inventing(scene, num_added=1, rng=rng)
            return Draft(fact=invented, defects=frozenset({Defect.INVENTED_OBJECT}))
    except NoSuchFactError:
        pass
    return Draft(fact=_reworked(scene, rng), defects=frozenset({Defect.WRONG_ANSWER}))


def true_description(scene: Scene) -> Draft:
    """Returns the description without defects."""
    return Draft(fact=described(scene), defects=frozenset())


def _reworked(scene: Scene, rng: Random) -> Description:
    num_wrong = rng.randint(1, (len(scene.contents) + 1) // 2)
    return redescribed(scene, num_wrong=num_wrong, rng=rng)


def _draw_unasked(
    topic: Topic, truth: Truth, *, scene: Scene, asked: set[str], rng: Random
) -> SimpleFact:
    for _ in range(_MAX_REPEATS):
        fact = draw_fact(topic, scene, truth=truth, rng=rng)
        if question(fact, Style.NATIVE) not in asked:
            return fact
    raise NoSuchFactError(f"every {topic.kind} question of this scene is asked")
