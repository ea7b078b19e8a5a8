"""Jobs: templates that never run by themselves, and what a failure of their pods means."""

from collections.abc import Iterator

from tools.k8s_lint.manifests import Finding, Manifests, where
from tools.k8s_lint.trees import at, number, rows, table, text, texts

_CHECKPOINTED = 75
_BAD_INPUT = 2


def templates(manifests: Manifests) -> Iterator[Finding]:
    """A CronJob is suspended: Jobs are made from it, and it makes none."""
    for cron in manifests.of("CronJob"):
        if at(cron, "spec", "suspend") is not True:
            yield Finding(where=where(cron), what="is not suspended")


def bounds(manifests: Manifests) -> Iterator[Finding]:
    """A Job ends: it has a deadline, a number of tries, and a time after which it is removed."""
    for cron in manifests.of("CronJob"):
        job = table(cron, "spec", "jobTemplate", "spec")
        for key in ("activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"):
            if number(job, key) <= 0:
                yield Finding(where=where(cron), what=f"no {key}")
        if text(job, "podReplacementPolicy") != "Failed":
            yield Finding(where=where(cron), what="podReplacementPolicy is not Failed")
        if text(job, "template", "spec", "restartPolicy") != "Never":
            yield Finding(where=where(cron), what="restartPolicy is not Never")


def failures(manifests: Manifests) -> Iterator[Finding]:
    """Disruptions and exit 75 cost no try; exit 2 fails at once."""
    for cron in manifests.of("CronJob"):
        job = table(cron, "spec", "jobTemplate", "spec")
        names = {text(c, "name") for c in rows(job, "template", "spec", "containers")}
        found: set[tuple[str, str | int]] = set()
        for rule in rows(job, "podFailurePolicy", "rules"):
            action = text(rule, "action")
            for condition in rows(rule, "onPodConditions"):
                if text(condition, "status") == "True":
                    found.add((action, text(condition, "type")))
            if text(rule, "onExitCodes", "operator") == "In":
                if text(rule, "onExitCodes", "containerName") not in names:
                    yield Finding(where=where(cron), what="a failure rule names no container")
                codes = at(rule, "onExitCodes", "values")
                codes = codes if isinstance(codes, list) else []
                found |= {(action, code) for code in codes if isinstance(code, int)}
        needed: set[tuple[str, str | int]] = {
            ("Ignore", "DisruptionTarget"), ("Ignore", _CHECKPOINTED), ("FailJob", _BAD_INPUT),
        }  # fmt: skip
        for action, cause in sorted(needed - found, key=str):
            yield Finding(where=where(cron), what=f"no rule {action} for {cause}")


def resumes(manifests: Manifests) -> Iterator[Finding]:
    """A job that is started again goes on where it was."""
    for pod in manifests.job_pods:
        for container in pod.containers:
            words = [*texts(container, "command"), *texts(container, "args")]
            wanted = {"train": "auto", "curate": "if-possible"}.get(" ".join(words[1:2]))
            if wanted and f"--resume {wanted}" not in " ".join(words):
                yield Finding(where=pod.where, what=f"no --resume {wanted}")
