"""Monitoring: the rules' own unit tests, and that what they ask for is what a live service shows."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from align2llava.clients.wire.schemas import Group, RewriteItem
from tests.contract.servers import Server, free_port, server
from tests.contract.wire_values import answer_item, question_group, square, wire_image
from tools.k8s_lint.rendering import K8S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

FOLDER = K8S / "components" / "monitoring"
RULES = yaml.safe_load((FOLDER / "rules.yaml").read_text())["spec"]
DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))
KINDS = ("question-reward", "answer-reward", "inner-llm")
METRIC = re.compile(r"\b(?:service:)?a2l_[a-z0-9_]+(?::[a-z0-9_]+)?\b")


def panels() -> list[tuple[str, str]]:
    return [
        (f"{path.stem}: {panel['title']}", target["expr"])
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def asked(expression: str) -> list[str]:
    """What must return data: an alert's threshold is taken off, and `absent` asks for nothing."""
    if "absent(" in expression:
        return []
    return [re.sub(r" (>|<) [0-9.]+$", "", expression)]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """The three services with the fake engine, with their metrics."""
    settings = {"BENTOML_CONFIG_OVERRIDES": "{}"}
    folder = tmp_path_factory.mktemp("live")
    with (
        server(KINDS[0], folder / "q", settings=settings) as question,
        server(KINDS[1], folder / "a", settings=settings) as answer,
        server(KINDS[2], folder / "l", settings=settings) as inner,
    ):
        yield [question, answer, inner]


async def traffic(servers: list[Server]) -> None:
    """A good and a refused item and a refused request for each reward service, and one rewrite."""
    for running in servers[:2]:
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.post(f"{running.url('rest')}/v1/score", json={"groups": 1})
        client = running.reward_client("grpc")
        broken = wire_image(b"no image")
        if running.kind == "question-reward":
            groups = [question_group("hello"), question_group("hello", image=broken)]
        else:
            items = (answer_item("a", "question", "answer"),)
            groups = [Group(image=square(), items=items), Group(image=broken, items=items)]
        await client.score(groups, timeout_s=20)
        await client.aclose()
    inner = servers[2].inner_client("rest")
    await inner.rewrite(
        [RewriteItem(id="a", question="Describe it.", answer="A star.")], timeout_s=20
    )
    await inner.aclose()


def shown(running: Server) -> set[str]:
    text = httpx.get(f"{running.url('rest')}/metrics", trust_env=False).text
    return {line.partition(" ")[0].partition("{")[0] for line in text.splitlines() if line}


async def test_every_expression_speaks_of_metrics_that_live_services_show(live: list[Server]):
    await traffic(live)
    found = set[str]().union(*(shown(running) for running in live)) | recorded()
    expressions = panels() + [
        (rule.get("record", rule.get("alert", "")), rule["expr"]) for rule in rules()
    ]
    assert len(expressions) > 25
    for title, expression in expressions:
        names = METRIC.findall(expression)
        assert names, title
        assert set(names) <= found, title


def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian's package prometheus): rules not tested")
    return found


def test_the_rules_pass_their_unit_tests(tmp_path: Path):
    (tmp_path / "rules.plain.yaml").write_text(yaml.safe_dump(RULES))
    shutil.copy(FOLDER / "rules_test.yaml", tmp_path)
    for command in (["check", "rules", "rules.plain.yaml"], ["test", "rules", "rules_test.yaml"]):
        done = subprocess.run(
            [promtool(), *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_unit_test_and_a_runbook_that_exists():
    tested = yaml.safe_load((FOLDER / "rules_test.yaml").read_text())["tests"]
    names = {alert["alertname"] for test in tested for alert in test.get("alert_rule_test", [])}
    alerts = [rule for rule in rules() if "alert" in rule]
    assert names == {rule["alert"] for rule in alerts}
    readme = (K8S / "README.md").read_text()
    for rule in alerts:
        heading = rule["annotations"]["runbook"].partition(": ")[2]
        assert f"**{heading}**" in readme


async def test_every_expression_returns_data_from_a_prometheus_that_scrapes_the_services(
    live: list[Server], tmp_path: Path
):
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not installed: expressions not evaluated on live services")
    await traffic(live)
    port = free_port()
    with _scraping(prometheus, live, tmp_path, port=port):
        await traffic(live)
        expressions = [part for _, expr in panels() for part in asked(expr)]
        expressions += [part for rule in rules() for part in asked(rule["expr"])]
        end = time.monotonic() + 60
        empty = expressions
        while empty and time.monotonic() < end:
            await traffic(live)
            empty = [expression for expression in empty if not _returns(port, expression)]
        assert not empty


def _returns(port: int, expression: str) -> bool:
    url = f"http://127.0.0.1:{port}/api/v1/query"
    try:
        answer = httpx.get(url, params={"query": expression}, trust_env=False).json()
    except httpx.TransportError:
        return False
    assert answer["status"] == "success", f"{expression}: {answer}"
    return bool(answer["data"]["result"])


@contextmanager
def _scraping(prometheus: str, live: list[Server], folder: Path, *, port: int) -> Iterator[None]:
    """A Prometheus with our rules, once a second; it labels targets as the PodMonitor does."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(RULES))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {
                "job_name": "align2llava",
                "static_configs": [
                    {
                        "targets": [f"127.0.0.1:{running.http_port}"],
                        "labels": {"service": running.kind, "pod": f"{running.kind}-0"},
                    }
                    for running in live
                ],
            }
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with (folder / "log").open("wb") as output:
        process = subprocess.Popen(
            [
                prometheus,
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)
