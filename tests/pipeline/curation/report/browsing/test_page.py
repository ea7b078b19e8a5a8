import base64
import hashlib
import re
import time
from pathlib import Path

import pytest

from align2llava.pipeline.curation.layout import RunPaths
from align2llava.pipeline.curation.report.browsing.page import BrowsedRun, render_records_page
from align2llava.pipeline.curation.report.write import write_report
from tests.pipeline.curation.browser import Browser, chromium_path, open_browser
from tests.pipeline.curation.report.test_write import HOSTILE
from tests.pipeline.curation.run_fixture import RunFixture, make_run

PAGE = render_records_page(BrowsedRun(name="a <b> & c", num_records=3, images="../../x y/\udcff"))


def test_policy_names_the_pages_own_script_and_no_address():
    script = re.findall(r"<script>(.*?)</script>", PAGE, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', PAGE)[0]
    assert f"script-src 'self' file: 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src 'self' file: data:;")
    assert "http" not in policy
    assert "unsafe-inline'; script" in policy  # of styles alone


def test_script_writes_no_markup():
    script = re.findall(r"<script>(.*?)</script>", PAGE, re.DOTALL)[0]
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write", "http"):
        assert word not in script
    assert not re.search(r"url\(|@import", PAGE)


def test_names_of_the_run_are_escaped():
    assert "a &lt;b&gt; &amp; c" in PAGE
    assert "../../x%20y/%FF/" in PAGE


def open_records(browser: Browser, fixture: RunFixture, address: str, *, width: int, dark: bool):
    page = RunPaths(fixture.run).records_page.resolve()

    class _Place:
        def as_uri(self) -> str:
            return page.as_uri() + address

    browser.open(_Place(), width=width, dark=dark)  # type: ignore[arg-type]
    wait_for(browser, "document.body.dataset.ready === 'yes'")


def wait_for(browser: Browser, what: str) -> None:
    last = time.monotonic() + 60
    while not browser.evaluate(what):
        assert time.monotonic() < last, (what, browser.evaluate("document.body.innerText"))
        time.sleep(0.05)


def chosen(browser: Browser, control: str, value: str, told: str) -> None:
    event = "input" if control == "query" else "change"
    browser.evaluate(
        f"(() => {{ const c = document.getElementById('{control}'); c.value = {value!r}; "
        f"c.dispatchEvent(new Event('{event}')); }})()"
    )
    wait_for(browser, f"document.getElementById('status').textContent.startsWith({told!r})")


CARDS = "document.querySelectorAll('article').length"
STATUS = "document.getElementById('status').textContent"
FIRST = "document.querySelector('article').id"


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(chromium_path() is None, reason="Chromium is not installed")
@pytest.mark.parametrize(
    ("width", "dark"), [(1400, False), (390, True)], ids=["desktop, light", "phone, dark"]
)
def test_browser_filters_searches_and_sorts_every_record(tmp_path: Path, width: int, *, dark: bool):
    fixture = make_run(tmp_path, num_records=600, hostile=HOSTILE)
    write_report(fixture.run)
    kept = fixture.of_decision("kept")
    with open_browser() as browser:
        open_records(browser, fixture, "", width=width, dark=dark)
        assert browser.evaluate(CARDS) == 25
        assert browser.evaluate("document.documentElement.scrollWidth") == width
        assert "records" in str(browser.evaluate("document.title"))
        wait_for(browser, "document.images[0].naturalWidth > 0")

        chosen(browser, "outcome", "decision:kept", f"{len(kept)} of 600 records")
        chosen(browser, "order", "answer-down", f"{len(kept)} of 600 records")
        best = max(kept, key=lambda row: float(str(row["answer_reward"])))
        wait_for(browser, f"{CARDS} > 0 && {FIRST} === 'record-{best['position']}'")
        chosen(browser, "outcome", "", "")
        chosen(browser, "order", "position", "600 of 600")
        last = fixture.records[599]["id"]
        num_told = sum(bool(one["conversations"]) for one in fixture.records)
        chosen(browser, "query", f'"{last}"', '3 of 600 records contain "')
        chosen(browser, "query", "<SCRIPT>", f"{num_told} of 600 records contain")  # any case
        wait_for(browser, f"{CARDS} === 25 && document.querySelectorAll('mark').length > 0")
        browser.evaluate("document.getElementById('more').click()")
        wait_for(browser, f"{CARDS} === 50")

        shown = browser.evaluate("document.querySelector('main').innerText")
        assert "<U+202E>" in str(shown)
        assert (
            browser.evaluate("document.querySelectorAll('main script, main a[href^=j]').length")
            == 0
        )
        asked = [
            event["params"]["request"]["url"]
            for event in browser.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        assert all(url.startswith((tmp_path.resolve().as_uri(), "data:")) for url in asked)
        complaints = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
        told = [event for event in browser.events if event.get("method") in complaints]
        assert not [event for event in told if "gone.png" not in str(event)]


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(chromium_path() is None, reason="Chromium is not installed")
def test_address_of_a_position_or_uid_shows_that_record_alone(tmp_path: Path):
    fixture = make_run(tmp_path, num_records=300)
    write_report(fixture.run)
    uid = str(fixture.rows[299]["uid"])
    with open_browser() as browser:
        open_records(browser, fixture, f"#{uid}", width=900, dark=False)
        for address, told in ((uid, "uid"), ("299", "position")):
            browser.evaluate(f"location.hash = {address!r}")
            wait_for(browser, f"{STATUS}.startsWith('1 of 300 records: {told}')")
            wait_for(browser, f"{CARDS} === 1 && {FIRST} === 'record-299'")
        browser.evaluate("location.hash = '300'")
        wait_for(browser, f"{STATUS}.endsWith('positions are 0 to 299')")
        RunPaths(fixture.run).record_parts.joinpath("part-00000.js").unlink()
        browser.evaluate("location.hash = '5'")
        wait_for(browser, f"{STATUS}.includes('part-00000.js cannot be read; write it again with')")
