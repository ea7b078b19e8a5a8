"""A report of pytest becomes a row that hides no failure and no skip."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks.suites import MODES, read_report, row

TESTS = """
import pytest

@pytest.fixture
def broken():
    raise OSError("it is broken")

@pytest.mark.parametrize("n", [1, 2, 3])
def test_holds(n): pass

def test_fails(): assert False

def test_cannot_begin(broken): pass

def test_is_skipped(): pytest.skip("no such device")
"""


@pytest.mark.timeout(60)
def test_failures_errors_and_skips_of_a_report_stand_in_the_row(tmp_path: Path):
    (tmp_path / "test_some.py").write_text(TESTS)
    report = tmp_path / "report.xml"
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_some.py")
    done = subprocess.run((*command, f"--junitxml={report}"), cwd=tmp_path, check=False)
    assert done.returncode == 1
    made = row("some", read_report(report), seconds=1.5, note="three kinds")
    assert (made.tried, made.uncaught, made.is_held) == (5, 2, False)
    assert made.note == (
        "three kinds; 2 failed: test_fails, test_cannot_begin; "
        "1 skipped: test_is_skipped: no such device"
    )


def test_services_lie_in_fifty_ways_and_more():
    assert len(MODES) == len(set(MODES)) >= 50
