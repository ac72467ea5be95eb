"""The dashboard and the alert rules ask for metrics and labels that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from liaison.relay import exposition

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "observability"
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())

PROMTOOL = shutil.which("promtool")

FAMILIES = {family.name: family for family in exposition.FAMILIES}
# What Prometheus itself adds, and what a histogram's buckets have.
LABELS = {"instance", "job", "le"}
_METRIC = re.compile(r"\b((?:liaison|process|python)_\w+)(?:\{([^}]*)\})?")
_BY = re.compile(r"\bby \(([^)]*)\)")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


def alerts() -> list[dict[str, Any]]:
    return [rule for group in RULES for rule in group["rules"]]


def panels() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


EXPRESSIONS = [
    *(pytest.param(rule["expr"], id=rule["alert"]) for rule in alerts()),
    *(pytest.param(expr, id=f"{title} {number}") for number, (title, expr) in enumerate(panels())),
]


def given() -> set[str]:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return {sample.name for family in registry.collect() for sample in family.samples}


def family_of(metric: str) -> exposition.Family | None:
    found = FAMILIES.get(metric) or FAMILIES.get(metric.removesuffix("_bucket"))
    if found is not None and (found.kind == "histogram") != metric.endswith("_bucket"):
        return None
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_asks_for_metrics_and_labels_that_there_are(expression: str) -> None:
    known = LABELS | {
        label
        for metric, _ in _METRIC.findall(expression)
        for label in getattr(family_of(metric), "labels", ())
    }

    for metric, matchers in _METRIC.findall(expression):
        family = family_of(metric)
        if not metric.startswith("liaison_"):
            assert metric in given()
            continue
        assert family is not None, metric
        assert set(_LABEL.findall(matchers)) <= {*family.labels, *LABELS}
    for names in _BY.findall(expression):
        assert {name.strip() for name in names.split(",")} <= known


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    found = alerts()

    assert len({rule["alert"] for rule in found}) == len(found)
    for rule in found:
        assert rule["labels"]["severity"] in {"page", "warn"}
        assert set(rule["annotations"]) == {"summary", "action"}


@pytest.mark.skipif(PROMTOOL is None, reason="Prometheus is not installed")
def test_the_rules_fire_when_something_is_wrong_and_not_when_all_is_well() -> None:
    cases = Path(__file__).with_name("alerts.test.yaml")

    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", cases], check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "rule",
    [rule for rule in alerts() if " offset " in rule["expr"]],
    ids=lambda rule: str(rule["alert"]),
)
def test_a_rule_that_compares_with_before_fires_also_where_there_was_nothing_before(
    rule: dict[str, Any],
) -> None:
    # Nothing is greater than what is not there.
    assert len(re.findall(r"\boffset\b", rule["expr"])) == len(
        re.findall(r"\bor 0\b", rule["expr"])
    )


def test_what_an_operator_has_to_be_woken_for_has_an_alert() -> None:
    named = {metric for rule in alerts() for metric, _ in _METRIC.findall(rule["expr"])}

    assert named >= {
        "liaison_ready",
        "liaison_log_lag_seconds",
        "liaison_log_witnesses",
        "liaison_disk_free_bytes",
        "liaison_tls_certificate_expiry_timestamp_seconds",
        "liaison_writer_commit_duration_seconds_bucket",
        "liaison_problems_total",
        "liaison_writer_waiting_operations",
    }
    assert any("up{" in rule["expr"] for rule in alerts())


def test_every_metric_of_the_relay_is_on_the_dashboard_or_in_an_alert() -> None:
    named = {
        getattr(family_of(metric), "name", metric)
        for expression in [*(rule["expr"] for rule in alerts()), *(expr for _, expr in panels())]
        for metric, _ in _METRIC.findall(expression)
    }

    assert set(FAMILIES) - named <= {
        # It is what the dashboard finds relays by.
        "liaison_build_info",
        "liaison_writer_waiting_bytes",
    }
    assert "liaison_build_info" in json.dumps(DASHBOARD["templating"])


def test_panels_have_names_and_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert panel["title"]
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_the_example_for_prometheus_reads_the_rules_and_the_relay() -> None:
    example = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())

    (job,) = example["scrape_configs"]
    assert example["rule_files"] == ["alerts.yaml"]
    assert job["job_name"] == "liaison-relay"
    assert all(f'job="{job["job_name"]}"' in e for _, e in panels() if "process_" in e)
