"""Each rule of the lint bites: a fault planted in a rendered overlay is found by the rule that is for it."""

import ast
import copy

import pytest
import typer

from tests.k8s.folders import K8S, overlay
from tests.k8s.mutations import (
    ABSENT,
    Mutation,
    argument,
    at,
    in_container,
    in_job,
    in_pod,
    mount,
    scaler,
    text_of,
    variable,
    volume,
    without,
)
from tools.k8s_lint.__main__ import lint
from tools.k8s_lint.manifests import Manifests
from tools.k8s_lint.rules import PINNED, RULES
from tools.k8s_lint.rules.lifecycle import ENGINE_SHUTDOWN_S
from tools.kubectl import ROOT

pytestmark = pytest.mark.timeout(120)

Q, A, L = "question-reward", "answer-reward", "inner-llm"
TRAIN = "train-question-reward"
DIGEST = "registry.example.com/a@sha256:" + "0" * 64

FAULTS: list[tuple[str, str, Mutation]] = [
    ("serve_commands", "another service's target", argument(Q, "align2llava.services.question_reward:QuestionReward", "align2llava.services.answer_reward:AnswerReward")),
    ("serve_commands", "an option that is none", argument(Q, "--host=0.0.0.0", "--hosts=0.0.0.0")),
    ("serve_commands", "another program", in_container(Q, ["uvicorn"], "command")),
    ("serve_commands", "another folder", argument(Q, "--working-dir=/home/bentoml/bento/src", "--working-dir=/app")),
    ("driver_commands", "a verb that is none", argument(TRAIN, "train", "teach", kind="CronJob")),
    ("driver_commands", "an option that is none", argument(TRAIN, "--resume", "--continue", kind="CronJob")),
    ("driver_commands", "a kind that is none", argument(TRAIN, "question", "questions", kind="CronJob")),
    ("environment_names", "an unknown setting", variable(Q, "A2L_MAX_BATCH", "8")),
    ("environment_names", "a value out of range", variable(Q, "A2L_DTYPE", "float8")),
    ("environment_names", "an engine of another service", variable(L, "A2L_ENGINE", "torch")),
    ("environment_names", "a driver's variable", variable(Q, "A2L__API_KEY", "x")),
    ("environment_names", "a service's variable", variable("curate", "A2L_DEVICE", "cuda", kind="CronJob")),
    ("environment_names", "a key that no config has", variable("curate", "A2L__RUN__SEEDS", "1", kind="CronJob")),
    ("environment_names", "no model", variable(Q, "A2L_MODEL_DIR", "")),
    ("mounted_files", "no keys", variable(Q, "A2L_API_KEYS_FILE", "")),
    ("mounted_files", "keys outside a Secret", variable(Q, "A2L_API_KEYS_FILE", "/srv/keys")),
    ("mounted_files", "a model outside a volume", variable(Q, "A2L_MODEL_DIR", "/srv/model")),
    ("driver_config", "a key that the schema lacks", text_of("ConfigMap", "curate-config", "curate.yaml", old="seed:", new="sede:")),
    ("driver_config", "a Service that is none", text_of("ConfigMap", "curate-config", "curate.yaml", old="inner-llm-headless", new="inner-lm-headless")),
    ("driver_config", "a port that is none", text_of("ConfigMap", "curate-config", "curate.yaml", old="50053", new="50054")),
    ("driver_config", "one address for all pods", text_of("ConfigMap", "curate-config", "curate.yaml", old="inner-llm-headless", new="inner-llm")),
    ("driver_config", "gRPC to the REST port", text_of("ConfigMap", "curate-config", "curate.yaml", old="dns:///inner-llm-headless:50053", new="grpc://inner-llm:3003")),
    ("training_config", "a key that the schema lacks", text_of("ConfigMap", TRAIN, "train.yaml", old="steps:", new="step:")),
    ("training_config", "a path on no claim", text_of("ConfigMap", TRAIN, "train.yaml", old="/workspace/train/", new="/srv/train/")),
    ("templates", "a template that runs", at("CronJob", TRAIN, False, "spec", "suspend")),
    ("bounds", "no deadline", in_job(TRAIN, ABSENT, "activeDeadlineSeconds")),
    ("bounds", "kept for ever", in_job(TRAIN, ABSENT, "ttlSecondsAfterFinished")),
    ("bounds", "two pods on one folder", in_job(TRAIN, "TerminatingOrFailed", "podReplacementPolicy")),
    ("bounds", "restarts in place", in_job(TRAIN, "OnFailure", "template", "spec", "restartPolicy")),
    ("failures", "a preemption counts", in_job(TRAIN, "False", "podFailurePolicy", "rules", 0, "onPodConditions", 0, "status")),
    ("failures", "a snapshot counts", in_job(TRAIN, [76], "podFailurePolicy", "rules", 1, "onExitCodes", "values")),
    ("failures", "a bad config is tried again", in_job(TRAIN, "Count", "podFailurePolicy", "rules", 2, "action")),
    ("failures", "a rule for nobody", in_job(TRAIN, "main", "podFailurePolicy", "rules", 1, "onExitCodes", "containerName")),
    ("resumes", "begins again", argument(TRAIN, "auto", "never", kind="CronJob")),
    ("resumes", "begins again", argument("curate", "if-possible", "never", kind="CronJob")),
    ("probes", "no readiness", in_container(Q, ABSENT, "readinessProbe")),
    ("probes", "liveness that depends on the model", in_container(Q, "/readyz", "livenessProbe", "httpGet", "path")),
    ("grace", "too short", in_pod(Q, 60, "terminationGracePeriodSeconds")),
    ("grace", "a longer drain", variable(Q, "A2L_DRAIN_MS", "90000")),
    ("grace", "no preStop", in_container(Q, ABSENT, "lifecycle")),
    ("grace", "REST drains for ever", argument(Q, "--timeout-graceful-shutdown=30", "")),
    ("scarce_gpus", "a surge of GPUs", at("Deployment", Q, 1, "spec", "strategy", "rollingUpdate", "maxSurge")),
    ("scarce_gpus", "a rollout that cannot begin", at("Deployment", Q, 0, "spec", "strategy", "rollingUpdate", "maxUnavailable")),
    ("denied_by_default", "no denial", without("NetworkPolicy", "deny-all")),
    ("denied_by_default", "egress open", at("NetworkPolicy", "deny-all", ["Ingress"], "spec", "policyTypes")),
    ("policy_selectors", "a policy for nobody", at("NetworkPolicy", "curation-out", {"matchLabels": {"app": "curate"}}, "spec", "podSelector")),
    ("policy_selectors", "a port that is none", at("NetworkPolicy", "services-in", "rpc", "spec", "ingress", 0, "ports", 0, "port")),
    ("open_doors", "the curation is kept out", without("NetworkPolicy", "services-in")),
    ("probe_ports", "a port that is none", in_container(Q, "web", "livenessProbe", "httpGet", "port")),
    ("service_ports", "a port that is none", at("Service", Q, "web", "spec", "ports", 0, "targetPort")),
    ("monitored_ports", "a port that is none", at("PodMonitor", "align2llava", "metrics", "spec", "podMetricsEndpoints", 0, "port")),
    ("process_ports", "REST elsewhere", argument(Q, "--port=3001", "--port=3000")),
    ("process_ports", "gRPC elsewhere", variable(Q, "A2L_GRPC_PORT", "50052")),
    ("named_objects", "no ConfigMap", without("ConfigMap", "curate-config")),
    ("named_objects", "no claim", without("PersistentVolumeClaim", "models")),
    ("named_objects", "another Secret", volume(Q, "api-keys", {"secret": {"secretName": "keys"}})),
    ("named_objects", "another priority", in_pod(Q, "high", "priorityClassName")),
    ("named_keys", "a key that the ConfigMap lacks", volume(Q, "tmp", {"configMap": {"name": "a2l-dashboards", "items": [{"key": "nobody.json"}]}})),
    ("mounts", "a mount of no volume", volume(Q, "shm", None)),
    ("mounts", "a volume that nobody mounts", mount(Q, "models", None)),
    ("own_selectors", "selects nothing", at("Deployment", Q, "reward", "spec", "selector", "matchLabels", "app.kubernetes.io/name")),
    ("own_selectors", "selects its neighbours", at("Deployment", Q, {"app.kubernetes.io/component": "service"}, "spec", "selector", "matchLabels")),
    ("service_selectors", "selects nothing", at("Service", Q, "reward", "spec", "selector", "app.kubernetes.io/name")),
    ("grpc_services", "a cluster address", at("Service", f"{Q}-headless", ABSENT, "spec", "clusterIP")),
    ("disruption_budgets", "none", without("PodDisruptionBudget", Q)),
    ("disruption_budgets", "selects nothing", at("PodDisruptionBudget", Q, {"app": Q}, "spec", "selector", "matchLabels")),
    ("disruption_budgets", "lets none go", at("PodDisruptionBudget", Q, 0, "spec", "maxUnavailable")),
    ("one_name_each", "another namespace", at("Service", Q, "default", "metadata", "namespace")),
    ("one_name_each", "a name twice", at("Service", Q, f"{Q}-headless", "metadata", "name")),
    ("gpu_requests", "no request", in_container(Q, ABSENT, "resources", "requests", "nvidia.com/gpu")),
    ("gpu_requests", "no toleration", in_pod(Q, [], "tolerations")),
    ("memory", "a limit above the request", in_container(Q, "64Gi", "resources", "limits", "memory")),
    ("memory", "no cpu", in_container(Q, ABSENT, "resources", "requests", "cpu")),
    ("memory", "tmpfs as large as the limit", volume(Q, "shm", {"emptyDir": {"medium": "Memory", "sizeLimit": "32Gi"}})),
    ("bounded_scratch", "no size", volume(Q, "tmp", {"emptyDir": {}})),
    ("bounded_scratch", "more than asked for", volume(Q, "tmp", {"emptyDir": {"sizeLimit": "50Gi"}})),
    ("shared_memory", "none", mount(Q, "shm", {"mountPath": "/shm"})),
    ("shared_memory", "on disk", volume(Q, "shm", {"emptyDir": {"sizeLimit": "1Gi"}})),
    ("spread", "none", in_pod(Q, [], "topologySpreadConstraints")),
    ("spread", "counts others", in_pod(Q, {"app": Q}, "topologySpreadConstraints", 0, "labelSelector", "matchLabels")),
    ("scalers", "a target that is none", scaler("inner-lm")),
    ("scalers", "two for one", scaler(L, names=("one", "two"))),
    ("scalers", "replicas stated too", scaler(A)),
    ("restricted", "as root", in_pod(Q, 0, "securityContext", "runAsUser")),
    ("restricted", "more privileges", in_container(Q, True, "securityContext", "allowPrivilegeEscalation")),
    ("restricted", "capabilities", in_container(Q, [], "securityContext", "capabilities", "drop")),
    ("restricted", "no seccomp", in_pod(Q, ABSENT, "securityContext", "seccompProfile")),
    ("read_only_root", "a writable root", in_container(Q, False, "securityContext", "readOnlyRootFilesystem")),
    ("read_only_root", "BentoML writes into the root", variable(Q, "BENTOML_HOME", "/home/bentoml")),
    ("no_token", "a token", in_pod(Q, True, "automountServiceAccountToken")),
    ("no_token", "variables of Services", in_pod(Q, ABSENT, "enableServiceLinks")),
    ("image_tags", "latest", in_container(Q, "registry.example.com:5000/a:latest", "image")),
    ("image_tags", "no tag", in_container(Q, "registry.example.com:5000/a", "image")),
    ("image_digests", "a tag", in_container(Q, "registry.example.com/a:1", "image")),
    ("image_digests", "a model by tag", volume(Q, "models", {"image": {"reference": "registry.example.com/m:1"}})),
]  # fmt: skip


def pinned_staging() -> Manifests:
    """Staging as it is where every image has a digest."""
    staging = overlay("staging")
    objects = copy.deepcopy(list(staging.objects))
    for pod in Manifests(objects=objects).pods:
        for container in pod.containers:
            container["image"] = DIGEST
    return Manifests(objects=objects, provided=staging.provided)


@pytest.mark.parametrize(
    ("name", "fault", "mutate"), FAULTS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_rule_finds_the_fault_that_it_is_for(name: str, fault: str, mutate: Mutation):
    rule = {**RULES, **PINNED}[name]
    sound = pinned_staging()
    assert list(rule(sound)) == []
    objects = list(sound.objects)
    mutate(objects)
    findings = list(rule(Manifests(objects=objects, provided=sound.provided)))
    assert findings, fault
    assert all(finding.where and finding.what for finding in findings)


def test_every_rule_has_a_fault_that_it_finds():
    assert {name for name, _, _ in FAULTS} == {*RULES, *PINNED}


def test_every_rule_says_what_it_holds():
    assert all(rule.__doc__ for rule in {**RULES, **PINNED}.values())


def test_command_line_says_by_its_exit_code_what_it_found(capsys: pytest.CaptureFixture[str]):
    staging = K8S / "overlays" / "staging"
    for arguments, code in (
        ((staging, False), 0),
        ((staging, True), 1),
        ((K8S / "none", False), 2),
    ):
        with pytest.raises(typer.Exit) as caught:
            lint(arguments[0], pinned=arguments[1])
        assert caught.value.exit_code == code
    said = capsys.readouterr()
    assert "image_digests: Deployment/inner-llm: image " in said.out
    assert f"{staging}: {len(RULES)} rules, 0 findings" in said.err


def test_page_tells_how_many_rules_there_are():
    assert f"[{len(RULES)} rules]" in (K8S / "README.md").read_text()


def test_grace_counts_the_engines_own_shutdown():
    tree = ast.parse((ROOT / "services" / "engines" / "vllm_engine" / "llm.py").read_text())
    values = [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and ast.unparse(node.targets[0]) == "SHUTDOWN_TIMEOUT_S"
    ]
    assert values == [ENGINE_SHUTDOWN_S]
