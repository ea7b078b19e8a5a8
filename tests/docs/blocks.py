"""The code blocks of the pages, and which of them cannot be run here."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.contract.servers import ROOT

PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# (page, first words of a block): why it is not run.
NOT_RUN = {
    ("README.md", "make demo"): "minutes; examples/blocks/demo.py has a test of its own",
    ("README.md", "a2l serve --models"): "the services of these tests are started so",
    (
        "README.md",
        "a2l --version",
    ): "its lines are run one by one, in test_photographs_line_by_line",
    ("README.md", "pip install ."): "needs a registry; the other lines are these tests themselves",
    (
        "docs/services.md",
        "A2L_MODEL_DIR=",
    ): "runs until it is ended; test_serving starts services so",
    ("docs/services.md", "make venv-vllm-vision"): "needs a registry",
    ("docs/handover.md", "import json"): "needs fiftyone; tests/test_handover.py records its calls",
    (
        "docs/handover.md",
        "import base64",
    ): "needs argilla; tests/test_handover.py records its calls",
    ("docs/driver-speed.md", "python benchmarks/driver.py"): "a quarter of an hour",
}


@dataclass(frozen=True, kw_only=True)
class Block:
    page: str
    language: str
    text: str

    @property
    def is_listed(self) -> bool:
        return any(self.page == page and self.text.startswith(words) for page, words in NOT_RUN)

    def __str__(self) -> str:
        return f"{self.page}: {self.text.split()[0]} {' '.join(self.text.split()[1:3])}"


def blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in these languages, in order; none = all."""
    return [
        Block(page=page, language=language, text=text)
        for page in PAGES
        for language, text in _FENCE.findall((ROOT / page).read_text())
        if not languages or language in languages
    ]


def run_blocks(language: str) -> list[Block]:
    return [block for block in blocks(language) if not block.is_listed]


def options_of(text: str) -> list[tuple[str, list[str]]]:
    """Each `a2l VERB` of a text with the options that are given to it."""
    found: list[tuple[str, list[str]]] = []
    for line in re.findall(r"^\s*a2l ([a-z].*)", text, re.MULTILINE):
        words = line.split(" #")[0].split("  ")[0]
        found.append((words.split()[0], re.findall(r"--[a-z][a-z-]+", words)))
    return found


def pages_folder(folder: Path) -> Path:
    """A folder in which the examples find what they name."""
    (folder / "examples").symlink_to(ROOT / "examples")
    images = ROOT / "examples" / "blocks" / "images"
    (folder / "photo.jpg").write_bytes((images / "000000100012.png").read_bytes())
    (folder / "photos").symlink_to(images)
    return folder
