"""What every test needs: quiet libraries, and no settings from the machine it runs on."""

import logging
import os
import signal

import pytest
from hypothesis import settings

# Two BentoML apps in one process register the same metrics; must be set before its import.
os.environ["BENTOML_CONFIG_OVERRIDES"] = '{"services":{"metrics":{"enabled":false}}}'
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Clients of others obey the environment's proxy; the servers of the tests are on this machine.
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
for _name in ("no_proxy", "NO_PROXY"):
    os.environ[_name] = ",".join(filter(None, (*_LOOPBACK, os.environ.get(_name))))
for _name in [name for name in os.environ if name.startswith("A2L_")]:
    del os.environ[_name]

# A busy machine makes no example wrong; a hanging test is what the timeout is for.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# A script's shell starts what runs in the background with SIGINT ignored; children would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_IGNORED_WARNINGS = (
    # bentoml 1.4.39 asks pathspec 1.0 for patterns by their old name, at import.
    "ignore:GitWildMatchPattern:DeprecationWarning",
    # bentoml 1.4.39 overrides a hook that pydantic 2.11 deprecates, at import.
    "ignore:The `__get_pydantic_core_schema__` method:DeprecationWarning",
    # bentoml 1.4.39: its client leaves its folder to the garbage collector.
    "ignore:Implicitly cleaning up .*bentoml-client:ResourceWarning",
)


def pytest_configure(config: pytest.Config) -> None:
    for warning in _IGNORED_WARNINGS:
        config.addinivalue_line("filterwarnings", warning)


@pytest.fixture(autouse=True)
def _loggers_speak() -> None:
    """Undoes what another test's library did by setting up logging anew: it disables every logger."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "align2llava":
            logging.getLogger(name).disabled = False
