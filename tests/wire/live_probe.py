"""`infra/live-probe` runs against `rotator local`: its rows, its delays, and that nothing of it is left.

`rotator local` runs on real time here, because it invokes the probe's own function, in the probe's process. It retries a
failed rotation after a minute, and the longest test waits for that.
"""

import contextlib
import datetime
import http.server
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
import urllib.error
import urllib.request

import jwt

from world import ROOT, Local, bare_environment, wait_until

PROBE = ROOT / "infra" / "live-probe"
# A plan of the sample's with a quota, and one without: a plan of any other name has none.
KEYS = """Name,Key,UsagePlanIds
one,sample0000000000000000000001,silver
two,sample0000000000000000000002,flat
"""
# What only Amazon's own AWS can show, or what this run was not given.
NOT_HERE = {
    "config-type",
    "endpoints",
    "jwt-cache-control",
    "jwt-refetch",
    "kms-new-policy",
    "kms-policy",
    "label-event",
    "log-disabled",
    "quota-begins",
    "quota-offset",
    "replica-lag",
    "trail-values",
    "weekly-reset",
}
# `rotator local` tells the last use of a KMS key an hour late, and nobody has a plan with a history.
OPEN = {"kms-last-use", "usage-memory"}
# By what a stage lags that `Slow` stands in front of.
LAG = 1.0


def the_probe_knows_every_fact_that_is_open():
    readme = (ROOT / "README.md").read_text()
    listed = readme.split("## What is not verified against live AWS")[1].split("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in listed.splitlines() if line.startswith("| ")][1:]
    facts = imported("facts")
    settled = {fact.readme for fact in facts.FACTS} - {""}
    assert len(rows) > 10 and set(rows) == settled, set(rows) ^ settled
    shown = (PROBE / "README.md").read_text().split("<!-- facts:start -->\n")[1].split("\n<!-- facts:end -->")[0]
    assert shown == facts.markdown(), "infra/live-probe/README.md: put in what probe.py --facts prints"


def the_probe_does_nothing_without_consent():
    with Local() as local:
        before = local.boto3("apigateway").get_api_keys()["items"]
        done = probe(local, status=2)
        assert "--yes-this-is-a-sandbox" in done.stderr and not done.stdout, done
        for words in ("API keys", "Lambda function", "KMS key", "US cents", "live-probe:run"):
            assert words in done.stderr, f"it does not say {words}: {done.stderr}"
        assert local.boto3("apigateway").get_api_keys()["items"] == before
        probe(local, "--clean", "everything", status=2)
        probe(local, "--probe", "partners01/prod/ping", status=2)


def the_probe_says_what_this_aws_lacks():
    with Local() as local:
        done = probe(local, "--yes-this-is-a-sandbox", "--only", "delays", "--only", "retries", *QUICK)
        rows = rows_of(done)
        assert verdicts(rows, "not here") == set(rows), "there is neither an API nor a function"
        assert "--probe" in rows["key-new"]["seen"] and "--serve-function" in rows["retry-token"]["seen"], rows


def the_probe_settles_what_rotator_local_models():
    with sandbox() as (local, given):
        values = set()
        with started(local, "--yes-this-is-a-sandbox", *given, *QUICK, "--wait", "1.2") as process:
            while process.poll() is None:
                keys = local.boto3("apigateway").get_api_keys(includeValues=True)["items"]
                values |= {key["value"] for key in keys}
                time.sleep(1)
        stdout, stderr = process.output()
        assert process.returncode == 0, stderr
        assert len(values) > 5 and not any(value in stdout + stderr for value in values), "a value was printed"
        document = json.loads(stdout)
        rows = {row["fact"]: row for row in document["rows"]}

        facts = imported("facts")
        assert list(rows) == facts.NAMES, "one row for each fact, in their order"
        for fact in facts.FACTS:
            row = rows[fact.name]
            told = (row["documented"], row["source"], row["assumed"])
            assert told == (fact.documented, fact.source, fact.assumed), row
        assert verdicts(rows, "not here") == NOT_HERE, verdicts(rows, "not here") ^ NOT_HERE
        assert verdicts(rows, "open") == OPEN, verdicts(rows, "open") ^ OPEN
        assert verdicts(rows, "holds") == set(rows) - NOT_HERE - OPEN, verdicts(rows, "differs")
        check_figures({name: row["figures"] for name, row in rows.items()})
        assert rows["refusal"]["seen"] == "all three: 403 ForbiddenException", rows["refusal"]
        assert rows["duplicate-value"]["seen"].startswith("409 ConflictException"), rows["duplicate-value"]

        # GetUsage tells at once here, and GetKeyLastUsage an hour late: nothing less than that hour is safe.
        assert document["settings"] == {"ROTATOR_USAGE_LAG": "PT1H"} and not document["isAws"], document
        assert document["made"] and document["left"] == [], document
        check_nothing_is_left(local, document["run"])
        print(
            f"    {len(verdicts(rows, 'holds'))} facts hold of {len(rows)}, {len(document['removed'])} things removed"
        )


def check_figures(figures):
    """What is known of `rotator local`: it has no delays, names keys by id, and retries a minute later."""
    for name in ("key-new", "key-attached", "key-disabled", "key-enabled", "key-deleted", "kms-disabled", "usage-lag"):
        assert figures[name]["seconds"] < 2, figures
    assert figures["several-requests"] == {"acceptedBefore": 0, "refusedBefore": 0}, figures
    assert figures["usage-names"] == {"by": ["id"]}, figures
    assert figures["usage-unused"] == {"among": "absent", "alone": "absent"}, figures
    assert figures["usage-without-quota"] == {"told": False}, figures
    assert figures["usage-carried"] == {"gotThrough": 7, "left": 7}, figures
    assert figures["preflight-value"] == {"held": ["current"]}, figures
    assert figures["placeholder"] == {"held": "ResourceNotFoundException"}, figures
    assert figures["retry-token"] == {"same": True} and figures["retry-count"]["attempts"] == 2, figures
    assert 55 < figures["retry-count"]["after"][0] < 70, figures
    assert figures["rotation-without-rules"] == {"rules": None}, figures
    assert figures["pending-label"] == {"stays": True}, figures
    assert figures["name-query"] == {"found": ["its beginning"]}, figures
    assert figures["import-overwrites"] == {"kept": ["id", "customer id", "tags", "plans"]}, figures


def the_probe_measures_delays_and_tells_what_is_not_as_assumed():
    with sandbox() as (local, given), Slow(local.environment["ROTATOR_EXECUTE_API"]) as slow:
        more = ("--only", "delays", "--execute-api", f"{slow.url}/{{api}}", *QUICK)
        done = probe(local, "--yes-this-is-a-sandbox", *given, *more, status=3)
        rows = rows_of(done)
        for name in ("key-new", "key-attached", "key-disabled", "key-enabled", "key-deleted"):
            seconds = rows[name]["figures"]["seconds"]
            assert LAG * 0.9 <= seconds < LAG + 3, f"{name}: {seconds} s where the stage lags by {LAG} s"
        # It forgets once, after the first refusal.
        assert rows["several-requests"]["verdict"] == "differs", rows["several-requests"]
        assert rows["several-requests"]["figures"]["refusedBefore"] > 0, rows["several-requests"]
        assert any("several-requests" in line for line in json.loads(done.stdout)["advice"]), done.stdout


def the_probe_removes_what_it_made_when_it_is_stopped():
    with sandbox() as (local, given):
        with started(local, "--yes-this-is-a-sandbox", *given, *QUICK) as process:
            wait_until("it has made things", lambda: len(left(local, "live-probe")) > 5)
            process.send_signal(signal.SIGINT)
        stdout, stderr = process.output()
        assert process.returncode == 130, stderr
        document = json.loads(stdout)
        assert any(row["seen"].startswith("stopped") for row in document["rows"]), "the table is told all the same"
        assert document["removed"] and document["left"] == [], document
        check_nothing_is_left(local, document["run"])


def the_probe_removes_what_a_dead_run_left():
    with sandbox() as (local, given):
        with started(local, "--yes-this-is-a-sandbox", *given, *QUICK) as process:
            wait_until("it has made things", lambda: len(left(local, "live-probe")) > 5)
            process.kill()
        run = re.search(r"run ([0-9]{6}-[0-9a-f]{6});", process.output()[1]).group(1)
        assert left(local, run), "nobody removed anything"
        done = probe(local, "--clean", run)
        assert "removed secret" in done.stderr and "removed API key" in done.stderr, done.stderr
        check_nothing_is_left(local, run)
        assert "removed 0 things" in probe(local, "--clean", run).stderr


def the_tokens_of_the_probe_are_tokens():
    with Local() as local, importable():
        import jwt_authorizer
        import place
        import session

        where = place.Place("eu-west-1", endpoint_url=local.environment["AWS_ENDPOINT_URL"])
        where.client = local.boto3
        run = session.Run(where, None)
        issuer = jwt_authorizer.Issuer(run, "https://issuer.example/issuer")
        issuer.make_key("first")
        key = jwt.PyJWK(json.loads(issuer.key_set("first"))["keys"][0])
        token = issuer.token("first")
        claims = jwt.decode(token, key, ["RS256"], audience=jwt_authorizer.AUDIENCE, issuer=issuer.url)
        assert claims["sub"] == "live-probe" and jwt.get_unverified_header(token)["kid"] == "first"
        assert run.harmless(f"Bearer {token}") == "Bearer (a value)"


def the_probe_sees_when_a_quota_begins_anew():
    with importable():
        import quotas
        import session

        midnight = datetime.datetime(2026, 12, 2, tzinfo=datetime.timezone.utc)
        for weekly, late, verdict in ((3, 20, "holds"), (2, 20, "holds"), (0, 3600, "differs")):
            place = Metered(midnight + datetime.timedelta(seconds=late), weekly)
            quotas.now = lambda place=place: place.now
            place.now = midnight - datetime.timedelta(minutes=30)
            run = session.Run(place, types.SimpleNamespace(wait=90))
            run.seconds_left = lambda: 90 * 60
            run.stage = session.Stage("api", "stage", "path", "plan")
            for pause in quotas.quotas(run):
                place.now += datetime.timedelta(seconds=pause)
            begins, offset = run.rows["quota-begins"], run.rows["quota-offset"]
            assert begins.verdict == verdict, begins
            if late < 60:
                assert offset.figures == {"day": "Wednesday", "offsets": [weekly]}, offset
            else:
                assert offset.verdict == "open" and "0, 2, 3" in offset.seen, offset

        for at, why in (("12:00", "begin it from 22:45 to 23:50 UTC"), ("23:55", "begin it from 22:45 to 23:50 UTC")):
            place.now = midnight.replace(day=1, hour=int(at[:2]), minute=int(at[3:]))
            with contextlib.suppress(StopIteration):
                try:
                    next(quotas.quotas(run))
                except quotas.Elsewhere as elsewhere:
                    assert why in str(elsewhere), elsewhere
                    continue
            raise AssertionError(f"at {at} it goes on")


class Metered:
    """A stage whose quotas of 5 begin anew at that moment: the daily one, and the weekly one with that offset."""

    def __init__(self, begins, weekly):
        self.begins, self.weekly, self.now = begins, weekly, None
        self.quotas, self.values, self.counts = {}, {}, {}

    def client(self, _):
        return self

    def url(self, *parts):
        return "/".join(parts)

    def create_usage_plan(self, name, quota, **_):
        self.quotas[name] = quota
        return {"id": name}

    def create_api_key(self, name, value, **_):
        self.values[name] = value
        return {"id": name}

    def create_usage_plan_key(self, usagePlanId, keyId, **_):
        self.quotas[self.values[keyId]] = self.quotas[usagePlanId]

    def ask(self, _, value):
        import place

        quota = self.quotas[value]
        moved = quota["period"] == "DAY" or quota["offset"] == self.weekly
        period = (value, moved and self.now >= self.begins)
        self.counts[period] = self.counts.get(period, 0) + 1
        return place.Answer(200 if self.counts[period] <= 5 else 429)


QUICK = ("--calm", "2", "--rounds", "1", "--output", "json")


@contextlib.contextmanager
def sandbox():
    """A `rotator local` that invokes the probe's function, and the arguments that tell the probe of it."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        keys = pathlib.Path(folder) / "keys.csv"
        keys.write_text(KEYS)
        with Local("--keys", str(keys), "--lambda-endpoint", f"http://127.0.0.1:{port}") as local:
            plans = {plan["name"]: plan["id"] for plan in local.boto3("apigateway").get_usage_plans()["items"]}
            given = ["--serve-function", str(port), "--probe", "partners01/prod/ping"]
            yield local, [*given, "--usage-plan", plans["silver"], "--plan-without-quota", plans["flat"]]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Probe(subprocess.Popen):
    """The probe, running, with what it says in files: nobody has to read it while it runs."""

    def __init__(self, local, arguments):
        self.files = [tempfile.TemporaryFile("w+") for _ in range(2)]
        environment = bare_environment() | local.environment
        command = [sys.executable, PROBE / "probe.py", *arguments]
        super().__init__(command, env=environment, stdout=self.files[0], stderr=self.files[1], text=True)

    def output(self):
        for file in self.files:
            file.seek(0)
        return [file.read() for file in self.files]


@contextlib.contextmanager
def started(local, *arguments):
    """The probe; at the end it is waited for."""
    process = Probe(local, arguments)
    try:
        yield process
        process.wait(timeout=180)
    finally:
        process.kill()
        process.wait()


def probe(local, *arguments, status=0):
    """The probe from beginning to end."""
    with started(local, *arguments) as process:
        pass
    stdout, stderr = process.output()
    assert process.returncode == status, f"{arguments} ended with {process.returncode}: {stdout}{stderr}"
    return subprocess.CompletedProcess(arguments, status, stdout, stderr)


def rows_of(done):
    """The rows of those experiments that were made."""
    rows = {row["fact"]: row for row in json.loads(done.stdout)["rows"]}
    return {name: row for name, row in rows.items() if row["seen"] != "left out of this run"}


def verdicts(rows, verdict):
    return {name for name, row in rows.items() if row["verdict"] == verdict}


def left(local, run):
    """What has that in its name, or in its tag, and is not gone or going."""
    keys = [key["name"] for key in local.boto3("apigateway").get_api_keys(limit=500)["items"]]
    secrets = [secret["Name"] for secret in local.boto3("secretsmanager").list_secrets()["SecretList"]]
    kms = local.boto3("kms")
    signing = []
    for key in (item["KeyId"] for item in kms.list_keys()["Keys"]):
        tags = kms.list_resource_tags(KeyId=key)["Tags"]
        if kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] != "PendingDeletion":
            signing += [f"live-probe {tag['TagValue']}" for tag in tags if tag["TagKey"] == "live-probe:run"]
    return [name for name in keys + secrets + signing if run in name]


def check_nothing_is_left(local, run):
    assert left(local, run) == [], left(local, run)
    plans = [plan["name"] for plan in local.boto3("apigateway").get_usage_plans()["items"]]
    assert sorted(plans) == ["flat", "silver"], "plans that are not the run's stay"
    names = {key["name"] for key in local.boto3("apigateway").get_api_keys()["items"]}
    assert names == {"one", "two"}, "keys that are not the run's stay"


@contextlib.contextmanager
def importable():
    """The probe's modules, after the tests' own."""
    sys.path.append(str(PROBE))
    try:
        yield
    finally:
        sys.path.remove(str(PROBE))


def imported(name):
    with importable():
        return __import__(name)


class Slow:
    """A stage in front of the real one that lags: it answers as the real one did `LAG` seconds ago.

    Once, after its first refusal of a key that it knew, it answers as before.
    """

    def __init__(self, execute_api):
        self.upstream = execute_api.split("{api}")[0].rstrip("/")
        self.shown, self.changed, self.relapsed = {}, {}, False
        self.lock = threading.Lock()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (SlowHandler,), {"slow": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, key, real):
        """The status that is shown for a key, given the real one."""
        with self.lock:
            shown = self.shown.setdefault(key, 403)
            if real == shown:
                self.changed.pop(key, None)
                if shown == 403 and not self.relapsed and (key, "was accepted") in self.shown:
                    self.relapsed = True
                    return 200
                return shown
            if time.monotonic() - self.changed.setdefault(key, time.monotonic()) < LAG:
                return shown
            self.shown[key] = real
            if real == 200:
                self.shown[key, "was accepted"] = True
            return real


class SlowHandler(http.server.BaseHTTPRequestHandler):
    slow = None

    def do_GET(self):
        request = urllib.request.Request(self.slow.upstream + self.path, headers=dict(self.headers))
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                real = answer.status
        except urllib.error.HTTPError as refused:
            real = refused.code
        status = self.slow.answer(self.headers.get("x-api-key"), real)
        self.send_response(status)
        if status == 403:
            self.send_header("x-amzn-errortype", "ForbiddenException")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        """Quiet."""


TESTS = [
    the_probe_knows_every_fact_that_is_open,
    the_probe_does_nothing_without_consent,
    the_probe_says_what_this_aws_lacks,
    the_tokens_of_the_probe_are_tokens,
    the_probe_sees_when_a_quota_begins_anew,
    the_probe_measures_delays_and_tells_what_is_not_as_assumed,
    the_probe_removes_what_it_made_when_it_is_stopped,
    the_probe_removes_what_a_dead_run_left,
    the_probe_settles_what_rotator_local_models,
]
