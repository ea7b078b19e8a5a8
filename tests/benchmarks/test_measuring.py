import json
from pathlib import Path

import pytest

from benchmarks.measuring import NotRun, Report, at_least, at_most, percentile, table


def report() -> Report:
    made = Report("speed", is_quick=True)
    made.add_row({"engine": "tree", "samples_per_s": 12.345678})
    made.add_row({"engine": "padded", "seconds": 1234.5})
    made.add_claim("tree is fast", at_least(0.93, 0.9))
    made.add_claim("tree is small", at_most(3.0, 2.0))
    made.add_claim("tree on a GPU", NotRun(why="no GPU here"))
    return made


def test_result_has_what_the_design_promises(tmp_path: Path):
    out = tmp_path / "deep" / "speed.json"
    report().finish(out)
    result = json.loads(out.read_text())
    assert {"name", "date", "machine", "versions", "rows", "claims"} <= set(result)
    assert result["rows"][0] == {"engine": "tree", "samples_per_s": 12.345678}
    assert result["claims"] == {
        "tree is fast": {"value": 0.93, "goal": ">= 0.9", "holds": True},
        "tree is small": {"value": 3.0, "goal": "<= 2", "holds": False},
        "tree on a GPU": {"holds": None, "why": "no GPU here"},
    }


def test_finish_prints_every_row_and_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    report().finish(tmp_path / "speed.json")
    printed = capsys.readouterr().out
    assert "12.35" in printed
    assert "short    tree is small: 3 (goal <= 2)" in printed
    assert "not run  tree on a GPU: no GPU here" in printed


def test_table_has_a_column_for_every_name():
    lines = table([{"engine": "tree", "x": 1}, {"engine": "padded", "y": None}]).splitlines()
    assert lines[0].split() == ["engine", "x", "y"]
    assert lines[3].split() == ["padded", "-", "-"]


def test_number_that_is_not_finite_is_never_written(tmp_path: Path):
    broken = Report("speed", is_quick=True)
    broken.add_row({"seconds": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        broken.finish(tmp_path / "speed.json")


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.75, 3), (0.95, 4), (0.0, 1)])
def test_percentile_is_a_value_of_the_list(share: float, value: float):
    assert percentile([4, 2, 1, 3], share) == value


def test_percentile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)
