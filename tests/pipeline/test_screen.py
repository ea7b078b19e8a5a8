"""What is printed: cleaned of what a terminal obeys, and no run ends because nobody can read it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from align2llava.pipeline.screen import shown, shown_json

SPEAKS = """
import sys
from align2llava.pipeline.screen import lasting_streams, say, tell
with lasting_streams():
    tell("a word")
    say("x" * 100_000)
    sys.exit(7)
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x1b[2Jb", "a?[2Jb"),
        ("a\rb", "a?b"),
        ("\x9b31m", "?31m"),
        ("\x85\x1c\x7f\x00", "????"),
        ("a\u202eb\u2066", "a?b?"),
        ("\u2028\ud800", "??"),
        ("a\n\tb", "a\n\tb"),
        ("\u4f60\u200d\u00a0\U0001f600", "\u4f60\u200d\u00a0\U0001f600"),
    ],
    ids=["escape", "return", "c1", "controls", "bidi", "separators", "layout", "letters"],
)
def test_what_a_terminal_obeys_is_replaced_one_by_one(text: str, expected: str):
    assert shown(text) == expected


def test_json_keeps_its_value():
    value = {"a": "\x1b[2J\x9b\u202e\U000e0001\u4f60"}
    text = shown_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert "\x9b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize(
    ("redirection", "status"),
    [
        ("2>/dev/full >/dev/null", 7),
        ("2>&- >/dev/null", 7),
        (">&- 2>/dev/null", 7),
        (">&- 2>&- <&-", 7),
        ("2>/dev/null | head -c 1 >/dev/null", 7),
        ("2>/dev/null >/dev/full", 1),
    ],
    ids=["stderr full", "stderr closed", "stdout closed", "all closed", "reader gone", "disk full"],
)
def test_a_stream_that_is_gone_decides_nothing_but_a_full_stdout(
    tmp_path: Path, redirection: str, status: int
):
    script = tmp_path / "speaks.py"
    script.write_text(SPEAKS)
    before, _, after = redirection.partition("|")
    line = f'"$0" "$1" {before}' + (f"| {after}; exit ${{PIPESTATUS[0]}}" if after else "")
    done = subprocess.run(["bash", "-c", line, sys.executable, script], check=False)
    assert done.returncode == status


def test_file_opened_by_a_run_takes_no_place_of_a_stream_that_was_closed(tmp_path: Path):
    code = f"""
from align2llava.pipeline.screen import lasting_streams
with lasting_streams():
    file = open({str(tmp_path / "a")!r}, "w")
    assert file.fileno() > 2
"""
    done = subprocess.run(["bash", "-c", '"$0" -c "$1" 2>&-', sys.executable, code], check=False)
    assert done.returncode == 0
