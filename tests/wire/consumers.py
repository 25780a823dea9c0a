"""The example for clients of an API goes through a rotation."""

from clients import SPEED, TAGS
from examples import configured, load, run
from world import Local, wait_until


def the_example_for_consumers_runs_as_it_stands():
    with Local() as local:
        secret = local.adopt("acme-shop")
        assert run(local, "api_key_client", SECRET_ID=secret, API_URL=local.url(), CALLS="3") == ["200"] * 3


def the_example_for_consumers_survives_a_rotation():
    with Local("--speed", str(SPEED)) as local, configured(local):
        module = load("api_key_client")
        secret, url = local.adopt("acme-shop", **TAGS), local.url()
        old = local.value(secret)
        consumer = module.ApiKey(secret)
        statuses = [consumer.call(url)]

        local.boto3("secretsmanager").rotate_secret(SecretId=secret)
        wait_until(f"{secret} has a new value", lambda: local.value(secret) != old)
        statuses.append(consumer.call(url))

        # A server that has not heard of the new key yet, for a consumer that reads only now.
        enabled(local, secret, False)
        assert local.call(local.value(secret)) == 403
        assert module.ApiKey(secret).call(url) == 200, "it falls back to AWSPREVIOUS"
        enabled(local, secret, True)

        def refused():
            statuses.append(consumer.call(url))
            return local.call(old) == 403

        wait_until("the old key is refused", refused)
        # It holds the old key still: only reading the secret again gets it through.
        statuses.append(consumer.call(url))
        assert set(statuses) == {200}, statuses
        assert module.ApiKey("no-such-secret").call(url) == 403, "it gives up, and reports it"
        print(f"    {secret}: {len(statuses)} calls through a rotation, all answered with 200")


def enabled(local, secret, wanted):
    """Tells API Gateway to take the secret's newest key, or not to."""
    newest = local.rotator("show", secret)["versions"][0]
    change = [{"op": "replace", "path": "/enabled", "value": str(wanted).lower()}]
    local.boto3("apigateway").update_api_key(apiKey=newest["provider"]["id"], patchOperations=change)


TESTS = [
    the_example_for_consumers_runs_as_it_stands,
    the_example_for_consumers_survives_a_rotation,
]
