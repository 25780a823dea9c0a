"""Measures how a crowd of API keys rotates with several instances of the real functions at once.

    cargo build && python3 tests/bench/instances.py [--secrets 100] [--instances 1,2,4,10]

Needs a Python with `.ci/requirements.txt`, as the wire tests do. Each run has an AWS of its own, `rotator local`, with
the rates that API Gateway gives an account: 10 calls a second and 40 at once, 5 creations a second. The keys are in one
usage plan without a quota. They are adopted, the functions are started anew, API Gateway's rate is left to recover, and
then every secret is rotated at the same moment. So many processes of `rotation` take the steps from one queue; beside
them runs one of `retirement`, whose calls count as well. A step that fails is called again as Secrets Manager does it:
the rotation begins anew a minute later, three times at the most.

Real time and real processes: the figures depend on the machine, whose highest load is told with them. A secret is done
when its `finishSecret` was answered; at the end each secret's version is compared with the ordered one, and its new key
is tried. Calls are those to API Gateway's control plane until the last secret was done, counted on their way to it. The
floor is the time in which the account lets those of them through that it did not throttle.

A table is printed on standard output, or one JSON document with `--output json`; progress is told on standard error.
Exits with 1 unless all secrets of each run ended within the limit.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import http.client
import http.server
import json
import os
import pathlib
import re
import sys
import tempfile
import threading
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "wire"))

import lambda_api
import world
from functions import FUNCTIONS, function_environment, launch

# API Gateway's control plane: calls a second, and calls at once.
RATE, BURST = 10, 40
# In seconds: between two lines of progress, and what API Gateway's rate needs until nothing of it is used.
PROGRESS = 5
RECOVERY = 10
# The stage of the one usage plan, as `rotator local --keys` names it.
PROBE = "partners01/plan1/ping"
# Who turns the rotations on, as many at a time.
HANDS = 8

COLUMNS = {
    "instances": "Instances",
    "done": "Done",
    "seconds": "After, s",
    "floor": "Floor, s",
    "calls": "Calls",
    "throttled": "Throttled",
    "steps": "Steps",
    "failed": "Failed",
    "outOfTime": "Out of time",
    "longestStep": "Longest step, s",
    "load": "Load",
}


def main():
    asked = arguments()
    if asked.binaries:
        world.BINARIES = asked.binaries
    # Adoption makes two calls a key, and the command line is waited for.
    world.PATIENCE = max(world.PATIENCE, asked.secrets)
    runs = []
    for instances in asked.instances:
        logs = asked.logs and asked.logs / f"{instances}-instances"
        runs.append(measure(asked, instances, logs))
    if asked.output == "json":
        document = {"secrets": asked.secrets, "limit": asked.limit, "processors": os.cpu_count(), "runs": runs}
        print(json.dumps(document, indent=2))
    else:
        print(f"{asked.secrets} secrets, each run at most {asked.limit} s; {os.cpu_count()} processors\n")
        print(table(runs))
    return 0 if all(run["within"] for run in runs) else 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--secrets", type=positive, default=100, metavar="N", help="how many (default: 100)")
    add("--instances", type=listed, default=[1, 2, 4, 10], metavar="N,..", help="a run each (default: 1,2,4,10)")
    add("--binaries", type=pathlib.Path, metavar="DIR", help="where the binaries are (default: target/debug)")
    add("--limit", type=positive, default=150, metavar="S", help="seconds within which all must end (default: 150)")
    add("--give-up", type=positive, metavar="S", help="seconds after which a run is ended (default: twice the limit)")
    add("--logs", type=pathlib.Path, metavar="DIR", help="keep the functions' logs and a list of the calls here")
    add("--output", choices=("table", "json"), default="table", help="how the result is printed (default: table)")
    asked = parser.parse_args()
    asked.give_up = asked.give_up or 2 * asked.limit
    return asked


def positive(raw):
    number = int(raw)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{raw} is not 1 or more")
    return number


def listed(raw):
    return [positive(part) for part in raw.split(",")]


def measure(asked, instances, kept):
    """One run, from an AWS with nothing in it; what came of it."""
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        logs = kept or folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        progress = stack.enter_context(Progress(f"{instances} instance{'s' * (instances > 1)}"))
        api = stack.enter_context(lambda_api.Lambda(*FUNCTIONS))
        keys = folder / "keys.csv"
        keys.write_text(key_file(asked.secrets))
        local = stack.enter_context(world.Local("--lambda-endpoint", api.endpoint, "--keys", str(keys)))
        aws = local.environment["AWS_ENDPOINT_URL"]
        roads = {name: stack.enter_context(Road(aws)) for name in ("rotation", "retirement")}

        def start(within, count, part):
            for name, many in {"rotation": count, "retirement": 1}.items():
                for number in range(1, many + 1):
                    environment = local.environment | function_environment(api, name)
                    environment["AWS_ENDPOINT_URL_API_GATEWAY"] = roads[name].url
                    log = logs / f"{part}-{name}-{number}.log"
                    launch(within, world.BINARIES / name, environment, log)

        progress.look = lambda: "adopting"
        with contextlib.ExitStack() as adoption:
            start(adoption, 1, "adoption")
            adopted = local.rotator("adopt", "--all", "--probe", PROBE, "--yes")
            assert adopted["adopted"] == asked.secrets, adopted
            secrets = [key["secret"] for key in adopted["keys"]]
            progress.look = lambda: "waiting for the tests of the new configurations"
            world.wait_until("every secret was tested", lambda: not any_pending(local), every=1)
            world.wait_until("the functions are idle", lambda: is_idle(api), every=0.5)
        # What knows of other processes is gone, as it is before a night's first rotation.
        start(stack, instances, "rotation")
        progress.look = lambda: "leaving API Gateway's rate to recover"
        time.sleep(RECOVERY)
        return crowd(asked, instances, local, api, roads, secrets, progress, logs)


def crowd(asked, instances, local, api, roads, secrets, progress, logs):
    """Rotates every secret at once, until all are done or it takes too long."""
    before = len(api.invocations["rotation"])
    begun, clock = time.monotonic(), time.time()
    # By the token of its rotation, each secret.
    wanted = {}
    progress.look = lambda: said(begun, wanted, api, roads, before)
    client = local.boto3("secretsmanager")
    with concurrent.futures.ThreadPoolExecutor(HANDS) as hands:
        tokens = hands.map(lambda secret: client.rotate_secret(SecretId=secret)["VersionId"], secrets)
        for token, secret in zip(tokens, secrets, strict=True):
            wanted[token] = secret
    load = os.getloadavg()[0]
    while time.monotonic() < begun + asked.give_up and len(ends(wanted, api, before)) < len(wanted):
        time.sleep(0.2)
        load = max(load, os.getloadavg()[0])

    done = ends(wanted, api, before)
    over = max(done.values()) if len(done) == len(wanted) else time.monotonic()
    calls = [call for road in roads.values() for call in road.seen(begun, over)]
    steps = [call for call in api.invocations["rotation"][before:] if call.done.is_set()]
    failures = collections.Counter(filter(None, map(failure_of, steps)))
    taken = sum(call.status != 429 for call in calls)
    by_operation = collections.Counter((call.operation, call.status) for call in calls)

    def done_by(seconds):
        return sum(at - begun <= seconds for at in done.values())

    lines = [f"{call.at - begun:.3f} {call.operation} {call.status}\n" for call in sorted(calls)]
    (logs / "calls.log").write_text("".join(lines))
    accepted = settled(local, wanted)
    return {
        "instances": instances,
        "begun": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock)),
        "done": len(done),
        "doneWithinLimit": done_by(asked.limit),
        "within": done_by(asked.limit) == accepted == len(secrets),
        "newKeysAccepted": accepted,
        "seconds": round(over - begun, 1),
        "floor": round(max(0, taken - BURST) / RATE, 1),
        "calls": len(calls),
        "throttled": len(calls) - taken,
        "callsByFunction": {name: len(road.seen(begun, over)) for name, road in roads.items()},
        "callsByOperation": {f"{name} {status}": count for (name, status), count in sorted(by_operation.items())},
        "steps": len(steps),
        "failed": sum(failures.values()),
        "failures": dict(failures),
        "outOfTime": failures["OutOfTime"] + failures["Sandbox.Timedout"],
        "longestStep": round(max((call.took for call in steps), default=0), 1),
        "doneBy": {str(at): done_by(at) for at in range(15, int(over - begun) + 16, 15)},
        "load": round(load, 1),
    }


def ends(wanted, api, before):
    """When each rotation that is done was, by its token."""
    done = {}
    for call in api.invocations["rotation"][before:]:
        if call.done.is_set() and failure_of(call) is None:
            event = json.loads(call.payload)
            if event["Step"] == "finishSecret" and event["ClientRequestToken"] in wanted:
                done.setdefault(event["ClientRequestToken"], call.begun + call.took)
    return done


def failure_of(call):
    """Lambda's `errorType` of a step that was answered; none if it went well."""
    if call.took > lambda_api.TIMEOUTS["rotation"]:
        return "Sandbox.Timedout"
    return json.loads(call.answer)["errorType"] if call.failed else None


def settled(local, wanted):
    """How many of the secrets have the version that was ordered, with a key that the API takes."""
    client = local.boto3("secretsmanager")

    def accepted(token, secret):
        got = client.get_secret_value(SecretId=secret)
        return got["VersionId"] == token and local.call(json.loads(got["SecretString"])["apiKey"]) == 200

    with concurrent.futures.ThreadPoolExecutor(HANDS) as hands:
        return sum(hands.map(accepted, wanted.keys(), wanted.values()))


def any_pending(local):
    """Whether a secret's new configuration is still being tested."""
    for page in local.boto3("secretsmanager").get_paginator("list_secrets").paginate():
        for secret in page["SecretList"]:
            labels = secret["SecretVersionsToStages"].values()
            if any("AWSPENDING" in on and "AWSCURRENT" not in on for on in labels):
                return True
    return False


def is_idle(api):
    """Whether no function is at work or has work waiting: what an ended instance was at would be nobody's."""
    return all(call.done.is_set() for calls in api.invocations.values() for call in list(calls))


def key_file(count):
    """So many keys of one usage plan, in API Gateway's key-file format."""
    lines = [f"customer-{number:05},{number:032},bench" for number in range(count)]
    return "\n".join(["Name,Key,UsagePlanIds", *lines]) + "\n"


def said(begun, wanted, api, roads, before):
    """How far it is."""
    calls = [call for road in roads.values() for call in road.seen(begun, time.monotonic())]
    throttled = sum(call.status == 429 for call in calls)
    failed = sum(call.failed for call in api.invocations["rotation"][before:])
    done = len(ends(dict(wanted), api, before))
    return (
        f"{time.monotonic() - begun:.0f} s: {done} of {len(wanted)} done, {len(calls)} calls, {throttled} of them "
        f"throttled, {failed} steps failed"
    )


def table(runs):
    lines = [f"| {' | '.join(COLUMNS.values())} |", f"|{'---:|' * len(COLUMNS)}"]
    for run in runs:
        lines.append(f"| {' | '.join(f'{run[name]:,}' for name in COLUMNS)} |")
    return "\n".join(lines)


class Progress:
    """Tells on standard error what is going on, as long as the `with` block runs."""

    def __init__(self, about):
        self.about, self.look = about, lambda: "starting"
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.over.wait(PROGRESS):
            print(f"{self.about}: {self.look()}", file=sys.stderr, flush=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


Call = collections.namedtuple("Call", "at operation status")


class Road:
    """A way to an AWS that counts what goes along it, as long as the `with` block runs.

    It changes nothing of a call: the name by which the client called it is one of the loopback as well, and is what the
    client signed.
    """

    def __init__(self, target):
        self.target = urllib.parse.urlsplit(target).netloc
        self.calls = []
        self.server = lambda_api.Server(("127.0.0.1", 0), type("Bound", (Passer,), {"road": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def seen(self, begun, over):
        return [call for call in list(self.calls) if begun <= call.at <= over]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Passer(http.server.BaseHTTPRequestHandler):
    """Hands one client's requests on, over a connection of its own, and their answers back."""

    protocol_version = "HTTP/1.1"
    road = None

    def setup(self):
        super().setup()
        self.onward = http.client.HTTPConnection(self.road.target)

    def finish(self):
        self.onward.close()
        super().finish()

    def do_request(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        call = Call(time.monotonic(), operation(self.command, self.path), 0)
        self.onward.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            self.onward.putheader(name, value)
        self.onward.endheaders(body)
        answer = self.onward.getresponse()
        content = answer.read()
        self.road.calls.append(call._replace(status=answer.status))
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_DELETE = do_GET = do_PATCH = do_POST = do_PUT = do_request

    def log_message(self, *_):
        """Quiet."""


def operation(method, path):
    """A control-plane call without what it names: `POST /usageplans/ID/keys`."""
    named = re.sub(r"/(apikeys|usageplans|keys|tags)/[^/]+", r"/\1/ID", path.split("?")[0])
    return f"{method} {named}"


if __name__ == "__main__":
    sys.exit(main())
