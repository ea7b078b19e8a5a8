"""Fills the report's examples with texts and small images; reads image files, under their root only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from align2llava.clients.wire.decoding import ImageDataError
from align2llava.pipeline.config.schema import InputConfig
from align2llava.pipeline.curation.faults import Fault
from align2llava.pipeline.curation.figures.examples import Band, ExampleRow
from align2llava.pipeline.curation.figures.truth import Truth, TruthTable
from align2llava.pipeline.curation.input.images import find_image
from align2llava.pipeline.curation.input.records import Record
from align2llava.pipeline.curation.layout import RewardStage
from align2llava.pipeline.curation.report.thumbnails import Thumbnail, thumbnail
from align2llava.pipeline.image_files import image_bytes

MAX_TURNS = 2
MAX_CHARS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTurn:
    """One turn as the stage saw it: the question stage sees no answers."""

    question: str
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleCard:
    """One record of a band."""

    row: ExampleRow
    turns: tuple[ShownTurn, ...]
    num_more_turns: int
    picture: Thumbnail | None
    alt: str
    truth: Truth | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BandCards:
    """The cards of one band; `is_passed` = above the cut."""

    band: Band
    is_passed: bool
    cards: tuple[ExampleCard, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeCards:
    """The bands of one stage and type, best first."""

    stage: RewardStage
    type: str
    bands: tuple[BandCards, ...]


def example_cards(
    rows: Sequence[ExampleRow],
    records: Mapping[int, Record],
    *,
    config: InputConfig,
    truth: TruthTable | None,
) -> list[TypeCards]:
    """Returns the cards, stage by stage; a record that is not in `records` is left out."""
    pictures = _Pictures(config)
    groups = dict.fromkeys((row.stage, row.type) for row in rows)
    cards = [
        _card(row, records[row.position], picture=pictures.of(records[row.position]), truth=truth)
        for row in rows
        if row.position in records
    ]
    return [
        TypeCards(
            stage=stage,
            type=name,
            bands=tuple(
                BandCards(
                    band=band,
                    is_passed=band in {Band.TOP, Band.ABOVE},
                    cards=tuple(
                        card
                        for card in cards
                        if (card.row.stage, card.row.type, card.row.band) == (stage, name, band)
                    ),
                )
                for band in Band
            ),
        )
        for stage, name in groups
    ]


class _Pictures:
    """Thumbnails by image name, each made once."""

    def __init__(self, config: InputConfig) -> None:
        self._config = config
        self._made: dict[str, Thumbnail | None] = {}

    def of(self, record: Record) -> Thumbnail | None:
        if record.image is None:
            return None
        if record.image not in self._made:
            self._made[record.image] = self._make(record.image)
        return self._made[record.image]

    def _make(self, name: str) -> Thumbnail | None:
        config = self._config
        path = find_image(name, root=config.images_root, link_roots=config.link_roots)
        if isinstance(path, Fault):
            return None
        try:
            return thumbnail(image_bytes(path, max_bytes=config.max_image_bytes))
        except (OSError, ImageDataError):
            return None  # it may not be read any more, or have grown; the page says "no image"


def _card(
    row: ExampleRow, record: Record, *, picture: Thumbnail | None, truth: TruthTable | None
) -> ExampleCard:
    shown = tuple(
        ShownTurn(
            question=shortened(turn.question),
            answer=None if row.stage is RewardStage.QUESTION else shortened(turn.answers[0]),
        )
        for turn in record.turns[:MAX_TURNS]
    )
    return ExampleCard(
        row=row,
        turns=shown,
        num_more_turns=len(record.turns) - len(shown),
        picture=picture,
        alt=f"Image {record.image} of record {row.id}, {row.band} of {row.type}",
        truth=None if truth is None else truth.get((row.id, row.type)),
    )


def shortened(text: str) -> str:
    """Returns the text, cut to `MAX_CHARS` characters with three dots where it is longer."""
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 3].rstrip() + "..."
