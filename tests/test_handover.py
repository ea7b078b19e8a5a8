"""The programs of docs/handover.md, run as printed on a run; the other tool is a recorder."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.pipeline.curation.small_world import record, records, run, write_world

PAGE = Path(__file__).resolve().parent.parent / "docs" / "handover.md"
PROGRAMS = dict(
    re.findall(
        r"^## (\w+)\n\n```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
)


class Recorder:
    """An object of the other tool: any attribute of it may be called, and the call is noted."""

    def __init__(self, dotted: str, calls: list["Recorder"]) -> None:
        self.dotted, self.calls = dotted, calls
        self.args: tuple[object, ...] = ()
        self.given: dict[str, object] = {}
        self.fields: dict[str, object] = {}

    def __setitem__(self, name: str, value: object) -> None:
        self.fields[name] = value

    def __getattr__(self, name: str) -> "Recorder":
        return Recorder(f"{self.dotted}.{name}", self.calls)

    def __call__(self, *args: object, **given: object) -> "Recorder":
        made = Recorder(self.dotted, self.calls)
        made.args, made.given = args, given
        self.calls.append(made)
        return made


class RecordingModule(ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[Recorder] = []

    def __getattr__(self, name: str) -> Recorder:
        return Recorder(name, self.calls)

    def of(self, dotted: str) -> list[Recorder]:
        return [one for one in self.calls if one.dotted == dotted]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    data: list[object] = list(records(60))
    data[4] = {key: value for key, value in record(4).items() if key != "image"}
    data[9] = "no record"
    run(write_world(tmp_path, data), tmp_path / "runs" / "demo")
    monkeypatch.chdir(tmp_path)
    return data


def ran(program: str, module: str, monkeypatch: pytest.MonkeyPatch) -> RecordingModule:
    recording = RecordingModule(module)
    monkeypatch.setitem(sys.modules, module, recording)
    exec(compile(PROGRAMS[program], str(PAGE), "exec"), {})
    return recording


def test_fiftyone_gets_every_record_with_an_image_and_its_decision(
    world: list[object], monkeypatch: pytest.MonkeyPatch
):
    tool = ran("FiftyOne", "fiftyone", monkeypatch)
    samples = tool.of("Sample")
    assert len(samples) == len(world) - 2
    assert all(Path(str(one.given["filepath"])).is_file() for one in samples)
    assert {str(one.given["tags"]) for one in samples} == {"['kept']", "['dropped']"}
    for one in samples:
        assert f"object {one.fields['position']} in turn 0?" in str(one.fields["conversation"])
    kept = [one for one in samples if one.given["tags"] == ["kept"]]
    assert kept
    assert all(isinstance(one.fields["answer_reward"], float) for one in kept)
    (added,) = tool.of("Dataset.add_samples")
    assert added.args == (samples,)


def test_argilla_gets_the_kept_records_as_they_go_out(
    world: list[object], monkeypatch: pytest.MonkeyPatch
):
    tool = ran("Argilla", "argilla", monkeypatch)
    made = tool.of("Record")
    assert 0 < len(made) < len(world)
    for one in made:
        fields = one.given["fields"]
        assert isinstance(fields, dict)
        assert f"object {one.given['id']} in turn 0?" in fields["conversation"]
        assert fields["image"].startswith("data:image/png;base64,")
    (logged,) = tool.of("Dataset.records.log")
    assert logged.args == (made,)
