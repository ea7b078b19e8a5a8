import pytest

from examples.blocks.facts import (
    ColorOf,
    CountOf,
    Description,
    Existence,
    Fact,
    PositionOf,
    Relation,
    RelationOf,
    SameColor,
    SimpleFact,
    Truth,
    WordOnSign,
    holds,
    thing_named,
)
from examples.blocks.scene import Block, Cell, Color, Look, Scene, Shape, Sign, Thing, Word

RED_STAR = Block(Color.RED, Shape.STAR)
BLUE_STAR = Block(Color.BLUE, Shape.STAR)
RED_CIRCLE = Block(Color.RED, Shape.CIRCLE)
GO_SIGN = Sign(Word.GO)
GREEN_CROSS = Block(Color.GREEN, Shape.CROSS)


def scene_of(*things: Thing | None) -> Scene:
    rest = (None,) * (9 - len(things))
    return Scene(
        things=(*things, *rest),
        looks=(Look(dx=0, dy=0, size=0.7),) * 9,
        tints=((240, 240, 240), (240, 240, 240)),
    )


SCENE = scene_of(RED_STAR, None, BLUE_STAR, RED_CIRCLE, GO_SIGN)
TWINS = scene_of(RED_STAR, RED_STAR, Sign(Word.GO), Sign(Word.HI))


def at(thing: Thing, cell: Cell) -> PositionOf:
    return PositionOf(thing, cell)


@pytest.mark.parametrize(
    ("fact", "scene", "truth"),
    [
        (ColorOf(Shape.CIRCLE, Color.RED), SCENE, Truth.TRUE),
        (ColorOf(Shape.CIRCLE, Color.BLUE), SCENE, Truth.FALSE),
        (ColorOf(Shape.CROSS, Color.RED), SCENE, Truth.UNANSWERABLE),
        (ColorOf(Shape.STAR, Color.RED), SCENE, Truth.AMBIGUOUS),
        (CountOf(Shape.STAR, 2), SCENE, Truth.TRUE),
        (CountOf(Shape.STAR, 1), SCENE, Truth.FALSE),
        (CountOf(Shape.CROSS, 1), SCENE, Truth.FALSE),
        (Existence(RED_STAR, exists=True), SCENE, Truth.TRUE),
        (Existence(GREEN_CROSS, exists=True), SCENE, Truth.FALSE),
        (Existence(GREEN_CROSS, exists=False), SCENE, Truth.TRUE),
        (at(GO_SIGN, Cell.CENTER), SCENE, Truth.TRUE),
        (at(GO_SIGN, Cell.TOP), SCENE, Truth.FALSE),
        (at(GREEN_CROSS, Cell.TOP), SCENE, Truth.UNANSWERABLE),
        (at(RED_STAR, Cell.TOP), TWINS, Truth.AMBIGUOUS),
        (WordOnSign(Word.GO), SCENE, Truth.TRUE),
        (WordOnSign(Word.HI), SCENE, Truth.FALSE),
        (WordOnSign(Word.GO), TWINS, Truth.AMBIGUOUS),
        (WordOnSign(Word.GO), scene_of(RED_STAR), Truth.UNANSWERABLE),
        (Description(SCENE.contents), SCENE, Truth.TRUE),
        (Description(SCENE.contents[1:]), SCENE, Truth.FALSE),
        (Description(SCENE.contents), TWINS, Truth.FALSE),
    ],
    ids=str,
)
def test_facts_stand_to_scenes_as_they_should(fact: Fact, scene: Scene, truth: Truth):
    assert fact.truth_in(scene) is truth
    assert holds(fact, scene) is (truth is Truth.TRUE)


def test_a_joint_fact_is_unanswerable_before_it_is_false():
    false, absent = ColorOf(Shape.CIRCLE, Color.BLUE), ColorOf(Shape.CROSS, Color.RED)
    true = ColorOf(Shape.CIRCLE, Color.RED)
    assert SameColor(false, absent).truth_in(SCENE) is Truth.UNANSWERABLE
    assert SameColor(false, true).truth_in(SCENE) is Truth.FALSE
    assert SameColor(true, true).truth_in(SCENE) is Truth.TRUE


@pytest.mark.parametrize(
    ("relation", "verdict"),
    [
        (Relation.LEFT, True),
        (Relation.RIGHT, False),
        (Relation.ABOVE, False),
        (Relation.BELOW, True),
        (Relation.SAME_ROW, False),
        (Relation.SAME_COLUMN, False),
    ],
)
def test_relations_follow_from_positions(relation: Relation, verdict: bool):
    fact = RelationOf(at(RED_CIRCLE, Cell.LEFT), relation, at(BLUE_STAR, Cell.TOP_RIGHT))
    assert fact.verdict is verdict
    assert holds(fact, SCENE)


@pytest.mark.parametrize(
    "fact",
    [
        ColorOf(Shape.CIRCLE, Color.BLUE),
        CountOf(Shape.STAR, 3),
        Existence(RED_STAR, exists=False),
        at(GO_SIGN, Cell.TOP),
        WordOnSign(Word.HI),
        RelationOf(at(GO_SIGN, Cell.TOP), Relation.LEFT, at(RED_CIRCLE, Cell.TOP)),
    ],
    ids=str,
)
def test_corrected_facts_hold_and_answer_the_same_question(fact: SimpleFact):
    corrected = fact.corrected(SCENE)
    assert not holds(fact, SCENE)
    assert holds(corrected, SCENE)
    assert type(corrected) is type(fact)


@pytest.mark.parametrize("thing", [RED_STAR, GO_SIGN, GREEN_CROSS], ids=str)
def test_things_are_found_by_name(thing: Thing):
    assert thing_named(thing.name) == thing
