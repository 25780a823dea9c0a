"""The examples in docs/examples, as they stand there."""

import contextlib
import os
import subprocess
import sys
import types

import boto3

from world import PATIENCE, ROOT, bare_environment

FOLDER = ROOT / "docs" / "examples"


def load(name):
    """The example as a module."""
    path = FOLDER / f"{name}.py"
    module = types.ModuleType(name)
    exec(compile(path.read_text(), path, "exec"), vars(module))
    return module


def run(local, name, given="", **settings):
    """The lines that the example prints, run as a program of its own, which reads `given`."""
    done = subprocess.run(
        command(name), env=environment(local, settings), input=given, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done
    return done.stdout.splitlines()


@contextlib.contextmanager
def running(local, name, **settings):
    """The example, as a program that does not end by itself."""
    process = subprocess.Popen(command(name), env=environment(local, settings), stderr=subprocess.DEVNULL)
    try:
        yield
        assert process.poll() is None, f"{name} ended by itself with {process.returncode}"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def configured(local):
    """This process's environment as a consumer has it."""
    before = dict(os.environ)
    os.environ.update(bare_environment() | local.environment)
    # boto3 keeps the credentials that it read first, and each local AWS has a key of its own.
    boto3.setup_default_session()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def command(name):
    return [sys.executable, FOLDER / f"{name}.py"]


def environment(local, settings):
    return bare_environment() | local.environment | settings
