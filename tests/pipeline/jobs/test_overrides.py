"""What `--set` changes in a job, and what it refuses."""

import pytest
from lightkube.resources.batch_v1 import Job

from align2llava.pipeline.errors import ConfigError
from align2llava.pipeline.jobs.overrides import container_of
from align2llava.pipeline.jobs.template import cron_job_in, job_from
from tests.pipeline.jobs.world import K8S, NAME, TEMPLATE


def changed(*sets: str) -> Job:
    return job_from(cron_job_in(TEMPLATE, NAME), sets=sets, run=None)


def test_fields_of_the_container_are_set():
    container = container_of(
        changed("image=registry/a2l:2", "arg=--x", "arg=1", "env.HOME=/home", "env.NEW=a=b")
    )
    assert container.image == "registry/a2l:2"
    assert (container.args or [])[-2:] == ["--x", "1"]
    assert {one.name: one.value for one in container.env or ()} == {
        "HOME": "/home",
        "OMP_NUM_THREADS": "1",
        "NEW": "a=b",
    }


def test_gpus_and_memory_are_requested_and_limited_alike_and_cpu_has_no_limit():
    resources = container_of(changed("gpus=4", "memory=128Gi", "cpu=16")).resources
    assert resources is not None
    for given in (resources.requests, resources.limits):
        assert given is not None
        assert (given["nvidia.com/gpu"], given["memory"]) == ("4", "128Gi")
    assert (resources.requests or {})["cpu"] == "16"
    assert "cpu" not in (resources.limits or {})


def test_config_is_the_volume_of_a_training_and_the_environment_of_a_download():
    spec = changed("config=mine").spec
    assert spec is not None
    assert spec.template.spec is not None
    names = [one.configMap.name for one in spec.template.spec.volumes or () if one.configMap]
    assert names == ["mine"]
    download = cron_job_in(K8S / "jobs" / "model-download" / "cronjob.yaml", "model-download")
    (source,) = container_of(job_from(download, sets=["config=mine"], run=None)).envFrom or []
    assert source.configMapRef is not None
    assert source.configMapRef.name == "mine"


def test_limits_of_the_job_are_numbers():
    spec = changed("backoffLimit=0", "activeDeadlineSeconds=60", "ttlSecondsAfterFinished=5").spec
    assert spec is not None
    assert (spec.backoffLimit, spec.activeDeadlineSeconds) == (0, 60)
    assert spec.ttlSecondsAfterFinished == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("parallelism=2", "unknown key parallelism", id="unknown key"),
        pytest.param("image", "KEY=VALUE is needed", id="no value"),
        pytest.param("image=", "KEY=VALUE is needed", id="empty value"),
        pytest.param("gpus=two", "a whole number from 0", id="gpus in words"),
        pytest.param("backoffLimit=-1", "a whole number from 0", id="below zero"),
        pytest.param("memory=16 GB", "a quantity such as", id="no quantity"),
        pytest.param("env.A-B=1", "A-B is no name", id="no variable"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(text: str, said: str):
    with pytest.raises(ConfigError, match=said) as caught:
        changed(text)
    assert f"--set {text}" in str(caught.value)


def test_every_key_is_in_the_page_for_operators():
    with pytest.raises(ConfigError, match="the keys are ") as caught:
        changed("nothing=1")
    keys = str(caught.value).rpartition("the keys are ")[2].split(", ")
    assert len(keys) == 10
    readme = (K8S / "README.md").read_text()
    assert [key for key in keys if f"`{key}=" not in readme] == []
