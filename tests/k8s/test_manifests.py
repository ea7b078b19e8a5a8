"""All of k8s/ renders, fits the schemas of four Kubernetes versions, and keeps the rules of the lint."""

import json
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest

from tests.k8s.folders import (
    ALONE,
    COMPONENTS,
    K8S,
    name_of,
    overlay,
    promised,
    rendered,
    write_composite,
)
from tools.k8s_lint.manifests import Manifests, parse
from tools.k8s_lint.manifests import name_of as object_name
from tools.k8s_lint.rendering import render
from tools.k8s_lint.rules import PINNED, RULES
from tools.k8s_lint.trees import Table, text
from tools.kubectl import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

VERSIONS = ("1.34", "1.35", "1.36", "1.37")
CRDS = ROOT.parent / "shared" / "crds"
CHECKOV = ROOT / ".venv-checkov" / "bin" / "checkov"
BUILT_IN = (
    "v1",
    "apps/",
    "batch/",
    "policy/",
    "autoscaling/",
    "networking.k8s.io/",
    "scheduling.k8s.io/",
)
TARGETS = [*ALONE, *COMPONENTS]


@pytest.fixture(scope="session")
def composites(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, str]:
    folder = tmp_path_factory.mktemp("composites")
    return {c: render(write_composite(folder / c.name, c.name)) for c in COMPONENTS}


@pytest.fixture
def objects(request: pytest.FixtureRequest, composites: dict[Path, str]) -> list[Table]:
    folder: Path = request.param
    return parse(composites[folder] if folder in composites else rendered(folder))


def all_targets() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("objects", TARGETS, indirect=True, ids=name_of)


def is_built_in(item: Table) -> bool:
    group = text(item, "apiVersion")
    return group.startswith(BUILT_IN)


@all_targets()
def test_rendered_objects_fit_the_schemas_of_every_supported_version(objects: list[Table]):
    assert objects
    for item in filter(is_built_in, objects):
        validate(json.dumps(item))


@cache
def validate(item: str) -> None:
    for version in VERSIONS:
        # An unknown kind raises SchemaNotFoundError, which fails the test.
        kubernetes_validate.validate(json.loads(item), version, strict=True)


@all_targets()
def test_custom_resources_fit_their_schemas(objects: list[Table]):
    custom = [item for item in objects if not is_built_in(item)]
    if not custom:
        return
    if not CRDS.is_dir():
        pytest.skip(
            f"{[text(i, 'kind') for i in custom]} not checked: no schemas at ../shared/crds"
        )
    for item in custom:
        group, _, version = text(item, "apiVersion").partition("/")
        name = f"{text(item, 'kind').lower()}-{group.partition('.')[0]}-{version}.json"
        # Not `jsonschema.validate`: Go's patterns are no schema of Python's in the eyes of its check.
        schema = json.loads((CRDS / name).read_text())
        errors = jsonschema.Draft202012Validator(schema).iter_errors(item)
        assert [error.message for error in errors] == []


def lines(manifests: Manifests) -> Iterator[str]:
    for name, rule in RULES.items():
        for finding in rule(manifests):
            yield f"{name}: {finding.where}: {finding.what}"


@pytest.mark.parametrize("name", ["local-cpu", "staging", "production"])
def test_overlays_keep_every_rule(name: str):
    assert list(lines(overlay(name))) == []


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: c.name)
def test_each_component_over_everything_keeps_every_rule(
    component: Path, composites: dict[Path, str]
):
    found = Manifests(objects=parse(composites[component]), provided=promised())
    assert list(lines(found)) == []


def test_overlay_keys_are_promised_only_where_they_are_not_rendered():
    """What k8s/provided.yaml lists is named by some pod of staging."""
    named = rendered(K8S / "overlays" / "staging")
    for kind, name in promised():
        if kind == "Secret":
            assert name in named


def test_production_lacks_nothing_but_the_digests_that_only_a_registry_knows():
    production = overlay("production")
    findings = [f for rule in PINNED.values() for f in rule(production)]
    assert len(findings) == sum(len(pod.containers) for pod in production.pods)


def test_every_object_says_what_it_is_part_of():
    for name in ("local-cpu", "staging", "production"):
        for item in overlay(name).objects:
            if text(item, "kind") in ("ConfigMap", "Secret", "PersistentVolumeClaim"):
                continue
            assert "align2llava" in json.dumps(item), object_name(item)


# Each with the reason why it is not for us.
CHECKOV_SKIPS = {
    "CKV_K8S_43": "digests are set by tools/pin_images.py and demanded by --pinned",
    "CKV_K8S_15": "an image of a fixed tag or digest need not be pulled again",
    "CKV_K8S_11": "a CPU limit throttles probes and the event loop; memory is limited",
    "CKV_K8S_35": "the driver's one key comes by environment: the driver reads no key file",
    "CKV_K8S_40": "the user is BentoML's own, 1034, which must be in the image's /etc/passwd",
    "CKV_K8S_8": "the loader of local-cpu sleeps for an hour; services have probes, by our lint",
    "CKV_K8S_9": "the loader of local-cpu sleeps for an hour; services have probes, by our lint",
}


def test_checkov_finds_nothing_beyond_the_justified(tmp_path: Path):
    if not CHECKOV.exists():
        pytest.skip("checkov is not installed: make k8s-check makes .venv-checkov")
    for name in ("local-cpu", "staging", "production"):
        (tmp_path / f"{name}.yaml").write_text(rendered(K8S / "overlays" / name))
    skips = [word for check in CHECKOV_SKIPS for word in ("--skip-check", check)]
    done = subprocess.run(
        [
            CHECKOV,
            "-d",
            tmp_path,
            "--framework",
            "kubernetes",
            "--skip-download",
            "-o",
            "json",
            *skips,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    failed = [
        (c["check_id"], c["check_name"], c["resource"]) for c in report["results"]["failed_checks"]
    ]
    assert not failed
    assert report["summary"]["passed"] > 300
    assert report["summary"]["parsing_errors"] == 0
