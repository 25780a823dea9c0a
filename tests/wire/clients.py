"""The `aws` command line, boto3 and this project's own commands rotate keys of a running `rotator local`.

Its clock runs 600 times as fast as real time: an overlap of two hours is over in twelve seconds.
"""

import datetime
import pathlib
import tempfile
import urllib.error
import urllib.request

import botocore.exceptions
from world import Local, ended, wait_until

SPEED = 600
# Nobody waits for evidence of disuse: it comes by the day.
TAGS = {"overlap": "PT2H", "consumer_cache": "PT1H", "soak": "PT2H", "idle_before_suspend": "PT0S"}


def the_aws_command_line_rotates_a_key():
    def rotate(local, secret):
        return local.aws("secretsmanager", "rotate-secret", "--secret-id", secret)["VersionId"]

    rotates("acme-shop", rotate)


def boto3_rotates_a_key():
    def rotate(local, secret):
        return local.boto3("secretsmanager").rotate_secret(SecretId=secret)["VersionId"]

    rotates("contoso-trips", rotate)


def rotator_rotates_a_key():
    def rotate(local, secret):
        done = local.rotator("rotate", secret)
        assert done["done"] and done["generation"] == 2, done
        return done["token"]

    rotates("fabrikam-logistics", rotate)


def the_command_line_shows_what_there_is():
    with Local() as local:
        assert local.rotator("list")["credentials"] == []
        planned = local.rotator("adopt", "--all", "--probe", local.probes[-1])
        assert not planned["applied"] and len(planned["keys"]) == 25, planned
        assert local.rotator("list")["credentials"] == [], "a plan changes nothing"
        secret = local.adopt("acme-shop")
        listed = local.rotator("list")["credentials"]
        assert [row["name"] for row in listed] == [secret] and listed[0]["state"] == "active", listed
        local.rotator("show", "no-such-secret", status=1)
        local.rotator("rotate", secret, "--emergency", status=2)


def nobody_without_its_key_is_let_in_and_no_page_of_another_site():
    with Local() as local, Local() as other:
        assert local.environment["AWS_ACCESS_KEY_ID"] != other.environment["AWS_ACCESS_KEY_ID"]
        endpoint, secret = local.environment["AWS_ENDPOINT_URL"], local.environment["AWS_SECRET_ACCESS_KEY"]
        names = [name for name in local.environment if name.startswith("AWS_") and name != "AWS_ENDPOINT_URL"]
        local.environment |= {name: other.environment[name] for name in names}
        assert refusal(local) == "UnrecognizedClientException", "another run's key"
        local.environment["AWS_ACCESS_KEY_ID"] = "LOCAL"
        local.environment["AWS_SECRET_ACCESS_KEY"] = secret
        assert refusal(local) == "UnrecognizedClientException"
        for name, value in {"Origin": "http://example.com", "Host": "example.com"}.items():
            request = urllib.request.Request(f"{endpoint}/apikeys", headers={name: value})
            try:
                urllib.request.urlopen(request, timeout=10)
                raise AssertionError(f"a request with that {name} was answered")
            except urllib.error.HTTPError as refused:
                said = refused.read().decode()
                assert refused.code == 403 and said.startswith(f"the {name} of this request"), said


def refusal(local):
    try:
        local.boto3("secretsmanager").list_secrets()
    except botocore.exceptions.ClientError as refused:
        return refused.response["Error"]["Code"]
    raise AssertionError("answered")


def a_state_directory_is_kept_and_one_process_s_at_a_time():
    with tempfile.TemporaryDirectory() as folder:
        state = pathlib.Path(folder) / "state"
        with Local("--state", str(state)) as local:
            secret = local.adopt("acme-shop")
            value = local.value(secret)
            assert all(path.stat().st_mode & 0o077 == 0 for path in [state, *state.iterdir()]), list(state.iterdir())
            status, said = ended("local", "--port", "0", "--state", str(state))
            assert status == 1 and f"another process keeps its state in {state}" in said, said
        with Local("--state", str(state)) as local:
            assert local.value(secret) == value
        state.chmod(0o755)
        status, said = ended("local", "--port", "0", "--state", str(state))
        assert status == 1 and f"chmod 700 {state}" in said, said


def rotates(key, rotate):
    """One rotation from end to end, as a consumer of the secret and of the API sees it."""
    with Local("--speed", str(SPEED)) as local:
        secret = local.adopt(key, **TAGS)
        old = local.value(secret)
        assert local.call(old) == 200, "the key works before its rotation"
        assert local.call("made-up-" + "0" * 20) == 403, "the API takes no key that nobody made"

        token = rotate(local, secret)
        wait_until(f"{secret} has a new value", lambda: local.value(secret) != old)
        new = local.value(secret)
        assert local.call(new) == 200, "the new key works as soon as a consumer can read it"
        assert local.call(old) == 200, "the old key works during its overlap"
        assert local.value(secret, "AWSPREVIOUS") == old, "a consumer can fall back to it"

        calls = 0

        def refused():
            nonlocal calls
            calls += 1
            assert local.call(new) == 200, "the new key works all the time"
            return local.call(old) == 403

        wait_until("the old key is refused", refused)
        overlap = overlap_of(local.rotator("history", secret)["events"])
        assert overlap >= datetime.timedelta(hours=2), f"refused after {overlap} of its two hours"
        shown = local.rotator("show", secret)
        current = next(version for version in shown["versions"] if version["generation"] == 2)
        assert current["state"] == "active" and token in current["carriers"], shown
        print(f"    {secret}: both keys worked {calls} times, the old one was refused after {overlap}")


def overlap_of(events):
    """How long after the promotion of the new version the old one was told off."""
    at = {event["what"]: datetime.datetime.fromisoformat(event["at"]) for event in events}
    return at["suspending"] - at["promoted"]


TESTS = [
    nobody_without_its_key_is_let_in_and_no_page_of_another_site,
    a_state_directory_is_kept_and_one_process_s_at_a_time,
    the_command_line_shows_what_there_is,
    the_aws_command_line_rotates_a_key,
    boto3_rotates_a_key,
    rotator_rotates_a_key,
]
