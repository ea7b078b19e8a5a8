"""Shows what the text alone gives away: `python -m examples.blocks.text_baseline [--data DIR]`.

A bag-of-words classifier, split by image, tells good records from bad ones; it must fail where
only the image shows the defect. Needs scikit-learn; evaluation only.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from examples.blocks.defects import IMAGE_DEPENDENT, Defect, is_image_dependent_only

_NUM_FOLDS = 5
_WORD_OR_MARK = r"\w+|[^\w\s]"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledText:
    """All text of one record, its image and its defects."""

    image: str
    text: str
    defects: frozenset[Defect]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBaseline:
    """Balanced accuracy on held-out images against good records; 0.5 is chance."""

    image_dependent: float  # bad records without a defect that the text shows
    text_visible: float  # the other bad records


def main() -> None:
    """Prints both figures."""
    parser = argparse.ArgumentParser(description="Shows what the text alone gives away.")
    parser.add_argument("--data", type=Path, default=Path(__file__).parent)
    texts = read_texts(parser.parse_args().data)
    measured = measure(texts)
    num_good = sum(not text.defects for text in texts)
    print(f"records                              {len(texts)}, of which {num_good} are good")
    print("balanced accuracy of a bag of words on held-out images, good records against")
    print(f"  image-dependent defects only       {measured.image_dependent:.3f}")
    print(f"  defects that the text shows        {measured.text_visible:.3f}")


def read_texts(data: Path) -> list[LabelledText]:
    """Reads raw.json and truth.jsonl; each record is of the type its truth line says."""
    records = json.loads((data / "raw.json").read_text(encoding="utf-8"))
    lines = (data / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        LabelledText(
            image=record["image"],
            text=" ".join(turn["value"].replace("<image>", "") for turn in record["conversations"]),
            defects=frozenset(Defect(name) for name in truth["defects"]),
        )
        for record, truth in zip(records, map(json.loads, lines), strict=True)
    ]


def measure(texts: Sequence[LabelledText]) -> TextBaseline:
    """Returns both figures over five folds, no image in two of them."""
    good = [text for text in texts if not text.defects]
    image_only = [text for text in texts if is_image_dependent_only(text.defects)]
    visible = [text for text in texts if text.defects - IMAGE_DEPENDENT]
    return TextBaseline(
        image_dependent=_balanced_accuracy(good, image_only),
        text_visible=_balanced_accuracy(good, visible),
    )


def _balanced_accuracy(good: Sequence[LabelledText], bad: Sequence[LabelledText]) -> float:
    rows = [*good, *bad]
    labels = [1] * len(good) + [0] * len(bad)
    classifier = make_pipeline(
        CountVectorizer(ngram_range=(1, 2), token_pattern=_WORD_OR_MARK, lowercase=False),
        LogisticRegression(class_weight="balanced", solver="liblinear"),
    )
    predicted = cross_val_predict(
        classifier,
        [row.text for row in rows],
        labels,
        groups=[row.image for row in rows],
        cv=GroupKFold(_NUM_FOLDS),
    )
    return float(balanced_accuracy_score(labels, predicted))


if __name__ == "__main__":
    main()
