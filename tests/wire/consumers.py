"""The example in docs/consumers.md, as it stands there, goes through a rotation."""

import contextlib
import os
import re
import subprocess
import sys

from clients import SPEED, TAGS
from world import ROOT, Local, bare_environment, wait_until


def the_example_for_consumers_runs_as_it_stands():
    with Local() as local:
        settings = {"SECRET_ID": local.adopt("acme-shop"), "API_URL": local.url(), "CALLS": "3"}
        environment = bare_environment() | local.environment | settings
        done = subprocess.run(
            [sys.executable, "-c", example()], env=environment, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout.split()) == (0, ["200"] * 3), done


def the_example_for_consumers_survives_a_rotation():
    with Local("--speed", str(SPEED)) as local, configured(local):
        module = {"__name__": "example"}
        exec(compile(example(), "docs/consumers.md", "exec"), module)
        secret, url = local.adopt("acme-shop", **TAGS), local.url()
        old = local.value(secret)
        consumer = module["ApiKey"](secret)
        statuses = [consumer.call(url)]

        local.boto3("secretsmanager").rotate_secret(SecretId=secret)
        wait_until(f"{secret} has a new value", lambda: local.value(secret) != old)
        statuses.append(consumer.call(url))

        # A server that has not heard of the new key yet, for a consumer that reads only now.
        enabled(local, secret, False)
        assert local.call(local.value(secret)) == 403
        assert module["ApiKey"](secret).call(url) == 200, "it falls back to AWSPREVIOUS"
        enabled(local, secret, True)

        def refused():
            statuses.append(consumer.call(url))
            return local.call(old) == 403

        wait_until("the old key is refused", refused)
        # It holds the old key still: only reading the secret again gets it through.
        statuses.append(consumer.call(url))
        assert set(statuses) == {200}, statuses
        assert module["ApiKey"]("no-such-secret").call(url) == 403, "it gives up, and reports it"
        print(f"    {secret}: {len(statuses)} calls through a rotation, all answered with 200")


def example():
    """The code between the page's markers."""
    page = (ROOT / "docs" / "consumers.md").read_text()
    found = re.search(r"<!-- example:start -->\n```python\n(.*?)```\n<!-- example:end -->", page, re.DOTALL)
    assert found, "docs/consumers.md has no example between its markers"
    return found[1]


@contextlib.contextmanager
def configured(local):
    """This process's environment as a consumer has it."""
    before = dict(os.environ)
    os.environ.update(bare_environment() | local.environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def enabled(local, secret, wanted):
    """Tells API Gateway to take the secret's newest key, or not to."""
    newest = local.rotator("show", secret)["versions"][0]
    change = [{"op": "replace", "path": "/enabled", "value": str(wanted).lower()}]
    local.boto3("apigateway").update_api_key(apiKey=newest["provider"]["id"], patchOperations=change)


TESTS = [
    the_example_for_consumers_runs_as_it_stands,
    the_example_for_consumers_survives_a_rotation,
]
