"""The manifests for Kubernetes: valid by its own schemas, and true to the service that they run."""

import re
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes_validate.utils import validate

from genlock import cli
from genlock._net import broker_urls
from genlock._net.urls import with_password_file
from genlock.consumers.amqp.topology import Topology
from genlock.service.database import postgres_urls
from genlock.service.settings import Settings
from tests.support.paths import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "kubernetes"
GUIDE = (REPOSITORY / "docs" / "production.md").read_text()
MANIFESTS = [
    (file.stem, manifest) for file in sorted(FOLDER.glob("*.yaml")) for manifest in yaml.safe_load_all(file.read_text())
]
OF_KEDA = ("ScaledObject", "TriggerAuthentication")
OURS = [manifest for _, manifest in MANIFESTS if manifest["kind"] not in OF_KEDA]

# The oldest and the newest that the schemas are there for.
VERSIONS = ("1.25", "1.37")


def the(kind: str) -> Any:
    """The one manifest of a kind."""
    (found,) = [manifest for _, manifest in MANIFESTS if manifest["kind"] == kind]
    return found


def pod(kind: str) -> Any:
    return the(kind)["spec"]["template"]


def container(kind: str) -> Any:
    (found,) = pod(kind)["spec"]["containers"]
    return found


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", OURS, ids=lambda manifest: manifest["kind"])
def test_manifest_is_valid_and_has_no_unknown_field(manifest: dict[str, Any], version: str) -> None:
    assert validate(manifest, version, strict=True) == version


def test_nothing_is_there_twice_and_everything_is_labelled() -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for _, manifest in MANIFESTS]
    assert len(names) == len(set(names))
    assert all(manifest["metadata"]["labels"]["app.kubernetes.io/name"] == "genlock" for _, manifest in MANIFESTS)


def test_probes_ask_the_pages_of_the_service_at_its_port() -> None:
    spec = container("Deployment")
    assert spec["ports"] == [{"name": "http", "containerPort": Settings().http_port}]
    probes = {name: spec[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")}
    assert probes == {
        "livenessProbe": {"path": "/livez", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }


def test_a_pod_has_more_time_to_stop_than_the_service_takes() -> None:
    assert pod("Deployment")["spec"]["terminationGracePeriodSeconds"] >= Settings().shutdown_timeout_s + 10


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_a_pod_has_no_rights_and_nothing_to_write_on(kind: str) -> None:
    spec, inner = pod(kind)["spec"], container(kind)
    user = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001}
    assert spec["securityContext"] == user | {"seccompProfile": {"type": "RuntimeDefault"}}
    assert spec["automountServiceAccountToken"] is False
    assert inner["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"requests", "limits"} <= inner["resources"].keys()
    # For a service named genlock-http Kubernetes would set GENLOCK_HTTP_PORT to a value that is no number.
    assert spec["enableServiceLinks"] is False


def test_tmp_can_be_written_on_for_the_metrics_of_several_workers() -> None:
    (volume,) = [volume for volume in pod("Deployment")["spec"]["volumes"] if "emptyDir" in volume]
    mount = {"name": volume["name"], "mountPath": "/tmp"}  # noqa: S108 - the container's
    assert mount in container("Deployment")["volumeMounts"]


def environment(kind: str) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container(kind)["env"]}


@pytest.mark.parametrize(("kind", "secret"), [("Deployment", "genlock"), ("Job", "genlock-owner")])
def test_variables_are_settings_and_passwords_are_files_of_the_secret_that_the_guide_makes(
    kind: str, secret: str
) -> None:
    variables = environment(kind)
    assert variables.keys() <= {f"GENLOCK_{name}".upper() for name in Settings.model_fields}
    volumes = {volume["name"]: volume.get("secret") for volume in pod(kind)["spec"]["volumes"]}
    (mount,) = [mount for mount in container(kind)["volumeMounts"] if volumes[mount["name"]] == {"secretName": secret}]
    assert mount["readOnly"]
    (keys,) = re.findall(rf"^kubectl create secret generic {secret} (.*)$", GUIDE, re.MULTILINE)
    files = {f"{mount['mountPath']}/{key}" for key in re.findall(r"--from-file=(\w+)", keys)}
    named = {name: value for name, value in variables.items() if name.endswith("_PASSWORD_FILE")}
    assert set(named.values()) == files
    for name in named:
        url = variables[name.replace("_PASSWORD_FILE", "_URL")]
        # The URL has no password, which would come before the file's.
        scheme = broker_urls.KIND if "AMQP" in name else postgres_urls.KIND
        assert with_password_file(url, "x", scheme) != url


def test_the_owner_migrates_and_grants_to_the_role_that_serves() -> None:
    serves, migrates = (urlsplit(environment(kind)["GENLOCK_DATABASE_URL"]) for kind in ("Deployment", "Job"))
    assert serves.username == environment("Job")["GENLOCK_SERVICE_ROLE"] != migrates.username
    assert serves._replace(netloc="") == migrates._replace(netloc="")
    assert (serves.hostname, serves.port) == (migrates.hostname, migrates.port)


def test_both_pods_run_this_version_with_a_command_that_there_is() -> None:
    commands = {command.callback.__name__ for command in cli.app.registered_commands if command.callback}
    for kind in ("Deployment", "Job"):
        assert container(kind)["image"] == f"genlock:{metadata.version('genlock')}"
        assert container(kind)["args"][0] in commands


def test_selectors_match_the_replicas_alone() -> None:
    replica, migration = (pod(kind)["metadata"]["labels"] for kind in ("Deployment", "Job"))
    selectors = [
        the("Deployment")["spec"]["selector"]["matchLabels"],
        the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        the("Service")["spec"]["selector"],
        pod("Deployment")["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selects(selector, replica)
        assert not selects(selector, migration)
    network = the("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    assert selects(network, replica)
    assert selects(network, migration)


def test_prometheus_finds_the_port() -> None:
    (port,) = the("Service")["spec"]["ports"]
    assert port["targetPort"] == container("Deployment")["ports"][0]["name"]
    annotations = the("Service")["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["port"]) == str(Settings().http_port)
    assert the("NetworkPolicy")["spec"]["ingress"][0]["ports"][0]["port"] == port["targetPort"]


def test_network_policy_lets_out_to_the_servers() -> None:
    ports = {
        (port["protocol"], port["port"]) for rule in the("NetworkPolicy")["spec"]["egress"] for port in rule["ports"]
    }
    assert ports == {("UDP", 53), ("TCP", 53), ("TCP", 5432), ("TCP", 5671), ("TCP", 5672)}


def test_replicas_follow_the_length_of_the_inbox() -> None:
    spec = the("ScaledObject")["spec"]
    deployment = the("Deployment")
    assert spec["scaleTargetRef"] == {"kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert spec["minReplicaCount"] == deployment["spec"]["replicas"] < spec["maxReplicaCount"]
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "rabbitmq"
    assert trigger["metadata"]["protocol"] == "amqp"
    assert trigger["metadata"]["mode"] == "QueueLength"
    assert trigger["metadata"]["queueName"] == Topology(Settings().namespace).inbox
    # KEDA takes texts, and counts what waits: less than a replica holds would never be too much.
    assert int(trigger["metadata"]["value"]) > Settings().prefetch
    authentication = the("TriggerAuthentication")
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert authentication["spec"]["secretTargetRef"] == [
        {"parameter": "host", "name": "genlock-keda", "key": "amqp-url"}
    ]
    assert "kubectl create secret generic genlock-keda --from-literal=amqp-url=" in GUIDE
