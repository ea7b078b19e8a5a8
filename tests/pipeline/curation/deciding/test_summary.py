from pathlib import Path

from align2llava.pipeline.curation.deciding.summary import summary_text
from align2llava.pipeline.curation.report.text import report_text
from align2llava.pipeline.curation.report.write import write_report
from tests.pipeline.curation.fake_clients import FakeConnector
from tests.pipeline.curation.small_world import record, records, run, write_world


def test_summary_tells_how_firm_the_cuts_are(tmp_path: Path):
    summary = run(write_world(tmp_path, records(40)), tmp_path / "run")
    assert [(one.stage, one.num_compared, one.rms) for one in summary.noise] == [
        ("question", 16, 0.0),
        ("answer", 12, 0.0),
    ]
    assert {one.num_fragile for one in summary.fragile} == {0}
    lines = summary_text(summary).splitlines()
    assert (
        "question rewards: no noise (16 canaries, 16 comparisons, all equal), so that no decision "
        "is fragile"
    ) in lines


def test_summary_names_what_is_too_small_and_what_trainers_stop_at(tmp_path: Path):
    data = [*records(12), {**record(1), "type": "rare"}]
    messages = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]
    data += [{"id": number, "image": "0.png", "conversations": messages} for number in (97, 98)]
    config = write_world(tmp_path, data)
    summary = run(config, tmp_path / "run", sets=("selection.question_keep=0.4",))
    assert any("question stage: 1 of 3: rare (1 x 0.4);" in one for one in summary.warnings)
    everything = ("selection.question=off", "selection.answer=off", "alignment.rewrite=off")
    whole = run(config, tmp_path / "whole", sets=everything)
    (warning,) = whole.warnings
    assert warning == (
        "records with an image and no <image>: 2 (at 13, 14); many trainers stop there"
    )
    assert f"warning: {warning}" in summary_text(whole)


def test_summary_without_canaries_says_that_noise_was_not_measured(tmp_path: Path):
    config = write_world(tmp_path, records(12))
    summary = run(config, tmp_path / "run", sets=("run.canaries=0",))
    assert not summary.noise
    assert {one.num_fragile for one in summary.fragile} == {None}
    text = summary_text(summary)
    assert "question rewards: noise was not measured, as no canary was compared" in text


def test_summary_ends_with_warnings_the_dataset_and_what_to_do_next(tmp_path: Path):
    data = [record(number, question="[[unparsed]] What is") for number in range(40)]
    connector = FakeConnector(purpose="pictures of coloured shapes")
    summary = run(write_world(tmp_path, data), tmp_path / "run", connector=connector)
    text = summary_text(summary)
    rewrites, gated = "rewrites: 0 of 4 turns rewritten, 4 gated (unparsed 4)", {"parsed": 4}
    assert rewrites in text.splitlines()
    assert summary.gated == gated
    of_models, of_rewrites = [line for line in text.splitlines() if line.startswith("warning: ")]
    assert "question reward, answer reward and inner llm: the model's card says" in of_models
    assert "is for pictures of coloured shapes" in of_models
    assert "4 of 4 rewrites did not pass the gates (unparsed 4)" in of_rewrites
    assert f"dataset: {tmp_path}/run/dataset/train.json" in text.splitlines()
    for word in ("report/index.html", "report/records.html", "a2l explain", "a2l export"):
        assert word in text
    page = (tmp_path / "run/report/index.html").read_text("utf-8")
    assert "is for pictures of coloured shapes" in page
    assert "4 of 4 rewrites did not pass the gates" in page
    assert of_rewrites in report_text(write_report(tmp_path / "run").figures)


def test_summary_of_a_run_that_fits_has_no_warning(tmp_path: Path):
    summary = run(write_world(tmp_path, records(40)), tmp_path / "run")
    assert not summary.cautions
    assert "warning" not in summary_text(summary)
