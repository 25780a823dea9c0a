"""The built `rotator local` on a free port, and the real clients that talk to it.

Nothing of the machine's own AWS configuration reaches them: each gets the variables that `rotator local` prints, and no
others.
"""

import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

import boto3

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARIES = TARGET / "debug"
ZIPS = TARGET / "lambda"
# How long a test waits for anything before it says what it waited for. Generous: the machine may be busy.
PATIENCE = 120


class Local:
    """`rotator local`, running as long as the `with` block does."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [BINARIES / "rotator", "local", "--port", "0", "--output", "json", *arguments],
            env=bare_environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        document = ""
        for line in self.process.stdout:
            document += line
            if line.rstrip() == "}":
                break
        assert document, f"rotator local ended with {self.process.wait()} before it said where it is"
        said = json.loads(document)
        self.environment = said["environment"]
        self.probes = said["probes"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        status = self.process.wait(timeout=30)
        assert status == 0, f"rotator local ended with {status} when it was told to stop"

    def rotator(self, *arguments, status=0):
        """This project's own command line; answers with its JSON document."""
        return self._run([BINARIES / "rotator", *arguments, "--output", "json"], status)

    def aws(self, *arguments):
        """The `aws` command line; answers with its JSON document."""
        script = pathlib.Path(sys.executable).parent / "aws"
        return self._run([sys.executable, script, "--output", "json", *arguments], 0)

    def boto3(self, service):
        """A boto3 client."""
        session = boto3.session.Session(
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=self.environment["AWS_REGION"],
        )
        return session.client(service, endpoint_url=self.environment["AWS_ENDPOINT_URL"])

    def adopt(self, key, **tags):
        """Takes the API key with that name under management; answers with its secret's name."""
        tags = [part for name, value in tags.items() for part in ("--tag", f"{name.replace('_', '-')}={value}")]
        # A probe that fits none of the keys is refused: ask which fit this one.
        probes = [part for probe in self.probes for part in ("--probe", probe)]
        planned = self.rotator("adopt", "--all", *probes)["keys"]
        fit = next(planned_key for planned_key in planned if planned_key["name"] == key)["tags"]["rotator:probe"]
        probes = [part for probe in fit.split() for part in ("--probe", probe)]
        done = self.rotator("adopt", "--prefix", key, *tags, *probes, "--yes")
        assert done["adopted"] == 1, done
        secret = done["keys"][0]["secret"]
        # Adoption has Secrets Manager test the new configuration. No rotation can begin before that is over.
        wait_until(f"{secret} was tested", lambda: not self.pending(secret))
        return secret

    def declare(self, kind, secret, **tags):
        """Makes a secret of that kind as a template would, without a key; its first rotation begins at once.

        Answers with the value that the rotation ends with.
        """
        tags = {"kind": kind} | {name.replace("_", "-"): value for name, value in tags.items()}
        client = self.boto3("secretsmanager")
        listed = [{"Key": f"rotator:{name}", "Value": value} for name, value in tags.items()]
        client.create_secret(Name=secret, SecretString="{}", Tags=listed)
        function, rules = self.environment["ROTATOR_FUNCTION_ARN"], {"ScheduleExpression": "cron(0 3 1 * ? *)"}
        client.rotate_secret(SecretId=secret, RotationLambdaARN=function, RotationRules=rules)
        return wait_until(f"{secret} has its first key", lambda: self.document(secret))

    def rotate(self, secret):
        """A rotation on demand, from end to end; answers with the new value."""
        before = self.document(secret)
        self.boto3("secretsmanager").rotate_secret(SecretId=secret)
        wait_until(f"{secret} has a new value", lambda: self.document(secret) != before)
        return self.document(secret)

    def emergency(self, secret):
        """An emergency rotation, as the command line does it; answers with the new value."""
        done = self.rotator("rotate", secret, "--emergency", "--reason", "a drill")
        assert done["done"], done
        return self.document(secret)

    def pending(self, secret):
        """Whether a rotation, or the test of a new configuration, is under way."""
        labels = self.boto3("secretsmanager").describe_secret(SecretId=secret)["VersionIdsToStages"].values()
        return any("AWSPENDING" in on and "AWSCURRENT" not in on for on in labels)

    def value(self, secret, stage="AWSCURRENT"):
        """The API key that a consumer of the secret reads."""
        return self.document(secret, stage)["apiKey"]

    def document(self, secret, stage="AWSCURRENT"):
        """The whole value."""
        got = self.boto3("secretsmanager").get_secret_value(SecretId=secret, VersionStage=stage)
        return json.loads(got["SecretString"])

    def url(self):
        """Where the sample's API answers; to keys of a file of one's own, at its first plan's stage."""
        api, stage, path = next((probe for probe in self.probes if "/prod/" in probe), self.probes[0]).split("/", 2)
        return self.environment["ROTATOR_EXECUTE_API"].replace("{api}", api) + f"/{stage}/{path}"

    def call(self, key):
        """The status with which the sample's API answers that API key."""
        request = urllib.request.Request(self.url(), headers={"x-api-key": key})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as refused:
            return refused.code

    def _run(self, command, status):
        done = subprocess.run(
            command, env=bare_environment() | self.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        shown = " ".join(str(part) for part in command)
        assert done.returncode == status, f"{shown} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None


def ended(*arguments):
    """A command that ends by itself: its status, and what it said on standard error."""
    command = [BINARIES / "rotator", *arguments]
    done = subprocess.run(command, env=bare_environment(), capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stderr


def bare_environment():
    """What a program needs to start, and nothing that says where AWS is."""
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ} | nowhere


def wait_until(what, look, every=0.1):
    """Looks until it answers with something true, and answers with that."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        seen = look()
        if seen:
            return seen
        time.sleep(every)
    raise AssertionError(f"{what}: not within {PATIENCE} s")
