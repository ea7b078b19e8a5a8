import base64
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import orjson
import pytest

from align2llava.pipeline.curation.layout import RunPaths
from align2llava.pipeline.curation.report.write import write_report
from align2llava.pipeline.curation.results.explain import explain
from align2llava.pipeline.errors import InputError, RunError
from tests.pipeline.curation.browser import chromium_path, open_browser
from tests.pipeline.curation.run_fixture import RunFixture, make_run
from tests.pipeline.curation.small_world import record, records, run, write_world

HOSTILE = (
    "<script>document.title = 'taken'</script><img src=x onerror=alert(1)>"
    "</textarea></style>{{ 7 * 7 }}<a href='javascript:alert(1)'>\u202e&amp;"
)
LOCAL = ("data:", "#", "records.html")  # what a page may link to


class Page(HTMLParser):
    """Every element of a page with its attributes; the texts between them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def attributes(self, *names: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.elements for name in names if name in attrs]

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.elements if tag == name]


def figures_of(run: Path) -> dict:
    return orjson.loads(RunPaths(run).report_json.read_bytes())


def test_figures_add_up_to_the_decisions(own_run: RunFixture):
    write_report(own_run.run)
    figures = figures_of(own_run.run)
    decisions = Counter(row["decision"] for row in own_run.rows)
    assert figures["input"] == len(own_run.rows)
    assert {key: figures[key] for key in decisions} == dict(decisions)
    assert sum(row["kept"] for row in figures["counts"]) == decisions["kept"]
    manifest = orjson.loads(RunPaths(own_run.run).manifest.read_bytes())
    for row in figures["counts"]:
        assert manifest["counts"][row["type"]]["input"] == row["input"]
        assert manifest["counts"][row["type"]]["quarantined"] == sum(row["quarantined"].values())
    assert figures["truth"] is None
    assert figures["provenance"]["inputs"] == manifest["inputs"]


def test_noise_fragile_decisions_and_pace_are_in_the_figures(own_run: RunFixture):
    write_report(own_run.run)
    figures = figures_of(own_run.run)
    question, answer = figures["noise"]
    assert (question["stage"], question["num_canaries"], question["rms"]) == ("question", 16, 0.03)
    assert answer["rms"] == 0.0
    fragile = Counter()
    for row in figures["fragile"]:
        fragile[row["stage"]] += row["num_fragile"]
    assert fragile["question"] > fragile["answer"] == 0
    assert [row["service"] for row in figures["paces"]] == ["question-reward", "answer-reward"]
    assert all(len(row["steps"]) == 30 for row in figures["paces"])


def test_noise_of_a_run_without_canaries_is_not_measured(own_run: RunFixture):
    RunPaths(own_run.run).events.unlink()
    written = write_report(own_run.run)
    assert written.figures.noise == written.figures.paces == ()
    assert {row.num_fragile for row in written.figures.fragile} == {None}
    assert "noise was not measured" in written.page.read_text("utf-8")


def test_truth_is_shown_for_the_selection_and_for_random_sets(own_run: RunFixture):
    written = write_report(own_run.run, truth=own_run.truth)
    shares = {
        row["set"]: row for row in figures_of(own_run.run)["truth"]["shares"] if row["type"] is None
    }
    assert shares["kept"]["share"] > shares["random"]["share"] + 0.2
    assert shares["random"]["num_records"] == shares["kept"]["num_records"]
    assert shares["length-matched"]["num_records"] == shares["kept"]["num_records"]
    assert f"{shares['kept']['share'] * 100:.1f}\u00a0%" in written.page.read_text("utf-8")


def test_page_asks_for_nothing_outside_of_itself(own_run: RunFixture):
    page = Page(write_report(own_run.run).page)
    assert all(value.startswith(LOCAL) for value in page.attributes("src", "href"))
    assert not page.tags("script")
    assert not re.search(r"url\(|@import", page.html)
    policy = page.tags("meta")[1]["content"] or ""
    assert policy.startswith("default-src 'none'; img-src data:")


def test_every_picture_has_words_and_every_table_has_headers(own_run: RunFixture):
    page = Page(write_report(own_run.run, truth=own_run.truth).page)
    images = page.tags("img")
    assert len(images) > 20
    assert all(image["alt"] for image in images)
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in page.tags("svg"))
    assert all(cell["scope"] in {"col", "row"} for cell in page.tags("th"))
    names = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(names) == len(set(names))
    labels = page.attributes("aria-labelledby")
    assert labels
    assert set(labels) <= set(names)


def test_hostile_text_stays_text(tmp_path: Path):
    fixture = make_run(tmp_path, num_records=120, hostile=HOSTILE)
    page = Page(write_report(fixture.run, truth=fixture.truth).page)
    assert not page.tags("script")
    assert not page.attributes("onerror")
    assert all(value.startswith(LOCAL) for value in page.attributes("src", "href"))
    assert any("<script>document.title" in text for text in page.texts)
    assert not any(text.strip() == "49" for text in page.texts)


def test_hostile_type_and_id_stay_text(tmp_path: Path):
    fixture = make_run(tmp_path, num_records=60, type_suffix=HOSTILE)
    page = Page(write_report(fixture.run, truth=fixture.truth).page)
    assert not page.tags("script")
    assert not page.attributes("onerror")
    shown = HOSTILE.replace("\u202e", "<U+202E>")
    assert any(shown in text for text in page.texts)
    assert "\u202e" not in page.html


def test_hidden_characters_of_records_are_visible(tmp_path: Path):
    fixture = make_run(tmp_path, num_records=60, hostile="\x1b[31m\u202e\u200b")
    page = Page(write_report(fixture.run, truth=fixture.truth).page)
    assert not re.search("[\x1b\u202e\u200b]", page.html)
    assert any("<U+001B>[31m<U+202E><U+200B>" in text for text in page.texts)


def test_page_says_what_it_does_not_show(own_run: RunFixture):
    html = write_report(own_run.run).page.read_text(encoding="utf-8")
    assert "What this report does not show" in html
    for figure in ("95.7", "90.3", "91.9", "91.8"):
        assert figure in html
    assert html.count('class="measured"') >= 6


def test_same_run_gives_the_same_page(own_run: RunFixture):
    first = write_report(own_run.run).page.read_bytes()
    assert write_report(own_run.run).page.read_bytes() == first


def test_driver_may_give_the_manifest_before_it_is_written(own_run: RunFixture):
    paths = RunPaths(own_run.run)
    manifest = orjson.loads(paths.manifest.read_bytes())
    with_file = write_report(own_run.run).page.read_bytes()
    paths.manifest.unlink()
    assert write_report(own_run.run, manifest=manifest).page.read_bytes() == with_file
    assert not paths.manifest.exists()


def test_records_whose_images_are_gone_are_shown_without(tmp_path: Path):
    fixture = make_run(tmp_path, num_records=60)
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"broken")
    page = Page(write_report(fixture.run).page)
    assert not page.tags("img")
    assert any("cannot be opened" in text for text in page.texts)


def test_run_without_rewrites_or_quarantine_leaves_them_out(own_run: RunFixture):
    paths = RunPaths(own_run.run)
    for part in [*paths.rewrites.iterdir(), *paths.quarantine.iterdir()]:
        part.unlink()
    figures = write_report(own_run.run).figures
    assert figures.rewrites is None
    assert all(group.message == "" for group in figures.quarantine)


def test_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(RunError, match="is no run directory"):
        write_report(tmp_path)


def test_missing_truth_file_is_refused_before_anything_is_written(own_run: RunFixture):
    with pytest.raises(InputError, match="cannot be read"):
        write_report(own_run.run, truth=own_run.run / "none.jsonl")
    assert not RunPaths(own_run.run).report.exists()


def test_embedded_images_are_small(own_run: RunFixture):
    page = Page(write_report(own_run.run).page)
    sizes = [
        len(base64.b64decode((image["src"] or "").split(",")[1])) for image in page.tags("img")
    ]
    assert max(sizes) < 20_000


@pytest.mark.parametrize(
    "sets",
    [
        (),
        ("selection.question=off",),
        ("selection.answer=off", "alignment.rewrite=off"),
        ("selection.question=off", "selection.answer=off", "alignment.rewrite=off"),
        ("selection.stratum=none", "alignment.review=off"),
        ("selection.question_keep=0",),
        ("selection.question_keep=1", "selection.answer_keep=1"),
        ("input.text_only=keep", "run.limit=20"),
        ("run.limit=1",),
    ],
    ids=[
        "as it comes",
        "no question stage",
        "no answer stage, no rewrite",
        "no stage at all",
        "one stratum, no review",
        "nothing kept",
        "everything kept",
        "text-only kept, limited",
        "one record",
    ],
)
def test_run_of_any_shape_has_a_report_and_explains_each_record(
    tmp_path: Path, sets: tuple[str, ...]
):
    data: list[object] = list(records(30))
    data[3] = {key: value for key, value in record(3).items() if key != "image"}
    data[7] = "no record"
    data[8] = record(8, answer=["Yes.", "It is so."])
    run_dir = tmp_path / "run"
    run(write_world(tmp_path, data), run_dir, sets=sets)
    by_driver = RunPaths(run_dir).report.read_bytes()
    figures = write_report(run_dir).figures
    assert RunPaths(run_dir).report.read_bytes() == by_driver
    assert figures.input == figures.kept + figures.dropped + figures.quarantined
    for position in range(figures.input):
        assert explain(run_dir, str(position)).why


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.skipif(chromium_path() is None, reason="Chromium is not installed")
@pytest.mark.parametrize(
    ("width", "dark"), [(1280, False), (390, True)], ids=["desktop, light", "phone, dark"]
)
def test_browser_shows_the_page_without_requests_or_errors(
    tmp_path: Path, width: int, *, dark: bool
):
    fixture = make_run(tmp_path, hostile=HOSTILE)
    page = write_report(fixture.run, truth=fixture.truth).page
    with open_browser() as browser:
        browser.open(page, width=width, dark=dark)
        decoded = browser.evaluate(
            "[...document.images].filter(i => i.complete && i.naturalWidth > 0).length"
        )
        assert decoded == browser.evaluate("document.images.length") > 20
        assert "records kept" in str(browser.evaluate("document.title"))
        assert browser.evaluate("document.documentElement.scrollWidth") == width
        is_dark = "matchMedia('(prefers-color-scheme: dark)').matches"
        assert browser.evaluate(is_dark) == dark
        for chart in ("#rewards .fragile[width]", "#cost figure svg .passed"):
            wide = f"[...document.querySelectorAll('{chart}')].map(r => r.getBoundingClientRect())"
            assert browser.evaluate(f"{wide}.filter(r => r.width > 0 && r.height > 0).length") > 0
        asked = [
            event["params"]["request"]["url"]
            for event in browser.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
        complaints = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
        assert not [event for event in browser.events if event.get("method") in complaints]
