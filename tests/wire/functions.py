"""The real functions, `rotation`, `retirement` and `jwks`, out of the zips that are deployed, under a Lambda runtime loop
behind `--lambda-endpoint`.

On real time, there is one clock: an overlap of ten seconds, and retirement's timer, which comes every minute.
"""

import contextlib
import json
import pathlib
import subprocess
import tempfile
import urllib.request
import zipfile

from clients import overlap_of
from lambda_api import Lambda
from signing import SIGNERS, check_served
from world import ZIPS, Local, bare_environment, wait_until

FUNCTIONS = ("rotation", "retirement", "jwks")
LABELS = ("AWSCURRENT", "AWSPREVIOUS")
TAGS = {"overlap": "PT10S", "consumer_cache": "PT5S", "soak": "PT10S", "idle_before_suspend": "PT0S"}


def the_lambda_functions_rotate_and_retire_a_key():
    with deployed() as (api, local, logs):
        secret = local.adopt("acme-shop", **TAGS)
        old = local.value(secret)
        token = local.boto3("secretsmanager").rotate_secret(SecretId=secret)["VersionId"]
        wait_until(f"{secret} has a new value", lambda: local.value(secret) != old)
        new = local.value(secret)
        assert local.call(new) == 200, "the new key works as soon as a consumer can read it"
        assert local.call(old) == 200, "the old key works during its overlap"

        def refused():
            assert local.call(new) == 200, "the new key works all the time"
            return local.call(old) == 403

        wait_until("the old key is refused", refused, every=0.5)
        overlap = overlap_of(local.rotator("history", secret)["events"])
        assert overlap.total_seconds() >= 10, f"refused after {overlap} of its ten seconds"

        steps = [json.loads(call.payload) for call in api.invocations["rotation"]]
        real = [call["Step"] for call in steps if call["ClientRequestToken"] == token]
        assert real == ["createSecret", "setSecret", "testSecret", "finishSecret"], steps
        assert not any(call.failed for calls in api.invocations.values() for call in calls)
        kinds = {json.loads(call.payload)["detail-type"] for call in api.invocations["retirement"]}
        assert kinds == {"Scheduled Event", "Secret Label Updated"}, kinds

        lines = {name: log.read_text().splitlines() for name, log in logs.items()}
        check_step_logs(lines["rotation"], secret, token, api.invocations["rotation"])
        check_metrics(lines["rotation"], "rotation", "Steps")
        check_metrics(lines["retirement"], "retirement", "Ticks")
        told = "\n".join(line for log in lines.values() for line in log)
        secrets = [old, new, *(call["RotationToken"] for call in steps)]
        assert all(value not in told for value in secrets), "a secret value is in a log"
        print(f"    {secret}: {len(steps)} steps, the old key was refused after {overlap}, {len(told)} bytes of logs")


def the_lambda_functions_publish_signing_keys():
    with deployed() as (api, local, logs):
        for kind in SIGNERS:
            check_served(local, kind)
        assert {json.loads(call.payload)["httpMethod"] for call in api.invocations["jwks"]} == {"GET"}
        assert not any(call.failed for calls in api.invocations.values() for call in calls)
        told = "\n".join(log.read_text() for log in logs.values())
        private = [local.document("issuers/jwt-signing-key", stage)["signer"]["d"] for stage in LABELS]
        assert len(set(private)) == 2 and all(value not in told for value in private), "a private key is in a log"
        check_metrics(logs["retirement"].read_text().splitlines(), "retirement", "Ticks")
        print(f"    {len(api.invocations['jwks'])} key sets and discovery documents, {len(told)} bytes of logs")


def a_function_answers_an_event_that_it_does_not_know_with_an_error():
    with deployed() as (api, _, logs):
        for name, word in ("rotation", "Step"), ("retirement", "detail-type"):
            url = f"{api.endpoint}/2015-03-31/functions/{name}/invocations"
            with urllib.request.urlopen(url, data=b'{"step": "createSecret"}', timeout=30) as answer:
                error = json.load(answer)
                assert answer.status == 200 and answer.headers["X-Amz-Function-Error"] == "Unhandled"
            assert error["errorType"] == "Refused" and word in error["errorMessage"], error
            wait_until("the error is in the log", lambda: word in logs[name].read_text())
            # Once, and as JSON: the runtime library would tell it again in its own form.
            told = [json.loads(line) for line in logs[name].read_text().splitlines() if word in line]
            assert [line["message"] for line in told] == [error["errorMessage"]], told


def a_function_answers_what_it_can_not_read_in_its_own_words():
    with deployed() as (api, _, logs):
        for name in FUNCTIONS:
            for event in b'{"a": ', b"[" * 200 + b"]" * 200, b'"\\ud800"':
                url = f"{api.endpoint}/2015-03-31/functions/{name}/invocations"
                with urllib.request.urlopen(url, data=event, timeout=30) as answer:
                    error = json.load(answer)
                assert error["errorType"] == "Refused", error
                assert error["errorMessage"].startswith("the event can't be read"), error
            told = [json.loads(line) for line in logs[name].read_text().splitlines()]
            told = [line for line in told if line.get("level") == "ERROR"]
            assert len(told) == 3 and all("lambda_runtime" not in line["target"] for line in told), told


def a_function_that_can_not_start_says_why_to_lambda():
    for name in FUNCTIONS:
        with contextlib.ExitStack() as stack:
            api = stack.enter_context(Lambda(*FUNCTIONS))
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            environment = function_environment(api, name) | {"ROTATOR_USAGE_LAG": "an hour"}
            done = subprocess.run([unpacked(name, folder)], env=environment, capture_output=True, text=True, timeout=60)
            assert done.returncode == 1 and done.stderr == "", done
            [error] = map(json.loads, api.init_errors)
            assert error["errorType"] == "Configuration", error
            assert 'ROTATOR_USAGE_LAG = "an hour" is not usable: write an ISO 8601' in error["errorMessage"], error
            assert [json.loads(line)["message"] for line in done.stdout.splitlines()] == [error["errorMessage"]], done


@contextlib.contextmanager
def deployed():
    """The functions, running, with an AWS that invokes them; and where each of them writes its log."""
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(Lambda(*FUNCTIONS))
        local = stack.enter_context(Local("--lambda-endpoint", api.endpoint))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        started = {name: start(stack, api, local, name, folder) for name in FUNCTIONS}
        yield api, local, {name: log for name, (log, _) in started.items()}
        assert not api.init_errors, api.init_errors
        for name, (_, process) in started.items():
            calls = api.invocations[name]
            if calls:
                longest = max(call.took for call in calls)
                print(f"    {name}: {len(calls)} calls, the longest {longest:.2f} s; memory at most {peak(process.pid):.1f} MiB")


def start(stack, api, local, name, folder):
    """Starts a function as Lambda does: with its environment, and with nobody who restarts it. Its log, and its process."""
    environment = local.environment | function_environment(api, name)
    log = pathlib.Path(folder) / f"{name}.log"
    return log, launch(stack, unpacked(name, folder), environment, log)


def launch(stack, bootstrap, environment, log):
    """Starts one instance of a function, and ends it with the stack. It must not end by itself."""
    output = stack.enter_context(log.open("w"))
    process = subprocess.Popen([bootstrap], env=environment, stdout=output, stderr=subprocess.STDOUT)

    def stop():
        alive = process.poll() is None
        process.kill()
        process.wait()
        assert alive, f"{log.stem} ended by itself: {log.read_text()}"

    stack.callback(stop)
    return process


def function_environment(api, name):
    return bare_environment() | {
        "AWS_LAMBDA_RUNTIME_API": api.runtime_api(name),
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "wire-test",
    }


def unpacked(name, folder):
    """The function's `bootstrap`, out of its zip."""
    with zipfile.ZipFile(ZIPS / name / "bootstrap.zip") as packed:
        bootstrap = pathlib.Path(packed.extract("bootstrap", pathlib.Path(folder) / name))
        bootstrap.chmod(packed.getinfo("bootstrap").external_attr >> 16)
    return bootstrap


def peak(pid):
    """The most that the process ever had resident, in MiB."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def check_step_logs(lines, secret, token, calls):
    """Every line is JSON; every step of the rotation says what it is about, and which request it was."""
    events = [event for event in map(json.loads, lines) if "_aws" not in event]
    over = [event for event in events if event.get("message") == "step over"]
    requests = {call.id for call in calls}
    steps = []
    for event in over:
        fields = {name: value for span in event.get("spans", []) for name, value in span.items()} | event
        assert fields["credential"] == secret and fields["request_id"] in requests, event
        if fields["token"] == token[:8]:
            steps.append((fields["step"], fields["outcome"]))
    wanted = ["createSecret", "setSecret", "testSecret", "finishSecret"]
    assert steps == [(step, "Done") for step in wanted], over


def check_metrics(lines, function, metric):
    """A line in CloudWatch's embedded metric format: the metric is declared, and its value stands beside it."""
    metrics = [event for event in map(json.loads, lines) if "_aws" in event]
    declared = [
        (directive["Namespace"], event.get("function"), declared["Name"])
        for event in metrics
        for directive in event["_aws"]["CloudWatchMetrics"]
        for declared in directive["Metrics"]
        if declared["Name"] in event
    ]
    assert ("Rotator", function, metric) in declared, metrics


TESTS = [
    a_function_answers_an_event_that_it_does_not_know_with_an_error,
    a_function_answers_what_it_can_not_read_in_its_own_words,
    a_function_that_can_not_start_says_why_to_lambda,
    the_lambda_functions_publish_signing_keys,
    the_lambda_functions_rotate_and_retire_a_key,
]
