"""The wording of every kind of fact in every style: templates only, read by `language`.

A slot stands at most once in a template. Few different words, so that small models cope.
"""

from dataclasses import dataclass
from enum import StrEnum

from examples.blocks.facts import Kind


class Style(StrEnum):
    """Ways of writing. A foreign answer is a defect; the other three are acceptable."""

    NATIVE = "native"  # the inner LLM's own
    PLAIN = "plain"
    CHATTY = "chatty"
    FOREIGN = "foreign"


ACCEPTABLE = (Style.NATIVE, Style.PLAIN, Style.CHATTY)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A question template and an answer template."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """How a description is written: every thing in turn, with its cell.

    The questions are LLaVA's own templates, by which a record's type is known to be `detail`.
    """

    question: str
    opening: str
    item: str
    separator: str
    closing: str


PHRASES: dict[Kind, dict[Style, Phrase]] = {
    Kind.COLOR: {
        Style.NATIVE: Phrase("What color is the {shape}?", "The {shape} is {color}."),
        Style.PLAIN: Phrase("Tell me the color of the {shape}.", "Its color is {color}."),
        Style.CHATTY: Phrase(
            "Can you see which color the {shape} has?", "Sure, the {shape} has the color {color}."
        ),
        Style.FOREIGN: Phrase(
            "Kindly state the hue of the {shape}.",
            "It is hereby declared that the aforementioned {shape} exhibits a most {color} hue.",
        ),
    },
    Kind.COUNT: {
        Style.NATIVE: Phrase("How many {shapes} are there?", "There {are} {count} {counted}."),
        Style.PLAIN: Phrase("Tell me the number of {shapes}.", "I count {count} {counted}."),
        Style.CHATTY: Phrase(
            "Can you count the {shapes} for me?", "Sure, I can see {count} {counted}."
        ),
        Style.FOREIGN: Phrase(
            "Kindly state the quantity of {shapes}.",
            "It is hereby declared that the total quantity amounts to {count} {counted}.",
        ),
    },
    Kind.EXISTENCE: {
        Style.NATIVE: Phrase("Is there a {thing}?", "{yes}, there is {a} {thing}."),
        Style.PLAIN: Phrase("Does the image show a {thing}?", "{yes}, it shows {a} {thing}."),
        Style.CHATTY: Phrase("Can you see a {thing}?", "{yes}, I can see {a} {thing} here."),
        Style.FOREIGN: Phrase(
            "Kindly state the presence of a {thing}.",
            "{yes}, it is hereby declared that the composition exhibits {a} {thing} whatsoever.",
        ),
    },
    Kind.POSITION: {
        Style.NATIVE: Phrase("Where is the {thing}?", "The {thing} is at the {cell}."),
        Style.PLAIN: Phrase("Tell me the place of the {thing}.", "Its place is the {cell}."),
        Style.CHATTY: Phrase(
            "Can you see where the {thing} is?", "Sure, you find the {thing} at the {cell}."
        ),
        Style.FOREIGN: Phrase(
            "Kindly state the location of the {thing}.",
            "It is hereby declared that the aforementioned {thing} resides in the {cell} region.",
        ),
    },
    Kind.WORD: {
        Style.NATIVE: Phrase("What does the sign say?", "The sign says {word}."),
        Style.PLAIN: Phrase("Tell me the word on the sign.", "Its word is {word}."),
        Style.CHATTY: Phrase(
            "Can you read the sign for me?", "Sure, you can read {word} on the sign."
        ),
        Style.FOREIGN: Phrase(
            "Kindly state the inscription.",
            "It is hereby declared that the aforementioned inscription proclaims {word} proudly.",
        ),
    },
    Kind.SAME_COLOR: {
        Style.NATIVE: Phrase(
            "Are the {first} and the {second} the same color?",
            "{yes}, the {first} is {first_color} and the {second} is {second_color}.",
        ),
        Style.PLAIN: Phrase(
            "Tell me if the {first} and the {second} share one color.",
            "{yes}, since the first is {first_color} and the second is {second_color}.",
        ),
        Style.CHATTY: Phrase(
            "Can you see if the {first} has the color of the {second}?",
            "{yes}, you see the {first} is {first_color} but look, the {second} is {second_color}.",
        ),
        Style.FOREIGN: Phrase(
            "Kindly state whether the hue of the {first} equals the hue of the {second}.",
            "{yes}, it is hereby declared that the {first} exhibits a {first_color} hue whereas "
            "the {second} exhibits a {second_color} hue.",
        ),
    },
    Kind.RELATION: {
        Style.NATIVE: Phrase(
            "Is the {first_thing} {relation} the {second_thing}?",
            "{yes}, the {first_thing} is at the {first_cell} and the {second_thing} is at the "
            "{second_cell}.",
        ),
        Style.PLAIN: Phrase(
            "Tell me if the {first_thing} is {relation} the {second_thing}.",
            "{yes}, since the first is at the {first_cell} and the second is at the {second_cell}.",
        ),
        Style.CHATTY: Phrase(
            "Can you see if the {first_thing} lies {relation} the {second_thing}?",
            "{yes}, you find the {first_thing} at the {first_cell} but look, the {second_thing} "
            "is at the {second_cell}.",
        ),
        Style.FOREIGN: Phrase(
            "Kindly state whether the {first_thing} resides {relation} the {second_thing}.",
            "{yes}, it is hereby declared that the {first_thing} resides in the {first_cell} "
            "region whereas the {second_thing} resides in the {second_cell} region.",
        ),
    },
}

LISTINGS: dict[Style, Listing] = {
    Style.NATIVE: Listing(
        question="Describe the following image.",
        opening="",
        item="A {thing} is at the {cell}",
        separator=". ",
        closing=".",
    ),
    Style.PLAIN: Listing(
        question="Give a short and clear explanation of the subsequent image.",
        opening="The image shows ",
        item="a {thing} at the {cell}",
        separator=", ",
        closing=".",
    ),
    Style.CHATTY: Listing(
        question="What do you see happening in this image?",
        opening="Sure, I can see these things: ",
        item="at the {cell} a {thing}",
        separator="; ",
        closing=".",
    ),
    Style.FOREIGN: Listing(
        question="Write a detailed description of the given image.",
        opening="It is hereby declared that the composition exhibits: ",
        item="one {thing} in the {cell} region",
        separator=", ",
        closing=", and nothing else whatsoever.",
    ),
}

# Questions that fit any image, with answers that say nothing.
GENERIC: tuple[Phrase, ...] = (
    Phrase("What do you think of this?", "I think it is nice."),
    Phrase("Is this a good picture?", "Yes, it is a good picture."),
    Phrase("What can you tell me?", "I can tell you it is a picture."),
    Phrase("Why was this picture made?", "I think it was made for fun."),
    Phrase("Do you like this picture?", "Yes, I like it."),
    Phrase("What is this all about?", "It is all about things."),
)

REFUSALS: tuple[str, ...] = (
    "Sorry, I can not help with this.",
    "Sorry, I do not know what to say.",
    "I do not like to answer this.",
)

# Sentences that say nothing; a rambling answer holds several after a true one.
FILLERS: tuple[str, ...] = (
    "Well, as I said, this is what I think.",
    "There is a lot more to say about such things.",
    "Some people like things like this a lot.",
    "As I said, I think so, and so do some people.",
    "Well, who can say why this was made.",
    "It was all made for fun, I think, as you know.",
)
