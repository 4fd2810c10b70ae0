"""The compose file, where no engine is at hand: what it names exists, its promises hold, its configuration loads."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from config import Settings, hosts, load
from tests.deploy.conftest import DEPLOY, ROOT

FOLDER = DEPLOY / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
INGESTD = SERVICES["ingestd"]


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Where each source is mounted."""
    return dict(one.split(":")[:2] for one in service["volumes"])


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


@pytest.mark.parametrize("kind", ["secrets", "networks", "volumes"])
def test_what_the_services_name_is_defined_and_the_other_way_round(kind: str) -> None:
    named = {
        one.split(":")[0]
        for service in SERVICES.values()
        for one in service.get(kind, [])
        if not one.startswith(("./", "/"))
    }
    assert named == set(COMPOSE[kind])


@pytest.mark.parametrize("name", SERVICES)
def test_each_container_may_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    # ingestd's image has a user of its own.
    assert name == "ingestd" or service["user"] not in {"0", "root", "0:0"}
    # No secret in the environment, where `docker inspect` shows it.
    assert all(key.endswith("_FILE") for key in service.get("environment", {}) if "PASSWORD" in key)


def test_key_store_and_content_are_apart() -> None:
    content, keystore = SERVICES["content"], SERVICES["keystore"]
    assert not set(mounts(content)) & set(mounts(keystore))
    assert set(content["secrets"]).isdisjoint(keystore["secrets"])
    assert COMPOSE["networks"]["databases"]["internal"] is True
    for database in (content, keystore):
        assert database["networks"] == ["databases"]
        assert "ports" not in database


def test_the_databases_are_asked_as_they_are_set_up() -> None:
    for name in ("content", "keystore"):
        database = SERVICES[name]
        check = database["healthcheck"]["test"]
        assert f"--username={database['environment']['POSTGRES_USER']}" in check
        assert f"--dbname={database['environment']['POSTGRES_DB']}" in check
        assert database["environment"]["POSTGRES_PASSWORD_FILE"] == f"/run/secrets/{database['secrets'][0]}"
        assert INGESTD["depends_on"][name]["condition"] == "service_healthy"


def test_the_daemon_is_built_from_this_repository_and_brings_its_health_check() -> None:
    assert (FOLDER / INGESTD["build"]["context"]).resolve() == ROOT
    assert "healthcheck" not in INGESTD
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "HEALTHCHECK" in dockerfile
    assert "VOLUME " + mounts(INGESTD)["blobs"] in dockerfile


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as an operator has it, after the first step."""
    if os.geteuid() != 0:
        pytest.skip("gives files to the containers' users, which root can")
    folder = tmp_path_factory.mktemp("compose") / "compose"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("secrets"))
    subprocess.run([str(folder / "secrets.sh")], check=True)
    return folder


@pytest.fixture
def settings(copy: Path, tmp_path: Path) -> Settings:
    text = (copy / "etc" / "ingestd.yaml").read_text()
    for name in INGESTD["secrets"]:
        text = text.replace(f"/run/secrets/{name}", str(copy / COMPOSE["secrets"][name]["file"]))
    assert "/run/secrets" not in text
    config = tmp_path / "ingestd.yaml"
    config.write_text(text)
    return load(config)


def test_its_configuration_loads_with_its_secrets(settings: Settings, copy: Path) -> None:
    assert [(one.host, one.port) for one in hosts(settings)] == [("content", 5432), ("keystore", 5432)]
    for name, url in (("content", settings.storage.database), ("keystore", settings.storage.keystore)):
        parts = urlsplit(url)
        environment = SERVICES[name]["environment"]
        assert parts.username == environment["POSTGRES_USER"]
        assert parts.path == "/" + environment["POSTGRES_DB"]
        assert parts.password == (copy / "secrets" / f"{name}_password").read_text()
    assert settings.storage.blobs_dir.is_relative_to(mounts(INGESTD)["blobs"])
    assert len(settings.keys.master_key_bytes()) == 32


def test_only_this_machine_reaches_its_port(settings: Settings) -> None:
    assert INGESTD["ports"] == [f"127.0.0.1:{settings.api.listen_port}:{settings.api.listen_port}"]
    assert settings.api.listen_host == "0.0.0.0"


def test_a_stop_has_time_enough(settings: Settings) -> None:
    assert seconds(INGESTD["stop_grace_period"]) > 2 * settings.shutdown_seconds


def test_each_secret_belongs_to_its_reader_alone(copy: Path) -> None:
    for name, service in SERVICES.items():
        reader = 10001 if name == "ingestd" else int(service["user"].partition(":")[0])
        for secret in service["secrets"]:
            found = (copy / COMPOSE["secrets"][secret]["file"]).stat()
            assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (reader, 0o400)


def test_secrets_that_are_there_stay(copy: Path) -> None:
    before = {path.name: path.read_bytes() for path in (copy / "secrets").iterdir()}
    subprocess.run([str(copy / "secrets.sh")], check=True)
    assert {path.name: path.read_bytes() for path in (copy / "secrets").iterdir()} == before
    assert set(before) == set(COMPOSE["secrets"])
