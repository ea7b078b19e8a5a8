from align2llava.services.reward_model.tokens.batches import padded_rows
from align2llava.services.reward_model.tokens.inputs import TokenRow


def test_rows_are_padded_at_the_right_and_the_mask_says_where():
    rows = [TokenRow(ids=(1, 7), truncated=False), TokenRow(ids=(1, 8, 9), truncated=False)]
    ids, mask = padded_rows(rows, pad=3)
    assert ids.tolist() == [[1, 7, 3], [1, 8, 9]]
    assert mask.tolist() == [[1, 1, 0], [1, 1, 1]]
