import ast
import re
from decimal import Decimal
from pathlib import Path

import pytest

from align2llava.pipeline.config import schema as config_module
from align2llava.pipeline.config.schema import Config, InputPath, api_key, dump_config, load_config
from align2llava.pipeline.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
TEXT = """
input: {path: raw.json, images_root: images}
endpoints:
  question_reward: {url: "grpc://a:1"}
  answer_reward: {url: ["http://a:2", "https://b:2"], ca_file: ca.pem}
  inner_llm: {url: "dns:///c:3"}
selection: {question: on, answer: off, question_keep: 0.3}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "curate.yaml"
    file.write_text(TEXT)
    return file


def load(path: Path, *sets: str, **environ: str) -> Config:
    return load_config(path, sets=sets, environ=environ)


def message(path: Path, *sets: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, *sets, **environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_set_is_over_environment_is_over_file_is_over_default(path: Path):
    assert load(path).selection.answer_keep == Decimal("0.3")  # the default
    path.write_text(TEXT.replace("question_keep: 0.3", "question_keep: 0.1"))
    assert load(path).selection.question_keep == Decimal("0.1")
    environ = {"A2L__SELECTION__QUESTION_KEEP": "0.2"}
    assert load(path, **environ).selection.question_keep == Decimal("0.2")
    found = load(path, "selection.question_keep=0.4", **environ)
    assert found.selection.question_keep == Decimal("0.4")


def test_keeps_are_decimals_as_written(path: Path):
    found = load(path, "selection.question_keep=0.1000000000000000055511151231257827")
    assert str(found.selection.question_keep) == "0.1000000000000000055511151231257827"
    found = load(path, "selection.question_keep={conversation: 0.25, detail: 1}")
    assert found.selection.question_keep == {"conversation": Decimal("0.25"), "detail": 1}
    found = load(path, A2L__SELECTION__QUESTION_KEEP__DETAIL="0.5")
    assert found.selection.question_keep == {"detail": Decimal("0.5")}


def test_paths_are_relative_to_the_file(path: Path):
    found = load(path, "input.path=[sub/../a.json, {path: /abs/b.json, type: detail}]")
    assert found.input.files() == (
        InputPath(path=path.parent / "a.json"),
        InputPath(path=Path("/abs/b.json"), type="detail"),
    )
    assert found.input.images_root == path.parent / "images"
    assert found.endpoints.answer_reward is not None
    assert found.endpoints.answer_reward.ca_file == path.parent / "ca.pem"


def test_resolved_config_reads_back_the_same(path: Path, tmp_path: Path):
    found = load(path, "selection.answer_keep={detail: 0.05}", "run.seed=18446744073709551615")
    elsewhere = tmp_path / "elsewhere" / "config.resolved.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(dump_config(found))
    assert load(elsewhere) == found


def test_key_is_of_the_environment_only(path: Path, monkeypatch: pytest.MonkeyPatch):
    found = load(path, A2L__API_KEY="sesame")
    assert "sesame" not in dump_config(found)
    assert api_key() is None
    monkeypatch.setenv("A2L__API_KEY", "sesame")
    assert api_key() == "sesame"


def test_variables_of_the_services_are_not_ours(path: Path):
    assert load(path, A2L_MODEL_DIR="x", HOME="y") == load(path)


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ("input.pth=a", "--set input.pth=a: input.pth: unknown key"),
        ("foo=1", "--set foo=1: foo: unknown key"),
        (
            "selection.question_keep=1.1",
            "selection.question_keep: a share is a number between 0 and 1; write such as 0.3; found '1.1'",
        ),
        ("selection.question_keep=30%", "between 0 and 1; write such as 0.3; found '30%'"),
        ("selection.question_keep=30", "between 0 and 1; write such as 0.3; found '30'"),
        ("selection.question_keep=a third", "between 0 and 1; write such as 0.3; found 'a third'"),
        ("selection.question_keep=1e-999999999", "a share has at most 400 digits"),
        ("selection.question_keep=on", "between 0 and 1; write such as 0.3; found 'True'"),
        ("selection.question_keep={detail: 5%}", "selection.question_keep.detail: a share is"),
        ("selection.question_keep={detail: 5%}", "write such as 0.05; found '5%'"),
        ("run.quarantine_limit=5%", "run.quarantine_limit: a share is a number between 0 and 1"),
        ("selection.question_keep=.nan", "between 0 and 1"),
        ("selection.question_keep=-.inf", "between 0 and 1"),
        ("selection.question_keep=[", "no YAML"),
        ("input.max_image_bytes=20MB", "found '20MB'"),
        ("run.seed={a: 1, a: 2}", "--set run.seed={a: 1, a: 2}: no YAML: 'a' stands in line 1"),
        ("input.path=[]", "input.path"),
        ("selection.stratum=image", "selection.stratum"),
        ("run.seed=-1", "run.seed"),
        ("run.seed=0.5", "run.seed"),
        ("run", "write it as a.b=value"),
        ("endpoints.inner_llm.url=ftp://a", "the scheme must be http://"),
        ("endpoints.inner_llm.url=http://a:1/v1/score", "write http://a:1 alone"),
        ("endpoints.inner_llm.cert_file=a", "go together"),
        ("endpoints.inner_llm=null", "endpoints.inner_llm is missing"),
    ],
)
def test_wrong_setting_is_one_line(path: Path, sets: str, expected: str):
    assert expected in message(path, sets)


def test_unknown_variable_is_named(path: Path):
    assert message(path, A2L__FOO="1") == "A2L__FOO: foo: unknown key"
    assert message(path, A2L__RUN__SED="1") == "A2L__RUN__SED: run.sed: unknown key"


def test_fault_that_a_variable_began_is_blamed_on_it(path: Path):
    found = message(path, A2L__SELECTON__QUESTION_KEEP="0.2")
    assert found == "A2L__SELECTON__QUESTION_KEEP: selecton: unknown key"
    path.write_text(TEXT.replace('  inner_llm: {url: "dns:///c:3"}\n', ""))
    found = message(path, A2L__ENDPOINTS__INNER_LLM__TIMEOUT_S="5")
    assert found == (
        "A2L__ENDPOINTS__INNER_LLM__TIMEOUT_S: endpoints.inner_llm.url: Field required"
    )
    found = message(path, "endpoints.inner_llm.url=grpc://a:1", A2L__SELECTION__QUESTION_KEEP="x")
    assert found.startswith("A2L__SELECTION__QUESTION_KEEP: selection.question_keep: a share is")


def test_fault_of_the_file_is_never_blamed_on_a_variable(path: Path):
    path.write_text(TEXT.replace("question_keep: 0.3", "question_kep: 0.3"))
    found = message(path, A2L__SELECTION__ANSWER_KEEP="0.2")
    assert found == f"{path}: selection.question_kep: unknown key"


def test_key_that_stands_twice_is_refused_with_both_lines(path: Path):
    path.write_text(TEXT + "selection: {question_keep: 0.1}\n")
    found = f"config {path}: no YAML: 'selection' stands in line 7 and again in line 8"
    assert message(path) == found
    path.write_text(TEXT.replace("question: on,", "question: on, question: off,"))
    assert "'question' stands in line 7 and again in line 7" in message(path)


def test_unknown_key_of_the_file_names_the_file(path: Path):
    path.write_text(TEXT + "\nspeed: 9\n")
    assert message(path) == f"{path}: speed: unknown key"


@pytest.mark.parametrize("text", ["", "- a", "a: [", "\x00"])
def test_file_that_is_no_mapping_is_one_line(path: Path, text: str):
    path.write_text(text)
    assert str(path) in message(path)


def test_missing_file_is_one_line(tmp_path: Path):
    assert "No such file" in message(tmp_path / "nowhere.yaml")


def test_every_setting_is_read_by_code_that_is_not_the_config():
    tree = ast.parse(Path(config_module.__file__).read_text())
    fields = {
        statement.target.id
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }
    assert len(fields) > 20
    # The two that `files()` and `urls()` hand on are read through them.
    fields -= {"path", "url"}
    code = "\n".join(
        source.read_text()
        for source in (ROOT / "pipeline").rglob("*.py")
        if source != Path(config_module.__file__)
    )
    unread = {name for name in fields if not re.search(rf"\.{name}\b", code)}
    assert not unread


def test_a_key_is_stripped_or_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("A2L__API_KEY", "sesame\n")
    assert api_key() == "sesame"
    monkeypatch.setenv("A2L__API_KEY", "ses\u00e4me")
    with pytest.raises(ConfigError, match="A2L__API_KEY: a key is one word") as caught:
        api_key()
    assert "ses" not in str(caught.value)
