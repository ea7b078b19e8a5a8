"""The page that browses every record of a run: its HTML, whose script loads the parts beside it. Pure.

Its policy allows the one script that it holds (by its hash) and scripts and images of files, no
address elsewhere.
"""

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import orjson
from markupsafe import Markup

from align2llava.pipeline.curation.report.browsing.parts import INDEX_RECORDS, PART_RECORDS
from align2llava.pipeline.curation.report.browsing.record import MAX_CHARS
from align2llava.pipeline.curation.report.filters import OUTCOMES
from align2llava.pipeline.curation.report.page import page_environment

FOLDER = "records"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowsedRun:
    """What the page says of the run; `images`: the way from the page's folder to the images' root."""

    name: str
    num_records: int
    images: str


def render_records_page(run: BrowsedRun) -> str:
    """Returns the page as HTML."""
    script = (Path(__file__).parents[1] / "templates" / "records.js").read_text("ascii")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    data = {
        "num_records": run.num_records,
        "part_records": PART_RECORDS,
        "index_records": INDEX_RECORDS,
        "folder": FOLDER,
        "images": f"{quote(os.fsencode(run.images))}/",
        "words": dict(OUTCOMES),
    }
    template = page_environment().get_template("records.html.j2")
    return template.render(
        run=run.name,
        num_records=run.num_records,
        max_chars=MAX_CHARS,
        data=orjson.dumps(data).decode(),
        script=Markup(script),  # noqa: S704 (our own, and its hash is in the policy)
        script_hash=f"sha256-{digest}",
    )
