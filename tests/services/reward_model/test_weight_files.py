import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from align2llava.services.reward_model.folder import CheckpointError
from align2llava.services.reward_model.weight_files import (
    INDEX_FILE,
    WEIGHTS_FILE,
    is_quantised,
    refuse_other_weights,
    refuse_unknown_dtypes,
    stored_tensors,
    weight_files,
)

SHARDS = {"model-1.safetensors": ("a", "b"), "model-2.safetensors": ("c.weight",)}


def write_file(path: Path, *names: str, dtype: torch.dtype = torch.float16) -> None:
    save_file({name: torch.zeros(2).to(dtype) for name in names}, path)


def write_sharded(folder: Path, **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    for file, names in SHARDS.items():
        write_file(folder / file, *names)
    weight_map = {name: file for file, names in SHARDS.items() for name in names} | changes
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text("{}")
    return folder


def names_of(folder: Path) -> list[str]:
    return [path.name for path in weight_files(folder)]


def test_exactly_the_files_of_the_index_are_the_weights(tmp_path):
    folder = write_sharded(tmp_path)
    write_file(folder / "z_old.safetensors", "a", "b", "c.weight")
    assert names_of(folder) == list(SHARDS)
    assert {tensor.path.name for tensor in stored_tensors(folder).values()} == set(SHARDS)


def test_without_an_index_only_the_model_file_is_the_weights(tmp_path):
    write_file(tmp_path / WEIGHTS_FILE, "a")
    write_file(tmp_path / "adapter_model.safetensors", "a")
    assert names_of(tmp_path) == [WEIGHTS_FILE]
    assert stored_tensors(tmp_path)["a"].path.name == WEIGHTS_FILE


def test_a_header_tells_dtype_and_shape(tmp_path):
    save_file({"a": torch.zeros(2, 3, dtype=torch.bfloat16)}, tmp_path / WEIGHTS_FILE)
    tensor = stored_tensors(tmp_path)["a"]
    assert (tensor.dtype, tensor.shape) == ("BF16", (2, 3))


def test_a_tensor_in_two_files_is_refused(tmp_path):
    folder = write_sharded(tmp_path)
    write_file(folder / "model-2.safetensors", "c.weight", "b")
    with pytest.raises(CheckpointError, match=r"model-2.*: the tensor b stands in model-1"):
        stored_tensors(folder)


def test_a_tensor_that_the_index_puts_elsewhere_is_refused(tmp_path):
    folder = write_sharded(tmp_path, d="model-1.safetensors")
    with pytest.raises(CheckpointError, match=r"model-1.safetensors lacks the tensor d of model"):
        stored_tensors(folder)


def test_an_index_beside_a_model_file_that_it_does_not_name_is_refused(tmp_path):
    folder = write_sharded(tmp_path)
    write_file(folder / WEIGHTS_FILE, "a")
    with pytest.raises(CheckpointError, match="does not name it; remove one"):
        weight_files(folder)


def test_a_missing_shard_is_named(tmp_path):
    folder = write_sharded(tmp_path)
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-2.safetensors is missing; model\.safe"):
        weight_files(folder)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        pytest.param(lambda data: data[:-3], "no whole safetensors file: .* incomplete", id="cut"),
        pytest.param(lambda data: data + b"zz", "no whole safetensors file", id="too long"),
        pytest.param(lambda data: data[:5], "no whole safetensors file", id="five bytes"),
        pytest.param(lambda _data: b"", "no whole safetensors file", id="empty"),
        pytest.param(
            lambda _data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "is a git-lfs pointer, not the file; `git lfs pull`",
            id="git-lfs pointer",
        ),
        pytest.param(
            lambda _data: b"\x02\0\0\0\0\0\0\0[]", "no whole safetensors file", id="array as header"
        ),
        pytest.param(
            lambda _data: b"\x02\0\0\0\0\0\0\0\xff\xff", "no whole safetensors file", id="no UTF-8"
        ),
    ],
)
def test_a_broken_shard_is_named(tmp_path, damage, found):
    path = write_sharded(tmp_path) / "model-2.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=f"model-2.safetensors.* {found}"):
        stored_tensors(tmp_path)


@pytest.mark.parametrize(
    "place", ["../a.safetensors", "/a.safetensors", "s/a", "", ".", "..", 3, "ä" * 128]
)
def test_an_index_names_files_beside_it_only(tmp_path, place):
    folder = write_sharded(tmp_path / "model", a=place)
    write_file(tmp_path / "a.safetensors", "a")
    with pytest.raises(CheckpointError, match=re.escape(INDEX_FILE)):
        stored_tensors(folder)


@pytest.mark.parametrize(
    "index",
    [
        pytest.param("{}", id="no map"),
        pytest.param('{"weight_map": []}', id="a list"),
        pytest.param('{"weight_map": {}}', id="nothing"),
        pytest.param("[" * 100_000, id="deep nesting"),
        pytest.param('{"weight_map": {"a": %s}}' % ("9" * 5000), id="5,000 digits"),
        pytest.param(r'{"weight_map": {"a": "\ud83d"}}', id="half a surrogate pair"),
        pytest.param(r'{"weight_map": {"a": "\u0000"}}', id="a zero byte"),
    ],
)
def test_an_index_that_does_not_fit_is_refused_by_name(tmp_path, index):
    (tmp_path / INDEX_FILE).write_text(index)
    with pytest.raises(CheckpointError, match=re.escape(INDEX_FILE)):
        weight_files(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model-00001-of-00002.bin", "consolidated.safetensors"])
def test_a_folder_without_weights_says_what_lies_there_instead(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80")
    with pytest.raises(CheckpointError, match=f"found {name}, which are not read"):
        weight_files(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8, torch.int64, torch.float64])
def test_a_tensor_that_is_no_plain_float_is_named(tmp_path, dtype):
    write_file(tmp_path / WEIGHTS_FILE, "a", dtype=dtype)
    with pytest.raises(CheckpointError, match=r"model.safetensors: the tensor a is stored as"):
        refuse_unknown_dtypes(stored_tensors(tmp_path).values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_plain_floats_are_read(tmp_path, dtype):
    write_file(tmp_path / WEIGHTS_FILE, "a", dtype=dtype)
    refuse_unknown_dtypes(stored_tensors(tmp_path).values())


def test_what_vllm_would_read_beside_the_weights_is_refused_by_name(tmp_path):
    write_file(tmp_path / WEIGHTS_FILE, "a")
    (tmp_path / "config.json").write_text("{}")
    refuse_other_weights(tmp_path)
    write_file(tmp_path / "consolidated.safetensors", "a")
    with pytest.raises(CheckpointError, match=r"consolidated.safetensors is no weight"):
        refuse_other_weights(tmp_path)


def test_vllm_leaves_what_the_index_does_not_name(tmp_path):
    write_file(write_sharded(tmp_path) / "consolidated.safetensors", "a")
    refuse_other_weights(tmp_path)


def test_float8_without_a_word_in_the_config_is_refused_for_vllm(tmp_path):
    write_sharded(tmp_path)
    write_file(tmp_path / "model-2.safetensors", "c.weight", dtype=torch.float8_e4m3fn)
    with pytest.raises(CheckpointError, match=r"c\.weight is stored as F8_E4M3"):
        refuse_other_weights(tmp_path)
    config = {"quantization_config": {"quant_method": "fp8"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    refuse_other_weights(tmp_path)


def test_a_mask_of_integers_is_no_reason_to_refuse_an_inner_llm(tmp_path):
    write_sharded(tmp_path)
    write_file(tmp_path / "model-1.safetensors", "a", "b", dtype=torch.uint8)
    refuse_other_weights(tmp_path)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, False),
        ({"quantization_config": None}, False),
        ({"quantization_config": {}}, True),
        ({"compression_config": {}}, True),
        ({"text_config": {"quantization_config": {}}}, True),
    ],
)
def test_a_config_says_where_weights_are_quantised(config, expected):
    assert is_quantised(config) is expected
