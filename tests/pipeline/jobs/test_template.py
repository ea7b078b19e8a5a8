"""Templates from files and kustomizations: what renders is a valid Job, what does not is named."""

import os
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from align2llava.pipeline.errors import ConfigError
from align2llava.pipeline.jobs.template import cron_job_in, job_from, job_text
from tests.pipeline.jobs.world import K8S, NAME, TEMPLATE
from tools.kubectl import kubectl_path

TEMPLATES = {
    "train-question-reward": K8S / "jobs" / "train-question-reward",
    "train-answer-reward": K8S / "jobs" / "train-answer-reward",
    "model-download": K8S / "jobs" / "model-download",
    "curate": K8S / "base" / "curation",
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:kubernetes_validate")
def test_job_of_each_template_is_valid_and_keeps_its_spec(name: str):
    path = TEMPLATES[name] / "cronjob.yaml"
    job = yaml.safe_load(job_text(job_from(cron_job_in(path, name), sets=(), run=None)))
    kubernetes_validate.validate(job, "1.34", strict=True)
    given = yaml.safe_load(path.read_text())["spec"]["jobTemplate"]["spec"]
    assert job["spec"] == given


def test_kustomization_is_rendered_by_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "kubectl").symlink_to(kubectl_path())
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    job = job_from(cron_job_in(TEMPLATES[NAME], NAME), sets=(), run=None)
    assert job.spec is not None
    assert job.spec.template.spec is not None
    (config,) = [one for one in job.spec.template.spec.volumes or () if one.name == "config"]
    assert config.configMap is not None
    assert str(config.configMap.name).startswith(f"{NAME}-config-")  # with its hash
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "kustomization.yaml").write_text("resources: [nothing.yaml]\n")
    with pytest.raises(ConfigError, match=r"broken: does not render: .*nothing\.yaml") as caught:
        cron_job_in(tmp_path / "broken", NAME)
    assert "\n" not in str(caught.value)


def test_folder_without_kubectl_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="needs kubectl on the PATH"):
        cron_job_in(TEMPLATES[NAME], NAME)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a: [", "no YAML", id="no YAML"),
        pytest.param("a: " + "9" * 5000, "no YAML", id="5,000 digits"),
        pytest.param("a: " + "[" * 1000, "no YAML", id="deep nesting"),
        pytest.param("kind: CronJob\nmetadata: {name: other}", "there are: other", id="another"),
        pytest.param("", "there are: none", id="empty"),
        pytest.param(f"kind: CronJob\nmetadata: {{name: {NAME}}}", "does not render", id="no spec"),
        pytest.param(
            f"kind: CronJob\nmetadata: {{name: {NAME}}}\nspec: {{schedule: x, jobTemplate: 3}}",
            r"does not render: .*\.spec\.jobTemplate",
            id="wrong type",
        ),
    ],
)
def test_manifest_that_does_not_render_is_named(tmp_path: Path, text: str, said: str):
    path = tmp_path / "jobs.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        cron_job_in(path, NAME)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read"):
        cron_job_in(tmp_path / "none.yaml", NAME)


@pytest.mark.parametrize("run", ["Monday", "-a", "a_b", "a" * 64])
def test_name_that_no_job_can_have_is_refused(run: str):
    with pytest.raises(ConfigError, match=f"job name {run}: up to 63"):
        job_from(cron_job_in(TEMPLATE, NAME), sets=(), run=run)


def test_template_without_the_container_is_refused():
    template = cron_job_in(TEMPLATE, NAME)
    assert template.spec.jobTemplate.spec is not None
    assert template.spec.jobTemplate.spec.template.spec is not None
    template.spec.jobTemplate.spec.template.spec.containers[0].name = "main"
    with pytest.raises(ConfigError, match="no container named job"):
        job_from(template, sets=(), run=None)
