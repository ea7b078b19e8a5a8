"""The verbs `a2l jobs ...`: thin over `pipeline.jobs`; lightkube is imported when one runs."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import orjson
import typer

from align2llava.pipeline.screen import say, say_json, tell

if TYPE_CHECKING:
    from align2llava.pipeline.jobs.states import JobState

jobs = typer.Typer(
    name="jobs",
    no_args_is_help=True,
    help="Runs trainings, curations and downloads as Jobs on Kubernetes. "
    "Example: a2l jobs submit train-question-reward",
)
verbs = typer.Typer()
verbs.add_typer(jobs)

_Result = TypeVar("_Result")

JobName = Annotated[str, typer.Argument(help="The job's name, as submit printed it.")]
Namespace = Annotated[str | None, typer.Option(help="Default: the one of the kubeconfig.")]
Kubeconfig = Annotated[
    Path | None,
    typer.Option(envvar="KUBECONFIG", help="Default: the pod's account, else ~/.kube/config."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@jobs.command("submit")
def _submit(
    template: Annotated[str, typer.Argument(help="The suspended CronJob: a kind of job.")],
    *,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="KEY=VALUE: image, config, arg, env.NAME, gpus, cpu, memory, backoffLimit, "
            "activeDeadlineSeconds, ttlSecondsAfterFinished.",
        ),
    ] = None,
    run: Annotated[str | None, typer.Option(help="The job's name. Default: a new one.")] = None,
    manifests: Annotated[
        Path | None,
        typer.Option(help="Take the template from this YAML file or kustomization instead."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the Job's YAML, create nothing.")] = False,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    as_json: AsJson = False,
) -> None:
    """Makes a job from a template. Example: `a2l jobs submit curate --set arg=--limit=100`."""
    from align2llava.pipeline.jobs import submitting  # noqa: PLC0415 - as it runs
    from align2llava.pipeline.jobs.template import job_text  # noqa: PLC0415 - as it runs

    place = submitting.ClusterAddress(kubeconfig=kubeconfig, namespace=namespace)
    job = _ran(
        submitting.planned(template, place=place, sets=sets or (), run=run, manifests=manifests)
    )
    if dry_run:
        say_json(_json(job.to_dict())) if as_json else say(job_text(job), end="")
        return
    made = _ran(submitting.create(job, place=place))
    assert made.metadata is not None
    name = str(made.metadata.name)
    told = {"name": name, "namespace": made.metadata.namespace, "uid": made.metadata.uid}
    say_json(_json(told)) if as_json else say(name)


@jobs.command("wait")
def _wait(
    name: JobName,
    *,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds; then exit 124. Default: no limit.")
    ] = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    as_json: AsJson = False,
) -> None:
    """Waits until the job is complete, tells why if not. Example: `a2l jobs wait curate-x7k2p`."""
    from align2llava.pipeline.jobs import watching  # noqa: PLC0415 - as it runs
    from align2llava.pipeline.jobs.cluster import connected  # noqa: PLC0415 - as it runs

    def told_state(state: "JobState") -> None:
        tell(f"{name}: {state.phase}" + (f": {state.why}" if state.why else ""))

    async def waited() -> "JobState":
        async with connected(kubeconfig=kubeconfig, namespace=namespace) as cluster:
            return await watching.wait(
                cluster, name, timeout_s=timeout, pace=watching.PollInterval(), tell=told_state
            )

    state = _ran(waited())
    if as_json:
        say_json(_json({"name": name, "phase": state.phase}))


@jobs.command("logs")
def _logs(
    name: JobName,
    *,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the job ends, over its pods.")
    ] = False,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Prints the log of the job's newest pod. Example: `a2l jobs logs -f curate-x7k2p`."""
    from align2llava.pipeline.jobs import logs  # noqa: PLC0415 - as it runs
    from align2llava.pipeline.jobs.cluster import connected  # noqa: PLC0415 - as it runs
    from align2llava.pipeline.jobs.watching import PollInterval  # noqa: PLC0415 - as it runs

    async def shown() -> None:
        async with connected(kubeconfig=kubeconfig, namespace=namespace) as cluster:
            if follow:
                await logs.follow_log(cluster, name, pace=PollInterval(), write=say)
            else:
                await logs.show_log(cluster, name, write=say)

    _ran(shown())


@jobs.command("list")
def _list(
    *, namespace: Namespace = None, kubeconfig: Kubeconfig = None, as_json: AsJson = False
) -> None:
    """Lists the jobs made from our templates, newest first. Example: `a2l jobs list --json`."""
    from align2llava.pipeline.jobs import submitting  # noqa: PLC0415 - as it runs
    from align2llava.pipeline.jobs.cluster import connected  # noqa: PLC0415 - as it runs

    async def found() -> list[submitting.Listed]:
        async with connected(kubeconfig=kubeconfig, namespace=namespace) as cluster:
            return await submitting.listed(cluster)

    rows = _ran(found())
    if as_json:
        say_json(_json(rows))
        return
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        created = f"{row.created:%Y-%m-%d %H:%M}" if row.created is not None else ""
        say(f"{row.name:{width}}  {row.phase:9}  {created}  {row.why}".rstrip())


@jobs.command("delete")
def _delete(name: JobName, *, namespace: Namespace = None, kubeconfig: Kubeconfig = None) -> None:
    """Deletes a job and its pods, running or not. Example: `a2l jobs delete curate-x7k2p`."""
    from align2llava.pipeline.jobs.cluster import connected  # noqa: PLC0415 - as it runs

    async def deleted() -> None:
        async with connected(kubeconfig=kubeconfig, namespace=namespace) as cluster:
            await cluster.job(name)
            await cluster.delete(name)

    _ran(deleted())
    say(f"deleted {name}")


def _ran(work: Coroutine[None, None, _Result]) -> _Result:
    """Returns what the work gives; Ctrl-C leaves the job as it is."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _json(found: object) -> str:
    return orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()
