"""The manifests of runtime/serving: valid for Kubernetes, and of one mind with Triton."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from runtime.serving.start import START

FOLDER = Path(__file__).resolve().parents[2] / "runtime" / "serving"


PAGE = FOLDER.parents[1] / "docs" / "serve.md"


def objects_of(name):
    """Each object of a file by its kind."""
    objects = list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))
    found = {value["kind"]: value for value in objects}
    assert len(found) == len(objects)
    return found


@pytest.fixture
def manifests():
    return objects_of("kubernetes.yaml")


@pytest.fixture
def models():
    return objects_of("models.yaml")


@pytest.fixture
def values():
    """Those of prometheus-adapter."""
    return yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text(encoding="utf-8"))


def mounted(pod):
    """The path in the pod's container by the claim that is mounted there."""
    (container,) = pod["containers"]
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    return {v["persistentVolumeClaim"]["claimName"]: paths[v["name"]] for v in volumes}


@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_kubernetes_takes_every_object(manifests, models, version):
    validator = pytest.importorskip("kubernetes_validate")
    assert set(manifests) == {"Deployment", "Service", "HorizontalPodAutoscaler"}
    assert set(models) == {"PersistentVolumeClaim", "Pod"}
    for value in (*manifests.values(), *models.values()):
        validator.validate(value, version, strict=True)


def test_pods_serve_when_the_models_are_loaded(manifests):
    (pod,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert re.search(r":\d+\.\d+-py3$", pod["image"])
    assert pod["resources"]["limits"]["nvidia.com/gpu"] == 1
    ports = {port["name"]: port["containerPort"] for port in pod["ports"]}
    assert ports == {"http": 8000, "grpc": 8001, "metrics": 8002}
    assert pod["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    volumes = {v["name"] for v in manifests["Deployment"]["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in pod["volumeMounts"]} == volumes


def test_names_agree(manifests):
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    scaler = manifests["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == manifests["Deployment"]["metadata"]["name"]


def test_the_models_are_copied_to_where_the_server_starts(manifests, models):
    claim, writer = models["PersistentVolumeClaim"], models["Pod"]
    server = manifests["Deployment"]["spec"]["template"]["spec"]
    (target,) = re.findall(r"kubectl cp repo (\S+)", PAGE.read_text(encoding="utf-8"))
    assert set(mounted(writer["spec"])) == set(mounted(server)) == {claim["metadata"]["name"]}
    assert target == f"{writer['metadata']['name']}:{mounted(writer['spec'])['emca-models']}"
    start = f"{mounted(server)['emca-models']}/repo/{START}"  # kubectl cp keeps the folder's name
    assert server["containers"][0]["args"][0] == start
    user = {key: server["securityContext"][key] for key in ("runAsUser", "fsGroup")}
    assert user == {key: writer["spec"]["securityContext"][key] for key in user}


def test_a_dynamic_claim_can_be_written(models):
    (mode,) = models["PersistentVolumeClaim"]["spec"]["accessModes"]
    assert mode == "ReadWriteMany"
    assert not models["Pod"]["spec"]["containers"][0]["volumeMounts"][0].get("readOnly")


def test_a_window_holds_several_scrapes(values):
    (rule,) = values["rules"]["custom"]
    windows = {int(minutes) for minutes in re.findall(r"\[(\d+)m\]", rule["metricsQuery"])}
    assert len(windows) == 1
    assert windows.pop() >= 4  # the chart's Prometheus scrapes each minute
    assert int(values["metricsRelistInterval"].removesuffix("m")) > 1


def test_the_autoscaler_asks_for_what_the_adapter_makes_of_triton(manifests, values):
    (rule,) = values["rules"]["custom"]
    (metric,) = manifests["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    series = set(re.findall(r"nv_\w+", rule["metricsQuery"]))
    assert series == {"nv_inference_queue_duration_us", "nv_inference_request_success"}
    assert re.fullmatch(rule["name"]["matches"], "nv_inference_queue_duration_us")
