"""Log lines of texts that a caller may have chosen."""

import io
import logging

import pytest

from align2llava.services.process.log_lines import PlainLines, shown

FORGED = "x\n2026-11-27T00:00:00+0000 [INFO] FORGED \x1b[31m\u202e\u2028end"


@pytest.mark.parametrize("text", ["plain", "\u00fcber \u4e2d \U0001f642", "a\tb"])
def test_ordinary_text_stays(text: str):
    assert shown(text) == text


@pytest.mark.parametrize("has_trace", [False, True])
def test_no_line_of_a_caller_looks_like_one_of_ours(has_trace: bool):
    stream = io.StringIO()
    logger = logging.getLogger("tests.log_lines")
    logger.handlers.clear()
    for _ in range(2):  # a record that meets two handlers is made plain once
        handler = logging.StreamHandler(stream)
        handler.addFilter(PlainLines())
        logger.addHandler(handler)
    if has_trace:
        try:
            int(FORGED)  # its error quotes what it is given
        except ValueError:
            logger.exception("a request failed")
    else:
        logger.error("refused %s", FORGED)
    written = stream.getvalue()
    assert [line for line in written.splitlines() if line.startswith("2026")] == []
    assert has_trace or "\n    | 2026-11-27" in written
    assert not set(written) & set("\x1b\u202e\u2028")
    assert "| |" not in written
