"""Faults to plant in rendered manifests: each names the rule that must find it.

What they change is plain data, addressed by path: `set_at(thing, value, "spec", "replicas")`.
"""

from collections.abc import Callable
from typing import Any

Objects = list[Any]
Mutation = Callable[[Objects], None]
ABSENT = object()


def find(objects: Objects, kind: str, name: str) -> Any:
    return next(o for o in objects if o["kind"] == kind and o["metadata"]["name"].startswith(name))


def set_at(thing: Any, value: object, *path: str | int) -> None:
    """Sets, or with ABSENT removes, what lies under the path."""
    for key in path[:-1]:
        thing = thing[key]
    if value is ABSENT:
        del thing[path[-1]]
    else:
        thing[path[-1]] = value


def template(thing: Any) -> Any:
    if thing["kind"] == "CronJob":
        return thing["spec"]["jobTemplate"]["spec"]["template"]
    return thing["spec"]["template"]


def at(kind: str, name: str, value: object, *path: str | int) -> Mutation:
    """A change of one object."""
    return lambda objects: set_at(find(objects, kind, name), value, *path)


def in_pod(name: str, value: object, *path: str | int, kind: str = "Deployment") -> Mutation:
    """A change of a pod's `spec`."""
    return lambda objects: set_at(template(find(objects, kind, name))["spec"], value, *path)


def in_container(name: str, value: object, *path: str | int, kind: str = "Deployment") -> Mutation:
    """A change of a pod's first container."""
    return in_pod(name, value, "containers", 0, *path, kind=kind)


def in_job(name: str, value: object, *path: str | int) -> Mutation:
    """A change of a template's Job `spec`."""
    return at("CronJob", name, value, "spec", "jobTemplate", "spec", *path)


def argument(name: str, old: str, new: str, *, kind: str = "Deployment") -> Mutation:
    """A word of the command line, replaced; removed where `new` is empty."""

    def change(objects: Objects) -> None:
        words = template(find(objects, kind, name))["spec"]["containers"][0]["args"]
        place = words.index(old)
        words[place : place + 1] = [new] if new else []

    return change


def variable(name: str, key: str, value: str, *, kind: str = "Deployment") -> Mutation:
    """A variable of the container, added or overridden."""

    def change(objects: Objects) -> None:
        env = template(find(objects, kind, name))["spec"]["containers"][0].setdefault("env", [])
        env[:] = [row for row in env if row["name"] != key] + [{"name": key, "value": value}]

    return change


def without(kind: str, name: str) -> Mutation:
    """An object that is not there."""
    return lambda objects: objects.remove(find(objects, kind, name))


def text_of(kind: str, name: str, key: str, *, old: str, new: str) -> Mutation:
    """A text in an object's `data`, replaced."""

    def change(objects: Objects) -> None:
        data = find(objects, kind, name)["data"]
        assert old in data[key]
        data[key] = data[key].replace(old, new)

    return change


def volume(name: str, volume_name: str, value: dict[str, Any] | None) -> Mutation:
    """A volume of a pod, replaced, or removed where `value` is None."""

    def change(objects: Objects) -> None:
        volumes = template(find(objects, "Deployment", name))["spec"]["volumes"]
        place = next(i for i, row in enumerate(volumes) if row["name"] == volume_name)
        volumes[place : place + 1] = [{"name": volume_name, **value}] if value is not None else []

    return change


def mount(name: str, volume_name: str, value: dict[str, Any] | None) -> Mutation:
    """A mount of a container, replaced, or removed where `value` is None."""

    def change(objects: Objects) -> None:
        mounts = template(find(objects, "Deployment", name))["spec"]["containers"][0][
            "volumeMounts"
        ]
        place = next(i for i, row in enumerate(mounts) if row["name"] == volume_name)
        mounts[place : place + 1] = [{"name": volume_name, **value}] if value is not None else []

    return change


def scaler(target: str, *, names: tuple[str, ...] = ("scaler",)) -> Mutation:
    """Scalers of a Deployment whose own replicas are taken out."""

    def change(objects: Objects) -> None:
        find(objects, "Deployment", "inner-llm")["spec"].pop("replicas", None)
        for name in names:
            objects.append(
                {
                    "kind": "HorizontalPodAutoscaler",
                    "metadata": {"name": name},
                    "spec": {"scaleTargetRef": {"name": target}},
                }
            )

    return change
