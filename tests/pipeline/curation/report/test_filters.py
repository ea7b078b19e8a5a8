from align2llava.pipeline.curation.figures.decisions import LengthDecile, counts_by_type
from align2llava.pipeline.curation.report.filters import (
    OUTCOMES,
    fixed,
    outcome,
    share_list,
    tallest_share,
)
from tests.pipeline.curation.tables import decisions_table


def test_coordinates_have_two_decimals_at_most():
    assert [fixed(12.500), fixed(3.0)] == ["12.5", "3"]


def test_outcomes_of_a_type_add_up_to_its_input():
    reasons = ["kept", "below_question_cut", "below_answer_cut", "text_only", "internal"]
    (counts,) = counts_by_type(decisions_table([{"reason": reason} for reason in reasons]))
    assert sum(outcome(counts, kind) for kind, _ in OUTCOMES) == counts.input


def test_shares_of_deciles_are_listed_and_the_tallest_found():
    deciles = [
        LengthDecile(lowest_words=1, highest_words=2, num_records=10, num_kept=kept)
        for kept in (1, 4)
    ]
    assert share_list(deciles) == "10.0 %, 40.0 %"
    assert tallest_share(deciles) == 0.4
    assert tallest_share([]) is None
