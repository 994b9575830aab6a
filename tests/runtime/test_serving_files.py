"""The manifests beside runtime/serve_*.py: valid for Kubernetes, and of one mind with Triton."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "runtime" / "serving"


@pytest.fixture
def manifests():
    """Each object of kubernetes.yaml by its kind."""
    text = (FOLDER / "kubernetes.yaml").read_text(encoding="utf-8")
    objects = list(yaml.safe_load_all(text))
    return {value["kind"]: value for value in objects}


@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_kubernetes_takes_every_object(manifests, version):
    validator = pytest.importorskip("kubernetes_validate")
    assert len(manifests) == 4
    for value in manifests.values():
        validator.validate(value, version, strict=True)


def test_pods_serve_when_the_models_are_loaded(manifests):
    (pod,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert re.search(r":\d+\.\d+-py3$", pod["image"])
    assert pod["resources"]["limits"]["nvidia.com/gpu"] == 1
    ports = {port["name"]: port["containerPort"] for port in pod["ports"]}
    assert ports == {"http": 8000, "grpc": 8001, "metrics": 8002}
    assert pod["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    assert pod["command"] == [f"{pod['volumeMounts'][0]['mountPath']}/start.sh"]
    volumes = {v["name"] for v in manifests["Deployment"]["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in pod["volumeMounts"]} == volumes


def test_names_agree(manifests):
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    scaler = manifests["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == manifests["Deployment"]["metadata"]["name"]
    volumes = manifests["Deployment"]["spec"]["template"]["spec"]["volumes"]
    claim = manifests["PersistentVolumeClaim"]["metadata"]["name"]
    assert volumes[0]["persistentVolumeClaim"]["claimName"] == claim


def test_the_autoscaler_asks_for_what_the_adapter_makes_of_triton(manifests):
    rules = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text(encoding="utf-8"))
    (rule,) = rules["rules"]["custom"]
    (metric,) = manifests["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    series = set(re.findall(r"nv_\w+", rule["metricsQuery"]))
    assert series == {"nv_inference_queue_duration_us", "nv_inference_request_success"}
    assert re.fullmatch(rule["name"]["matches"], "nv_inference_queue_duration_us")
