from pathlib import Path

import pytest
import yaml

from align2llava.clients.wire.schemas import ModelIdentity
from align2llava.pipeline.config.schema import load_config
from align2llava.pipeline.curation.layout import InputEntry, RunPaths, TypeCounts
from align2llava.pipeline.curation.run.card import DatasetFile, dataset_card
from tests.pipeline.curation.small_world import records, run, write_world


def card(
    folder: Path, *, num_kept: int = 30, name: str = "train.json", kind: str = "detail"
) -> str:
    model = ModelIdentity(
        name="shapes|<b>",
        kind="question-reward",
        identity="q-1",
        weights_sha256="0" * 64,
        dtype="float32",
        purpose="coloured shapes",
    )
    return dataset_card(
        load_config(write_world(folder, records(2))),
        inputs=[InputEntry(path=str(folder / "raw.json"), sha256="ab" * 32, num_records=100)],
        counts={kind: TypeCounts(input=100, kept=num_kept, dropped=0, quarantined=0)},
        models={"question_reward": model},
        file=DatasetFile(name=name, sha256="cd" * 32, num_changed=3),
    )


def header(text: str) -> dict:
    _, yaml_text, _ = text.split("---\n", 2)
    return yaml.safe_load(yaml_text)


@pytest.mark.parametrize(
    ("num_kept", "size"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (158_000, "100K<n<1M"), (10**7, "10M<n<100M")],
)
def test_header_is_what_the_hub_reads(tmp_path: Path, num_kept: int, size: str):
    found = header(card(tmp_path, num_kept=num_kept))
    assert found["size_categories"] == [size]
    assert found["license"] == "unknown"
    assert "visual-question-answering" in found["task_categories"]
    (config,) = found["configs"]
    assert config["data_files"] == [{"split": "train", "path": "train.json"}]


def test_loading_is_told_for_both_dialects(tmp_path: Path):
    text = card(tmp_path)
    assert 'load_dataset("json", data_files="train.json", split="train")' in text
    assert "--data_path train.json" in text
    assert "jq" not in text
    assert "jq -s . train.jsonl > train.json" in card(tmp_path, name="train.jsonl")


def test_no_path_of_this_machine_is_in_it(tmp_path: Path):
    text = card(tmp_path)
    assert str(tmp_path) not in text
    assert "`raw.json`: 100 records, sha256 `abab" in text


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("a|b\n<script>`\x1b", "a&#124;b &#60;script&#62;&#96;&#60;U+001B&#62;"),
        ("a\\|b", "a&#92;&#124;b"),
        ("<!-- ", "&#60;&#33;--"),
        ("![x](http://h/p)", "&#33;&#91;x&#93;(http://h/p)"),
        ("**_bold_** a_b", "&#42;&#42;&#95;bold&#95;&#42;&#42; a_b"),
        ("&lt;", "&#38;lt;"),
    ],
)
def test_names_mean_nothing_to_markdown_or_html(tmp_path: Path, kind: str, cell: str):
    text = card(tmp_path, kind=kind)
    assert f"| {cell} | 100 | 30 |" in text
    assert (
        "* question_reward: shapes&#124;&#60;b&#62;, `q-1`; its card says it is for coloured shapes"
        in text
    )


def test_card_of_a_run_loads_as_it_says(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    run(write_world(tmp_path, records(60)), tmp_path / "run")
    found = header(RunPaths(tmp_path / "run").card.read_text("utf-8"))
    path = RunPaths(tmp_path / "run").dataset / found["configs"][0]["data_files"][0]["path"]
    loaded = datasets.load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.num_rows > 0
    assert {"id", "image", "conversations"} <= set(loaded.column_names)
