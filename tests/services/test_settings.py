import importlib.util
from pathlib import Path

import pytest

from align2llava.services.settings import SettingsError, load_settings, refuse_uninstalled


def test_defaults_depend_on_the_kind(tmp_path: Path):
    environ = {"A2L_MODEL_DIR": str(tmp_path)}
    question = load_settings("question-reward", environ)
    inner = load_settings("inner-llm", environ)
    assert (question.engine, question.grpc_port) == ("torch", 50051)
    assert (inner.engine, inner.grpc_port) == ("vllm", 50053)


def test_values_are_read_from_the_environment():
    environ = {"A2L_ENGINE": "fake", "A2L_MAX_PIXELS": "100", "A2L_ALLOW_TEXT_ONLY": "1"}
    settings = load_settings("answer-reward", environ)
    assert settings.max_pixels == 100
    assert settings.allow_text_only is True


def test_unknown_name_is_an_error_that_names_it_and_the_nearest():
    with pytest.raises(SettingsError, match=r"A2L_MAX_PIXEL; did you mean A2L_MAX_PIXELS"):
        load_settings("question-reward", {"A2L_ENGINE": "fake", "A2L_MAX_PIXEL": "1"})


def test_names_of_the_driver_are_ignored():
    load_settings("question-reward", {"A2L_ENGINE": "fake", "A2L__RUN__SEED": "1", "PATH": "x"})


def test_empty_value_counts_as_unset():
    settings = load_settings("question-reward", {"A2L_ENGINE": "fake", "A2L_MAX_PIXELS": ""})
    assert settings.max_pixels == 16_000_000


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        pytest.param({}, "A2L_MODEL_DIR is not set", id="no checkpoint"),
        pytest.param({"A2L_MODEL_DIR": "/nowhere"}, "no directory", id="checkpoint missing"),
        pytest.param({"A2L_MODEL_DIR": "a" * 300}, "aaa: File name too long", id="300 letters"),
        pytest.param(
            {"A2L_ENGINE": "vllm"}, "A2L_MODEL_DIR is not set", id="vllm without a checkpoint"
        ),
        pytest.param(
            {"A2L_ENGINE": "fake", "A2L_DEVICE": "cdua"}, "A2L_DEVICE is 'cdua'", id="no device"
        ),
        pytest.param({"A2L_ENGINE": "gpu"}, "A2L_ENGINE is 'gpu'", id="no engine"),
        pytest.param(
            {"A2L_ENGINE": "fake", "A2L_MAX_PIXELS": "0"}, "A2L_MAX_PIXELS is '0'", id="zero limit"
        ),
        pytest.param(
            {"A2L_ENGINE": "fake", "A2L_API_KEYS_FILE": "/nowhere"},
            "A2L_API_KEYS_FILE: there is no file",
            id="no key file",
        ),
        pytest.param(
            {"A2L_ENGINE": "fake", "A2L_TLS_CERT_FILE": "/etc/hostname"},
            "needed together",
            id="certificate without key",
        ),
        pytest.param(
            {"A2L_ENGINE": "fake", "A2L_TLS_CLIENT_CA_FILE": "/etc/hostname"},
            "needs A2L_TLS_CERT_FILE",
            id="client CA without certificate",
        ),
    ],
)
def test_wrong_value_is_an_error_that_names_the_variable(environ: dict[str, str], message: str):
    with pytest.raises(SettingsError, match=message):
        load_settings("question-reward", environ)


def test_vllm_takes_no_index_of_a_device(tmp_path: Path):
    environ = {"A2L_MODEL_DIR": str(tmp_path), "A2L_DEVICE": "cuda:1"}
    with pytest.raises(SettingsError, match="CUDA_VISIBLE_DEVICES"):
        load_settings("inner-llm", environ)


def test_an_engine_of_another_kind_is_refused():
    with pytest.raises(SettingsError, match=r"inner-llm runs on one of: vllm, fake"):
        load_settings("inner-llm", {"A2L_ENGINE": "torch"})


@pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed here"
)
def test_vllm_for_rewards_is_refused_where_its_packages_are_not_installed(tmp_path: Path):
    environ = {"A2L_ENGINE": "vllm", "A2L_MODEL_DIR": str(tmp_path)}
    with pytest.raises(SettingsError, match=r"needs .*torchvision: not installed here"):
        refuse_uninstalled(load_settings("question-reward", environ))
    refuse_uninstalled(load_settings("inner-llm", environ))
