"""An AWS on this machine, and how the stack gets into it.

The AWS is ministack, in a process of its own on 127.0.0.1. What it can't do stands in CANNOT and in DIFFERS, exactly:
what it learns or forgets fails the check (deployed.py), so that the lists stay true.
"""

import contextlib
import copy
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request

import boto3
from botocore.config import Config

import templates
from templates import ACCOUNT, INFRA, REGION

# Resource types that the emulator doesn't know. They are taken out of the copies that it is given, and whatever refers
# to them is given a made-up id.
CANNOT = {
    "AWS::CloudTrail::Trail",
    "AWS::CodePipeline::Pipeline",
    "AWS::EC2::EIP",
    "AWS::EC2::FlowLog",
    "AWS::EC2::NatGateway",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::IAM::RolePolicy",
    "AWS::Lambda::CodeSigningConfig",
    "AWS::Route53Resolver::FirewallDomainList",
    "AWS::Route53Resolver::FirewallRuleGroup",
    "AWS::Route53Resolver::FirewallRuleGroupAssociation",
    "AWS::SecretsManager::RotationSchedule",
    "AWS::WAFv2::LoggingConfiguration",
    "AWS::WAFv2::WebACLAssociation",
}

# What it does otherwise than AWS, as far as the stack is concerned: a sentence, the smallest template that shows it,
# and what the emulator says to it. One under "nested" is deployed as a nested stack, and changed if it has parameters.
# Where one deploys after all, or something else is said, this list is out of date.
DIFFERS = [
    (
        "SAM is translated in a stack of its own only, so the nested templates are translated before they are packaged",
        {
            "nested": {
                "Transform": "AWS::Serverless-2016-10-31",
                "Resources": {
                    "Table": {
                        "Type": "AWS::Serverless::SimpleTable",
                        "Properties": {"PrimaryKey": {"Name": "pk", "Type": "String"}},
                    }
                },
            }
        },
        "Unsupported resource type: AWS::Serverless",
    ),
    (
        "in an update of a nested stack, what did not change loses its attributes, so no nested update is tried",
        {
            "nested": {
                "Parameters": {"Changes": {"Type": "String", "Default": "before"}},
                "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
                "Outputs": {"Arn": {"Value": {"Fn::GetAtt": ["Queue", "Arn"]}}},
            }
        },
        "Requested attribute Arn does not exist",
    ),
    (
        "alarms over several metrics (metric math) are refused, so they are left out",
        {
            "Resources": {
                "Alarm": {
                    "Type": "AWS::CloudWatch::Alarm",
                    "Properties": {
                        "ComparisonOperator": "GreaterThanThreshold",
                        "EvaluationPeriods": 1,
                        "Threshold": 0,
                        "Metrics": [{"Id": "a", "Expression": "1"}],
                    },
                }
            }
        },
        "(metric math) is not supported",
    ),
    (
        "a VPC does not tell its CidrBlock, so the parameter is used",
        {
            "Resources": {
                "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
                "Subnet": {
                    "Type": "AWS::EC2::Subnet",
                    "Properties": {"VpcId": {"Ref": "Vpc"}, "CidrBlock": {"Fn::GetAtt": ["Vpc", "CidrBlock"]}},
                },
            }
        },
        "Requested attribute CidrBlock does not exist",
    ),
]


class Failed(Exception):
    """Something that should hold does not; the message says what."""


# ---- the process ----


@contextlib.contextmanager
def running(venv, folder):
    """An emulator of one's own; ends with the block. Yields its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_REGION": REGION,
        "S3_DATA_DIR": str(folder / "s3"),
        "LOG_LEVEL": "WARNING",
        # Its other listeners would take every address of the machine.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        # It must not look for containers of the machine's.
        "DOCKER_HOST": f"unix://{folder}/no-docker",
    }
    log = open(folder / "emulator.log", "w", encoding="utf-8")
    process = subprocess.Popen(
        [venv / "bin" / "python", "-m", "ministack"], env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_answers(process, url, folder)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _wait_until_it_answers(process, url, folder):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/_ministack/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise Failed(f"the emulator did not start: {(folder / 'emulator.log').read_text()[-2000:]}")


class Aws:
    """Clients of the emulator, and AWS's own command line against it."""

    def __init__(self, url, venv):
        self.url, self.venv, self.clients = url, venv, {}
        self.session = boto3.Session(ACCOUNT, "none", region_name=REGION)

    def __getattr__(self, service):
        name = service.rstrip("_")
        if name not in self.clients:
            config = Config(retries={"total_max_attempts": 1}, read_timeout=60)
            self.clients[name] = self.session.client(name, endpoint_url=self.url, config=config)
        return self.clients[name]

    def command(self, *words, cwd):
        environment = {
            "PATH": os.defpath,
            "HOME": str(cwd),
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        done = subprocess.run(
            [self.venv / "bin" / "aws", *words], env=environment, cwd=cwd, capture_output=True, text=True, timeout=120
        )
        if done.returncode != 0:
            raise Failed(f"aws {' '.join(map(str, words))}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


# ---- packaging ----


def known_types(venv):
    handlers = "from ministack.services.cloudformation.provisioners import _RESOURCE_HANDLERS as known"
    code = f"import json; {handlers}; print(json.dumps(list(known)))"
    done = subprocess.run([venv / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def nested(parent):
    """The files of the parent's nested stacks, by logical id."""
    return {
        name: resource["Properties"]["TemplateURL"]
        for name, resource in parent["Resources"].items()
        if resource["Type"] == "AWS::CloudFormation::Stack"
    }


def types_in_use():
    return {
        resource["Type"]
        for path in templates.all_of_them()
        for resource in templates.translate(templates.read(path))["Resources"].values()
    }


def package(aws, folder):
    """What `aws cloudformation package` makes of the templates, with functions that do nothing. Answers the URL of the
    parent and the nested templates as they were deployed, by the parent's logical id."""
    shutil.rmtree(folder, ignore_errors=True)
    infra = folder / "infra"
    infra.mkdir(parents=True)
    parent = templates.read(INFRA / "template.yaml")
    deployed = {}
    for name, file in nested(parent).items():
        template = templates.read(INFRA / file)
        if templates.is_sam(template):
            template = _with_uploaded_functions(aws, folder, file, template)
            template = templates.translate(template)
            template.pop("Transform", None)
        deployed[name] = without_what_it_cannot(template)
        (infra / file).parent.mkdir(exist_ok=True)
        (infra / file).write_text(json.dumps(deployed[name]))
    shutil.copy(INFRA / "template.yaml", infra / "template.yaml")
    aws.command(
        "cloudformation",
        "package",
        "--template-file",
        "infra/template.yaml",
        "--s3-bucket",
        "artifacts",
        "--output-template-file",
        "packaged.yaml",
        cwd=folder,
    )
    # As JSON, which the emulator reads many times faster.
    aws.s3.put_object(
        Bucket="artifacts", Key="packaged.json", Body=json.dumps(templates.read(folder / "packaged.yaml"))
    )
    return f"{aws.url}/artifacts/packaged.json", deployed


def _with_uploaded_functions(aws, folder, file, template):
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            code = (folder / "infra" / resource["Properties"]["CodeUri"]).resolve()
            if folder.resolve() not in code.parents:
                raise Failed(f"{file}: {resource['Properties']['CodeUri']} is outside the repository")
            code.mkdir(parents=True, exist_ok=True)
            (code / "bootstrap").write_text("#!/bin/sh\nexit 0\n")
            (code / "bootstrap").chmod(0o755)
    (folder / "infra" / file).write_text(json.dumps(template))
    aws.command(
        "cloudformation",
        "package",
        "--template-file",
        f"infra/{file}",
        "--s3-bucket",
        "artifacts",
        "--output-template-file",
        f"packaged-{file}",
        cwd=folder,
    )
    packaged = templates.read(folder / f"packaged-{file}")
    for name, resource in packaged["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function" and not resource["Properties"]["CodeUri"].startswith(
            "s3://"
        ):
            raise Failed(f"{file}: the command line did not upload the code of {name}")
    return packaged


def without_what_it_cannot(template):
    stripped = copy.deepcopy(template)
    gone = {name for name, resource in template["Resources"].items() if not _is_known(resource)}
    for name in gone:
        del stripped["Resources"][name]
    return _with_made_up_ids(stripped, gone)


def _is_known(resource):
    if resource["Type"] == "AWS::CloudWatch::Alarm":
        return "Metrics" not in resource["Properties"]
    return resource["Type"] not in CANNOT


def _with_made_up_ids(value, gone):
    if isinstance(value, list):
        return [_with_made_up_ids(part, gone) for part in value]
    if not isinstance(value, dict):
        return value
    if value == {"Fn::GetAtt": ["Vpc", "CidrBlock"]}:
        return {"Ref": "VpcCidr"}
    if set(value) == {"Ref"} and value["Ref"] in gone:
        return f"made-up-{value['Ref']}"
    if set(value) == {"Fn::GetAtt"} and value["Fn::GetAtt"][0] in gone:
        return f"made-up-{'-'.join(value['Fn::GetAtt'])}"
    if set(value) == {"Fn::Sub"} and isinstance(value["Fn::Sub"], str):
        return {
            "Fn::Sub": re.sub(
                r"\$\{(\w+)(\.\w+)?\}", lambda m: f"made-up-{m[1]}" if m[1] in gone else m[0], value["Fn::Sub"]
            )
        }
    kept = {key: _with_made_up_ids(part, gone) for key, part in value.items()}
    if "DependsOn" in kept:
        needs = kept["DependsOn"] if isinstance(kept["DependsOn"], list) else [kept["DependsOn"]]
        kept["DependsOn"] = [need for need in needs if need not in gone]
        if not kept["DependsOn"]:
            del kept["DependsOn"]
    return kept


# ---- deploying ----


CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]


def create(aws, stack, template, parameters):
    """A template is a URL or a text. Answers the outputs."""
    aws.cloudformation.create_stack(StackName=stack, **given(template, parameters))
    return ended(aws, stack, "CREATE_COMPLETE")


def update(aws, stack, template, parameters):
    aws.cloudformation.update_stack(StackName=stack, **given(template, parameters))
    return ended(aws, stack, "UPDATE_COMPLETE")


def given(template, parameters):
    source = "TemplateURL" if template.startswith("http") else "TemplateBody"
    return {
        source: template,
        "Capabilities": CAPABILITIES,
        "Parameters": [{"ParameterKey": key, "ParameterValue": str(value)} for key, value in parameters.items()],
    }


def ended(aws, stack, wanted):
    until = time.monotonic() + 120
    while time.monotonic() < until:
        found = aws.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        if not found["StackStatus"].endswith("_IN_PROGRESS"):
            break
        time.sleep(0.1)
    if found["StackStatus"] != wanted:
        raise Failed(f"{stack}: {found['StackStatus']}, not {wanted}: {'; '.join(_reasons(aws, stack))}")
    return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}


def gone(aws, stack):
    """Waits for a deleted stack to be gone."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        left = [each for each in aws.cloudformation.describe_stacks()["Stacks"] if each["StackName"] == stack]
        if not left or left[0]["StackStatus"] == "DELETE_COMPLETE":
            return
        if left[0]["StackStatus"] == "DELETE_FAILED":
            break
        time.sleep(0.1)
    raise Failed(f"{stack} could not be removed: {'; '.join(_reasons(aws, stack))}")


def _reasons(aws, stack):
    reasons = []
    for each in aws.cloudformation.describe_stacks()["Stacks"]:
        if each["StackName"].startswith(stack):
            for event in aws.cloudformation.describe_stack_events(StackName=each["StackId"])["StackEvents"]:
                if event["ResourceStatus"].endswith("_FAILED") and event.get("ResourceStatusReason"):
                    reasons.append(f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}")
    return reasons or ["no reason is given"]


def resources(aws, stack):
    found = []
    for page in aws.cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack):
        found += page["StackResourceSummaries"]
    return {resource["LogicalResourceId"]: resource for resource in found}
