"""Holds the examples for Terraform to its form and to its provider, where there is a Terraform; it is in no registry that
every machine can reach, so elsewhere that is said."""

import os
import shutil
import subprocess

import templates

EXAMPLES = templates.INFRA / "examples" / "terraform"
# What each of the others needs beside it.
SHARED = "main.tf"


def check(folder):
    """The folder is for what `terraform init` writes. TERRAFORM_PLUGIN_DIR names one that has the provider, where the
    registry can't be reached."""
    program = shutil.which("terraform")
    if not program:
        yield "NOT CHECKED: there is no terraform on this machine"
        return
    # A file that is not there is complained of on every call.
    configuration = os.environ.get("TF_CLI_CONFIG_FILE", "")
    environment = {name: value for name, value in os.environ.items() if name != "TF_CLI_CONFIG_FILE"}
    if os.path.exists(configuration):
        environment["TF_CLI_CONFIG_FILE"] = configuration

    def run(*words, at=EXAMPLES):
        return subprocess.run([program, *words], cwd=at, env=environment, capture_output=True, text=True)

    formed = run("fmt", "-check", "-diff", "-no-color")
    assert formed.returncode == 0, f"terraform fmt would write\n{formed.stdout}{formed.stderr}"
    examples = sorted(path for path in EXAMPLES.glob("*.tf") if path.name != SHARED)
    yield f"terraform fmt: {len(examples) + 1} files, and nothing to change"

    plugins = os.environ.get("TERRAFORM_PLUGIN_DIR")
    for example in examples:
        alone = folder / example.stem
        shutil.rmtree(alone, ignore_errors=True)
        alone.mkdir(parents=True)
        for path in (EXAMPLES / SHARED, example):
            shutil.copy(path, alone)
        made = run("init", "-backend=false", "-input=false", *([f"-plugin-dir={plugins}"] if plugins else []), at=alone)
        if made.returncode:
            yield "NOT CHECKED: terraform validate, because the provider can't be had (TERRAFORM_PLUGIN_DIR may name it)"
            return
        valid = run("validate", "-no-color", at=alone)
        assert valid.returncode == 0, f"{example.name}: {valid.stdout}{valid.stderr}"
    yield f"terraform validate: {len(examples)} examples, each with {SHARED} alone"
