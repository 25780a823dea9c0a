"""What a read, or a call that changes nothing, settles."""

import datetime

from botocore.exceptions import ClientError

from place import code_of, message_of
from session import Experiment

# What the network stack makes endpoints for, and `execute-api` for probes of private APIs.
ENDPOINTS = (
    "apigateway",
    "dynamodb",
    "events",
    "execute-api",
    "kms",
    "logs",
    "monitoring",
    "secretsmanager",
    "sts",
)


def endpoints(run):
    """Which endpoint services there are in this Region."""
    ec2 = run.where.client("ec2")
    domains = ("com.amazonaws", "cn.com.amazonaws")
    names = {f"{domain}.{run.where.region}.{service}": service for domain in domains for service in ENDPOINTS}
    pages = ec2.get_paginator("describe_vpc_endpoint_services").paginate(
        Filters=[{"Name": "service-name", "Values": list(names)}]
    )
    there = {names[name] for page in pages for name in page["ServiceNames"] if name in names}
    missing = sorted(set(ENDPOINTS) - there)
    text = f"missing: {', '.join(missing)}" if missing else f"all of {', '.join(ENDPOINTS)}"
    run.settles(not missing, "endpoints", text, missing=missing)
    yield 0


def config_type(run):
    """A test run of PutEvaluations, which stores nothing; and the same with a type that nobody has."""
    config = run.where.client("config")

    def put(kind):
        evaluation = {
            "ComplianceResourceType": kind,
            "ComplianceResourceId": run.named("nothing"),
            "ComplianceType": "COMPLIANT",
            "OrderingTimestamp": datetime.datetime.now(datetime.timezone.utc),
        }
        try:
            failed = config.put_evaluations(Evaluations=[evaluation], ResultToken=run.prefix, TestMode=True)
            return "refused" if failed.get("FailedEvaluations") else "taken"
        except ClientError as error:
            if run.where.why_not_here(error):
                raise
            return f"refused ({code_of(error)}: {message_of(error)})"

    ours, control = put("AWS::ApiGateway::ApiKey"), put("AWS::Made::Up")
    text = f"in a test run {ours}, a made-up type {control}"
    if ours == control:
        run.open("config-type", f"{text}: that tells nothing about it")
    else:
        run.holds("config-type", text, taken=ours == "taken")
    yield 0


ENDPOINT_SERVICES = Experiment("endpoints", ("endpoints",), (), endpoints)
CONFIG_TYPE = Experiment("config", ("config-type",), (), config_type)
