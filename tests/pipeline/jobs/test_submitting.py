"""What submit creates, and that it creates nothing else."""

import pytest

from align2llava.pipeline.errors import ConfigError, EndpointError
from align2llava.pipeline.jobs.cluster import NotThereError, connected
from align2llava.pipeline.jobs.states import Phase
from align2llava.pipeline.jobs.submitting import ClusterAddress, create, listed, planned
from tests.pipeline.jobs.world import NAME, TEMPLATE, World


def place(world: World) -> ClusterAddress:
    return ClusterAddress(kubeconfig=world.kubeconfig, namespace=None)


async def test_job_is_what_kubectl_makes_from_the_cronjob(world: World):
    template = world.add_template()
    job = await planned(NAME, place=place(world), sets=["gpus=2"], run=None, manifests=None)
    first = (await create(job, place=place(world))).metadata
    second = (await create(job, place=place(world))).metadata
    assert first is not None
    assert second is not None
    assert str(first.name).startswith(f"{NAME}-")
    assert first.name != second.name
    assert first.annotations == {"cronjob.kubernetes.io/instantiate": "manual"}
    (owner,) = first.ownerReferences or []
    assert template.metadata is not None
    assert (owner.kind, owner.name, owner.uid) == ("CronJob", NAME, template.metadata.uid)
    kept = world.jobs()[0].spec
    assert kept is not None
    assert kept.podReplacementPolicy == "Failed"


async def test_planning_creates_nothing(world: World):
    world.add_template()
    await planned(NAME, place=place(world), sets=(), run=None, manifests=None)
    assert world.jobs() == []


async def test_template_of_a_file_needs_no_cronjob_in_the_cluster(world: World):
    job = await planned(NAME, place=place(world), sets=(), run="monday", manifests=TEMPLATE)
    assert job.metadata is not None
    assert job.metadata.ownerReferences is None
    await create(job, place=place(world))
    assert len(world.jobs()) == 1


async def test_unknown_template_is_refused_with_those_there_are(world: World):
    world.add_template()
    with pytest.raises(NotThereError, match=f"cronjob tune: none in namespace default.*{NAME}"):
        await planned("tune", place=place(world), sets=(), run=None, manifests=None)


async def test_name_that_is_taken_is_refused(world: World):
    world.start_job(NAME, run="monday")
    job = await planned(NAME, place=place(world), sets=(), run="monday", manifests=TEMPLATE)
    with pytest.raises(ConfigError, match=r"job monday: .* \(409\): .* already exists"):
        await create(job, place=place(world))
    assert len(world.jobs()) == 1


async def test_quota_names_the_job_and_the_limit_and_leaves_nothing(fake_world: World):
    said = 'jobs.batch "train" is forbidden: exceeded quota: jobs, requested: count/jobs.batch=1'
    fake_world.server.faults.refuse["create", "jobs"] = (403, "Forbidden", said)
    job = await planned(NAME, place=place(fake_world), sets=(), run=None, manifests=TEMPLATE)
    with pytest.raises(EndpointError) as caught:
        await create(job, place=place(fake_world))
    assert str(caught.value) == f"job {NAME}-*: refused in namespace default (403): {said}"
    assert fake_world.jobs() == []


async def test_list_shows_state_and_reason_newest_first(world: World):
    world.start_job(NAME, run="done")
    world.start_job(NAME, run="stuck")
    world.condition("done", "SuccessCriteriaMet", "Complete")
    world.add_pod("stuck", "stuck-a")
    world.stall_pod("stuck-a", reason="InvalidImageName", message="couldn't parse")
    async with connected(kubeconfig=world.kubeconfig, namespace=None) as cluster:
        rows = await listed(cluster)
    assert [(row.name, row.phase) for row in rows] == [
        ("stuck", Phase.STUCK),
        ("done", Phase.COMPLETE),
    ]
    assert "InvalidImageName" in rows[0].why
