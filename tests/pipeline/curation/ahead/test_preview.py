import tempfile
from pathlib import Path

import pytest

from align2llava.pipeline.config.schema import load_config
from align2llava.pipeline.curation.ahead.preview import Preview, preview
from align2llava.pipeline.curation.ahead.preview_text import preview_text
from align2llava.pipeline.errors import EndpointError
from align2llava.pipeline.process.progress import LineProgress
from tests.pipeline.curation.fake_clients import Calls, FakeConnector
from tests.pipeline.curation.small_world import record, records, write_world

KEEP_ALL = ("selection.question_keep=1", "selection.answer_keep=1")


def previewed(
    config: Path, size: int, *sets: str, connector: FakeConnector | None = None
) -> Preview:
    return preview(
        load_config(config, sets=sets),
        size=size,
        connector=connector or FakeConnector(),
        api_key=None,
        progress=LineProgress(),
    )


def test_preview_spends_no_more_than_its_sample(tmp_path: Path):
    connector = FakeConnector()
    found = previewed(write_world(tmp_path, records(200)), 10, connector=connector)
    scored = {name.split("/")[0] for name in connector.calls.asked if not name.startswith("review")}
    assert scored <= {one.uid for one in found.records}
    assert len(found.records) == 10
    assert found.num_input == 200
    assert {one.type: one.num_input for one in found.types} == {
        "conversation": 133,
        "complex_reasoning": 67,
    }


def test_positions_are_those_of_the_input(tmp_path: Path):
    data = records(60)
    found = previewed(write_world(tmp_path, data), 12)
    assert any(one.position > 12 for one in found.records)
    assert all(str(data[one.position]["id"]) == one.id for one in found.records)


def test_kept_records_come_first_with_their_rewrites(tmp_path: Path):
    found = previewed(write_world(tmp_path, records(90)), 30)
    for kind in ("conversation", "complex_reasoning"):
        of_type = [one.decision for one in found.records if one.type == kind]
        assert of_type == sorted(of_type, reverse=True)  # kept, dropped
        assert "kept" in of_type
    kept = [one for one in found.records if one.decision == "kept"]
    assert all(len(one.rewrites) == len(one.turns) for one in kept)


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    config = write_world(tmp_path, records(20))
    previewed(config, 5)
    calls = Calls(fail_after=0)
    with pytest.raises(EndpointError):
        previewed(
            config,
            5,
            "endpoints.question_reward.timeout_s=0.05",
            connector=FakeConnector(calls=calls),
        )
    assert not list((tmp_path / "temporary").iterdir())


def test_text_shows_rewards_and_the_rewrite_beside_the_original(tmp_path: Path):
    config = write_world(tmp_path, [record(1, answer=["It is red.", "It is blue."])])
    text = preview_text(previewed(config, 5, *KEEP_ALL), width=100)
    assert "KEPT  complex_reasoning  position 0  id 1" in text
    assert "A[1]  It is blue." in text
    assert text.count("      reward ") == 2
    (row,) = [line for line in text.splitlines() if "| A So: It is" in line]
    left, _, right = row.partition(" | ")
    assert right.strip() == f"A So: {left.strip().removeprefix('A ')}"
    assert max(map(len, text.splitlines())) <= 100


def test_text_says_that_shares_of_a_small_sample_are_coarse(tmp_path: Path):
    config = write_world(tmp_path, records(20))
    text = preview_text(previewed(config, 5), width=200)
    assert "coarse: question_keep 0.3 and answer_keep 0.3" in text
    off = ("selection.question=off", "selection.answer=off")
    assert "coarse" not in preview_text(previewed(config, 5, *off), width=200)


def test_quarantined_record_is_shown_as_it_stands(tmp_path: Path):
    config = write_world(tmp_path, [*records(5), {"id": 9, "conversations": []}])
    text = preview_text(previewed(config, 6), width=80)
    assert "QUARANTINED  unknown  position 5" in text
    assert '"conversations": []' in text.replace("\n", " ")


def test_terminal_obeys_no_record(tmp_path: Path):
    config = write_world(tmp_path, [record(1, answer="red \x1b[2J blue")])
    assert "\x1b" not in preview_text(previewed(config, 1, *KEEP_ALL), width=80)


def test_preview_warns_of_models_made_for_other_data_and_of_lost_rewrites(tmp_path: Path):
    data = [record(number, question="[[unparsed]] What is") for number in range(20)]
    connector = FakeConnector(purpose="pictures of coloured shapes")
    found = previewed(write_world(tmp_path, data), 8, *KEEP_ALL, connector=connector)
    text = preview_text(found, width=400)
    assert "rewrites: 0 of 8 turns rewritten, 8 gated (unparsed 8)" in text
    assert "is for pictures of coloured shapes" in text
    assert "warning: 8 of 8 rewrites did not pass the gates (unparsed 8)" in text
