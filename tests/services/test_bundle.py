from pathlib import Path

import bentoml
import pytest
import yaml

from align2llava.services.bundle import Bundle

ROOT = Path(__file__).resolve().parent.parent.parent


def test_bundle_holds_the_three_services_and_no_routes():
    assert set(Bundle.all_services()) == {
        "align2llava",
        "question-reward",
        "answer-reward",
        "inner-llm",
    }
    assert not Bundle.apis


def test_bundle_refuses_to_be_served():
    with pytest.raises(SystemExit, match="serve one of the three"):
        Bundle.inner.refuse()


def test_bentofile_names_the_bundle():
    described = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    assert described["service"] == "align2llava.services.bundle:Bundle"
    assert described["python"]["lock_packages"] is False
    loaded = bentoml.load(str(ROOT))
    assert loaded.name == "align2llava"
