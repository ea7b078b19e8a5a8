"""Commands and variables: what a pod runs and is told is what our code takes."""

from collections.abc import Iterator, Sequence
from typing import get_args

import click
import typer
import yaml
from bentoml_cli.cli import create_bentoml_cli
from pydantic import ValidationError
from typer.exceptions import TyperException

from align2llava.pipeline.cli.app import app
from align2llava.pipeline.config.schema import API_KEY, Config
from align2llava.pipeline.serving.service_process import TARGETS
from align2llava.services.settings import (
    DRIVER_PREFIX,
    PREFIX,
    ServiceKind,
    SettingsError,
    load_settings,
)
from tools.k8s_lint.manifests import Finding, Manifests, Pod, where
from tools.k8s_lint.trees import Table, rows, text, texts

SOURCE = "/home/bentoml/bento/src"  # where an image made of a Bento has our packages
_KEYS = "A2L_API_KEYS_FILE"
_SECRET_FILES = (_KEYS, "A2L_TLS_CERT_FILE", "A2L_TLS_KEY_FILE", "A2L_TLS_CLIENT_CA_FILE")


def serve_commands(manifests: Manifests) -> Iterator[Finding]:
    """A service's pod runs `bentoml serve` with its own target and options that there are."""
    cli = create_bentoml_cli()
    assert isinstance(cli, click.Group)
    for pod in manifests.service_pods:
        for container in pod.containers:
            words = [*texts(container, "command"), *texts(container, "args")]
            if words[:3] != ["bentoml", "serve", TARGETS.get(pod.name, "")]:
                yield Finding(where=pod.where, what=f"runs {' '.join(words[:3])}")
            if f"--working-dir={SOURCE}" not in words:
                yield Finding(where=pod.where, what=f"no --working-dir={SOURCE}")
            serve = cli.get_command(click.Context(cli), "serve")
            assert serve is not None
            try:
                serve.make_context("serve", words[2:])
            except click.UsageError as error:
                yield Finding(where=pod.where, what=f"bentoml serve: {error.format_message()}")


def driver_commands(manifests: Manifests) -> Iterator[Finding]:
    """A job that runs `a2l` uses a verb and options that there are."""
    for pod in manifests.job_pods:
        for container in pod.containers:
            words = [*texts(container, "command"), *texts(container, "args")]
            if words[:1] == ["a2l"] and (fault := _usage_error(words[1:])):
                yield Finding(where=pod.where, what=f"{' '.join(words)}: {fault}")


def _usage_error(words: Sequence[str]) -> str:
    group = typer.main.get_command(app)
    verbs: dict[str, click.Command] = getattr(group, "commands", {})
    if not words or words[0] not in verbs:
        return "there is no such verb"
    try:
        verbs[words[0]].make_context(words[0], list(words[1:]))
    except (TyperException, click.UsageError) as error:
        return str(error)
    return ""


def environment_names(manifests: Manifests) -> Iterator[Finding]:
    """Every `A2L_*` variable is one that this process reads, with a value that it takes."""
    for pod in manifests.pods:
        for container in pod.containers:
            environ = manifests.environment(container)
            if pod.component == "service":
                yield from _bad_settings(pod, environ)
            else:
                for name in environ:
                    if name.startswith(PREFIX) and not _is_read_by_driver(name):
                        yield Finding(where=pod.where, what=f"nobody here reads {name}")


def _bad_settings(pod: Pod, environ: dict[str, str]) -> Iterator[Finding]:
    kind = next((kind for kind in get_args(ServiceKind) if kind == pod.name), None)
    if kind is None:
        yield Finding(where=pod.where, what=f"there is no service {pod.name!r}")
        return
    if stray := [name for name in environ if name.startswith(DRIVER_PREFIX)]:
        yield Finding(where=pod.where, what=f"a service does not read {stray[0]}")
    if not environ.get("A2L_MODEL_DIR"):
        yield Finding(where=pod.where, what="A2L_MODEL_DIR is not set")
    here = {name: value for name, value in environ.items() if name not in _SECRET_FILES}
    try:
        load_settings(kind, {**here, "A2L_MODEL_DIR": "/"})  # the pod's own is checked as a mount
    except SettingsError as error:
        yield Finding(where=pod.where, what=str(error))


def _is_read_by_driver(name: str) -> bool:
    if name == API_KEY:
        return True
    section, _, key = name.removeprefix(DRIVER_PREFIX).lower().partition("__")
    fields = Config.model_fields
    annotation = fields[section].annotation if section in fields else None
    return name.startswith(DRIVER_PREFIX) and key in getattr(annotation, "model_fields", {})


def mounted_files(manifests: Manifests) -> Iterator[Finding]:
    """The model lies in a volume, keys and certificates in a Secret; without keys none serves."""
    for pod in manifests.service_pods:
        secrets = {
            text(volume, "name") for volume in rows(pod.spec, "volumes") if "secret" in volume
        }
        for container in pod.containers:
            environ = manifests.environment(container)
            mounts = rows(container, "volumeMounts")
            anywhere = [f"{text(mount, 'mountPath')}/" for mount in mounts]
            secret = [f"{text(m, 'mountPath')}/" for m in mounts if text(m, "name") in secrets]
            model = environ.get("A2L_MODEL_DIR", "")
            if not model.startswith(tuple(anywhere)):
                yield Finding(where=pod.where, what=f"A2L_MODEL_DIR {model!r} is in no volume")
            for name in _SECRET_FILES:
                path = environ.get(name, "")
                if (path or name == _KEYS) and not path.startswith(tuple(secret)):
                    yield Finding(where=pod.where, what=f"{name} {path!r} is in no Secret")


def driver_config(manifests: Manifests) -> Iterator[Finding]:
    """A curation's config fits the schema, and its endpoints are Services and ports that exist."""
    for item in manifests.of("ConfigMap"):
        written = text(item, "data", "curate.yaml")
        if not written:
            continue
        try:
            config = Config.model_validate(yaml.safe_load(written))
        except (yaml.YAMLError, ValidationError) as error:
            yield Finding(where=where(item), what=f"curate.yaml: {error}")
            continue
        for endpoint in (
            config.endpoints.question_reward,
            config.endpoints.answer_reward,
            config.endpoints.inner_llm,
        ):
            for url in endpoint.urls() if endpoint is not None else ():
                if fault := _unserved(manifests, url):
                    yield Finding(where=where(item), what=fault)


def _unserved(manifests: Manifests, url: str) -> str:
    host, _, port = url.rpartition("/")[2].partition(":")
    service = manifests.find("Service", host)
    if service is None:
        return f"{url}: there is no Service {host!r}"
    if port not in {text(row, "port") for row in rows(service, "spec", "ports")}:
        return f"{url}: the Service has no port {port}"
    is_headless = text(service, "spec", "clusterIP") == "None"
    if url.startswith("dns:///") and not is_headless:
        return f"{url}: the Service is not headless, so one pod gets every call"
    return _wrong_port_name(service, url, port)


def _wrong_port_name(service: Table, url: str, port: str) -> str:
    scheme = "http" if url.startswith("http") else "grpc"
    names = [
        text(row, "name") for row in rows(service, "spec", "ports") if text(row, "port") == port
    ]
    return "" if names == [scheme] else f"{url}: that port is {names[0]!r}"


def training_config(manifests: Manifests) -> Iterator[Finding]:
    """A training's config fits the schema, and its paths lie in mounted volumes."""
    from align2llava.pipeline.training.config import RewardTrainingConfig  # noqa: PLC0415  (imports torch)

    for item in manifests.of("ConfigMap"):
        written = text(item, "data", "train.yaml")
        if not written:
            continue
        try:
            config = RewardTrainingConfig.model_validate(yaml.safe_load(written))
        except (yaml.YAMLError, ValidationError) as error:
            yield Finding(where=where(item), what=f"train.yaml: {error}")
            continue
        for path in (config.train.path, config.test.path, config.model.base, config.run.work):
            if not str(path).startswith(("/workspace/", "/models/")):
                yield Finding(where=where(item), what=f"train.yaml: {path} is on no claim")
