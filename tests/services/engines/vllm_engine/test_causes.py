"""What the processes of a core note, through the logging of the standard library."""

import json
import logging.config
from pathlib import Path

from align2llava.clients.wire.wording import one_line
from align2llava.services.engines.vllm_engine.causes import Causes

KV_CACHE = "2.25 GiB KV cache is needed,\n  larger than the available 1.0 GiB"


def causes_of(tmp_path: Path) -> tuple[Causes, logging.Logger]:
    causes = Causes(path=tmp_path / "causes")
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"causes": causes.handler()},
        "loggers": {"causes.test": {"handlers": ["causes"], "propagate": False}},
    }
    logging.config.dictConfig(json.loads(json.dumps(config)))
    return causes, logging.getLogger("causes.test")


def log_failure(logger: logging.Logger, error: Exception) -> None:
    try:
        raise error
    except type(error):
        logger.exception("it failed")


def run_engine_core(logger: logging.Logger, error: Exception) -> None:
    try:
        raise error
    except type(error):
        logger.exception("EngineCore failed to start.")


def test_first_error_is_the_root_cause_on_one_line(tmp_path: Path):
    causes, logger = causes_of(tmp_path)
    assert (causes.root, causes.has_ended) == (None, False)
    log_failure(logger, ValueError(KV_CACHE))
    assert causes.root == "2.25 GiB KV cache is needed, larger than the available 1.0 GiB"
    assert not causes.has_ended
    run_engine_core(logger, RuntimeError("a worker failed"))
    assert causes.root == one_line(ValueError(KV_CACHE))
    assert causes.has_ended


def test_messages_without_an_exception_are_no_causes(tmp_path: Path):
    causes, logger = causes_of(tmp_path)
    logger.error("something is odd")
    assert causes.root is None


def test_half_a_line_is_not_read_yet(tmp_path: Path):
    causes = Causes(path=tmp_path / "causes")
    causes.path.write_text('{"cause": "a", "is_end": false}\n{"cause": "b", "is_')
    assert causes.root == "a"
    assert not causes.has_ended


def test_exception_without_words_is_told_by_its_class():
    assert one_line(MemoryError()) == "MemoryError"


def test_what_fails_after_the_start_is_not_noted_and_harms_nothing(tmp_path: Path):
    (tmp_path / "start").mkdir()
    causes, logger = causes_of(tmp_path / "start")
    (tmp_path / "start").rmdir()
    log_failure(logger, ValueError("the engine died"))
    assert causes.root is None
