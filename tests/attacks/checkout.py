"""A tree of this project, of whatever age: the same attack shows what was before, and what is now."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tests.contract.servers import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """Its programs run with this interpreter and its packages; `folder` is what they import from."""

    folder: Path

    @property
    def is_old(self) -> bool:
        """Whether its packages have no name above them, as at 3e0ace4."""
        return "align2llava" not in (self.folder / "services" / "inner_llm.py").read_text()

    def target(self, kind: str) -> str:
        """Returns what `bentoml serve` is told to serve."""
        name = kind.replace("-", " ").title().replace(" ", "").replace("Llm", "LLM")
        prefix = "" if self.is_old else "align2llava."
        return f"{prefix}services.{kind.replace('-', '_')}:{name}"

    @property
    def a2l(self) -> list[str]:
        """The words of its command line."""
        module = "pipeline.cli" if self.is_old else "align2llava.pipeline.cli.app"
        return [sys.executable, "-c", f"from {module} import app; app()"]


HERE = Checkout(folder=ROOT)
