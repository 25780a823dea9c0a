"""Deploys everything into the emulator, looks at what was made, changes it, removes it, and tries bad parameters."""

import contextlib
import json
import os
import subprocess

from botocore.exceptions import BotoCoreError, ClientError

import emulator
import templates
from emulator import CANNOT, DIFFERS, Failed
from templates import ACCOUNT, INFRA, REGION, evaluate, settle

# Every part that is optional is there in one of them and missing in another. What an account must have beforehand is
# made by `what_must_be_there`.
VARIANTS = {
    "nothing optional": {},
    "isolated": {
        "TableName": "isolated",
        "Network": "isolated",
        "DynamoDbPrefixList": "pl-63a5400a",
        "ApiGatewayEndpointPolicy": "account",
        "ZoneA": f"{REGION}a",
        "ZoneB": f"{REGION}b",
        "SecretPrefix": "partner/",
        "AccessLogPrefix": "/apis/",
        "AlarmEmail": "on-call@example.com",
    },
    "everything": {
        "TableName": "everything",
        "Network": "egress",
        "ProbeDomains": "api.example.com,keys.example.com",
        "Edge": "public",
        "DomainName": "keys.example.com",
        "CertificateArn": "{certificate}",
        "HostedZoneId": "{zone}",
        "ApiGatewayLogging": "create",
        "AccessLogPrefix": "/apis/",
        "AlarmEmail": "on-call@example.com",
        "Trail": "create",
    },
}

# Templates that are stacks of their own.
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/01234567-89ab-cdef-0123-456789abcdef"
ALONE = {
    "pipeline.yaml": {
        "ConnectionArn": f"arn:aws:codeconnections:{REGION}:{ACCOUNT}:connection/01234567-89ab-cdef-0123-456789abcdef",
        "Repository": "example/rotator",
        "ApproverEmail": "on-call@example.com",
        "HasNetworks": "yes",
    },
    "policies/consumer.yaml": {
        "SecretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:partner/acme-AbCdEf",
        "ReadsByVersion": "yes",
        "KeyArn": KEY,
    },
    "examples/cloudformation/adopt-existing-api.yaml": {
        "RotationFunctionArn": "{rotation}",
        "AdoptedSecret": "api-keys/partner-acme",
    },
    "examples/cloudformation/customer-api-key.yaml": {
        "RotationFunctionArn": "{rotation}",
        "ApiId": "{api}",
        "EncryptionKeyArn": KEY,
    },
    "examples/cloudformation/jwt-signing-key.yaml": {"RotationFunctionArn": "{rotation}", "EncryptionKeyArn": KEY},
    "examples/cloudformation/webhook-secret.yaml": {"RotationFunctionArn": "{rotation}", "EncryptionKeyArn": KEY},
}


def what_must_be_there(aws):
    certificate = aws.acm.request_certificate(DomainName="keys.example.com")["CertificateArn"]
    zone = aws.route53.create_hosted_zone(Name="example.com", CallerReference="once")["HostedZone"]["Id"]
    api = aws.apigateway.create_rest_api(name="the customer's")["id"]
    method = {
        "restApiId": api,
        "resourceId": aws.apigateway.get_resources(restApiId=api)["items"][0]["id"],
        "httpMethod": "GET",
    }
    aws.apigateway.put_method(**method, authorizationType="NONE", apiKeyRequired=True)
    aws.apigateway.put_integration(**method, type="MOCK")
    aws.apigateway.create_deployment(restApiId=api, stageName="prod")
    return {"certificate": certificate, "zone": zone.removeprefix("/hostedzone/"), "api": api}


# ---- what is tried ----


def check(venv, folder, bad_parameters, rotator=None):
    """Yields what was found, a line each."""
    yield from whether_the_list_is_true(venv)
    with emulator.running(venv, folder) as url:
        aws = emulator.Aws(url, venv)
        aws.s3.create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": REGION})
        for sentence, template, answer in DIFFERS:
            differs_still(aws, sentence, template, answer)
            yield f"differs: {sentence}"
        parent, nested = emulator.package(aws, folder / "package")
        there = what_must_be_there(aws)
        for name, parameters in VARIANTS.items():
            parameters = {key: value.format(**there) for key, value in parameters.items()}
            stack = "rotator-" + name.replace(" ", "-")
            outputs = emulator.create(aws, stack, parent, parameters)
            counted = look_at_everything(aws, stack, nested)
            settings = what_the_command_line_reads(aws, outputs)
            yield f"{name}: {sum(counted.values())} resources made and found: {in_words(counted)}"
            if rotator:
                yield from doctor(aws, rotator, settings, outputs)
            there["rotation"] = outputs["RotationFunctionArn"]
        yield from alone(aws, there)
        yield changed(aws, nested)
        yield removed(aws, "rotator-nothing-optional")
        yield refused(aws, parent, bad_parameters)


def whether_the_list_is_true(venv):
    missing = emulator.types_in_use() - emulator.known_types(venv)
    for resource_type in sorted(missing - CANNOT):
        raise Failed(f"the emulator does not know {resource_type}: put it into CANNOT, in tests/infra/emulator.py")
    for resource_type in sorted(CANNOT - missing):
        raise Failed(f"{resource_type} is in CANNOT for nothing: the emulator knows it, or the stack has none")
    yield f"can't make: {', '.join(sorted(CANNOT))}"
    yield f"takes and does not keep: {', '.join(f'{aspect} of {kind}' for kind, aspect in sorted(FORGETS))}"


def differs_still(aws, sentence, template, answer):
    nested = template.get("nested")
    if nested:
        aws.s3.put_object(Bucket="artifacts", Key="nested.json", Body=json.dumps(nested))
        stack = {
            "Type": "AWS::CloudFormation::Stack",
            "Properties": {"TemplateURL": f"{aws.url}/artifacts/nested.json"},
        }
        template = {"Resources": {"Nested": stack}}
        if nested.get("Parameters"):
            stack["Properties"]["Parameters"] = {"Changes": {"Ref": "Changes"}}
            template["Parameters"] = nested["Parameters"]
    try:
        emulator.create(aws, "differs", json.dumps(template), {})
        if "Parameters" in template:
            emulator.update(aws, "differs", json.dumps(template), {"Changes": "after"})
    except (Failed, ClientError) as refusal:
        if answer not in str(refusal):
            raise Failed(f"the emulator now says otherwise where {sentence!r} stands: {refusal}") from None
    else:
        raise Failed(f"the emulator has learned something: {sentence!r} is no longer so (DIFFERS, in emulator.py)")
    aws.cloudformation.delete_stack(StackName="differs")


def look_at_everything(aws, stack, nested):
    """Each resource that the templates declare for these parameters is in its stack, and its service knows it."""
    parent = templates.read(INFRA / "template.yaml")
    counted = {}
    children = look_at(aws, stack, parent, counted)
    for name, id in children.items():
        look_at(aws, id, nested[name], counted)
    return counted


def look_at(aws, stack, template, counted):
    described = aws.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    if described["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise Failed(f"{stack}: {described['StackStatus']}")
    given = {each["ParameterKey"]: each["ParameterValue"] for each in described.get("Parameters", [])}
    parameters = {
        name: templates.typed(declared, given.get(name, str(declared.get("Default", ""))))
        for name, declared in template.get("Parameters", {}).items()
    }
    conditions = template.get("Conditions", {})
    truths = {name: evaluate(condition, parameters, conditions) for name, condition in conditions.items()}
    declared = settle(template, truths)["Resources"]
    made = emulator.resources(aws, stack)
    if set(made) != set(declared):
        raise Failed(f"{stack}: made {sorted(set(made) - set(declared))} and not {sorted(set(declared) - set(made))}")
    ids = {name: each["PhysicalResourceId"] for name, each in made.items()}
    missing = []
    for name, resource in declared.items():
        look = LOOKS.get(resource["Type"])
        if not look:
            raise Failed(f"tests/infra/deployed.py does not say how to look up {resource['Type']}")
        try:
            found = look(aws, ids[name], resource["Properties"], ids)
        except (BotoCoreError, ClientError, KeyError, TypeError) as error:
            missing.append(f"{name} ({resource['Type']}): {error!r}")
            continue
        aspects = found if isinstance(found, Aspects) else {"it": found}
        for aspect, is_so in aspects.items():
            forgotten = (resource["Type"], aspect) in FORGETS
            if not is_so and not forgotten:
                missing.append(f"{name} ({resource['Type']}): {aspect} is not as declared")
            if is_so and forgotten:
                missing.append(
                    f"{name} ({resource['Type']}): the emulator has learned {aspect}, so FORGETS is out of date"
                )
        counted[resource["Type"]] = counted.get(resource["Type"], 0) + 1
    if missing:
        raise Failed(f"{stack}: {'; '.join(missing)}")
    return {name: ids[name] for name, resource in declared.items() if resource["Type"] == "AWS::CloudFormation::Stack"}


def what_the_command_line_reads(aws, outputs):
    """The output Environment is lines that a shell takes, and what they name is there."""
    shell = 'set -eu; eval "$1"; env'
    done = subprocess.run(
        ["sh", "-c", shell, "sh", outputs["Environment"]], env={}, capture_output=True, text=True, check=True
    )
    settings = dict(line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("ROTATOR_"))
    aws.dynamodb.describe_table(TableName=settings["ROTATOR_TABLE"])
    aws.kms.generate_mac(KeyId=settings["ROTATOR_FINGERPRINT_KEY"], MacAlgorithm="HMAC_SHA_256", Message=b"x")
    function = aws.lambda_.get_function(FunctionName=settings["ROTATOR_FUNCTION_ARN"])["Configuration"]
    told = function["Environment"]["Variables"]
    for name, value in told.items():
        if settings.get(name, value) != value:
            raise Failed(f"the function is told {name}={value}, the command line {settings[name]}")
    if function["FunctionArn"] != outputs["RotationFunctionArn"]:
        raise Failed("RotationFunctionArn and ROTATOR_FUNCTION_ARN are two functions")
    return settings


def doctor(aws, rotator, settings, outputs):
    """What the service itself says of the stack: everything is as it should be."""
    environment = {
        **settings,
        "PATH": os.defpath,
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    words = [rotator, "doctor", "--output", "json"]
    for option, output in (
        ("--rotation-function", "RotationFunction"),
        ("--retirement-function", "RetirementFunction"),
        ("--jwks-function", "JwksFunction"),
    ):
        if output in outputs:
            words += [option, outputs[output]]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    if not done.stdout:
        raise Failed(f"rotator doctor: {done.stderr}")
    found = json.loads(done.stdout)
    complaints = [f"{each['area']}: {each['what']}" for each in found["checks"] if each["verdict"] != "ok"]
    if complaints or done.returncode:
        raise Failed(f"rotator doctor: {'; '.join(complaints)}")
    yield f"rotator doctor: {found['ok']} things looked at, all ok"


def alone(aws, there):
    """The stacks that are nobody's part: the pipeline, and the examples."""
    others = {templates.name_of(path) for path in templates.all_of_them()} - {"template.yaml"}
    others -= set(emulator.nested(templates.read(INFRA / "template.yaml")).values())
    if others != set(ALONE):
        raise Failed(f"ALONE, in tests/infra/deployed.py, is out of date: {sorted(others ^ set(ALONE))}")
    for file, parameters in ALONE.items():
        template = emulator.without_what_it_cannot(templates.read(INFRA / file))
        stack = "alone-" + file.rpartition("/")[2].removesuffix(".yaml")
        counted = {}
        # By way of a bucket, as infra/README.md has it: a template longer than 51,200 characters is taken from there only.
        aws.s3.put_object(Bucket="artifacts", Key="alone.json", Body=json.dumps(template))
        given = {key: value.format(**there) for key, value in parameters.items()}
        emulator.create(aws, stack, f"{aws.url}/artifacts/alone.json", given)
        look_at(aws, stack, template, counted)
        yield f"{file}: {sum(counted.values())} resources made and found: {in_words(counted)}"


def changed(aws, nested):
    """The data stack by itself: nested templates can be deployed alone, and the emulator can't update nested ones."""
    template = json.dumps(nested["Data"])
    parameters = {"TableName": "alone", "LogRetentionDays": 400}
    emulator.create(aws, "data-alone", template, parameters)
    before = emulator.resources(aws, "data-alone")
    emulator.update(aws, "data-alone", template, {**parameters, "LogRetentionDays": 731})
    look_at(aws, "data-alone", nested["Data"], {})
    after = emulator.resources(aws, "data-alone")
    for name, each in before.items():
        if after[name]["PhysicalResourceId"] != each["PhysicalResourceId"]:
            raise Failed(f"an update of LogRetentionDays replaced {name}")
        if each["ResourceType"] == "AWS::Logs::LogGroup":
            group = one(aws.logs.describe_log_groups()["logGroups"], logGroupName=each["PhysicalResourceId"])
            if group["retentionInDays"] != 731:
                raise Failed(f"the update did not reach {name}")
    return "changed: LogRetentionDays of the data stack by itself; the log groups have it, and nothing was replaced"


def removed(aws, stack):
    """What remains is what the README says: the data stack, its table and its keys, and nothing else."""
    data = emulator.resources(aws, stack)["Data"]["PhysicalResourceId"]
    kept = {name: each["PhysicalResourceId"] for name, each in emulator.resources(aws, data).items()}
    functions = len(aws.lambda_.list_functions()["Functions"])
    aws.cloudformation.delete_stack(StackName=stack)
    emulator.gone(aws, stack)
    if len(aws.lambda_.list_functions()["Functions"]) >= functions:
        raise Failed("the functions are still there after the stack was removed")
    if aws.cloudformation.describe_stacks(StackName=data)["Stacks"][0]["StackStatus"] != "CREATE_COMPLETE":
        raise Failed("the data stack did not stay")
    table = aws.dynamodb.describe_table(TableName=kept["Table"])["Table"]
    if not table["DeletionProtectionEnabled"]:
        raise Failed("the table is not protected from deletion")
    for key in ("DataKey", "FingerprintKey"):
        if aws.kms.describe_key(KeyId=kept[key])["KeyMetadata"]["KeyState"] != "Enabled":
            raise Failed(f"{key} did not stay")
    with contextlib.suppress(ClientError):
        aws.dynamodb.delete_table(TableName=kept["Table"])
        raise Failed("the table could be deleted")
    return "removed: the data stack stays, with the table, which can't be deleted, and its keys"


def refused(aws, parent, bad_parameters):
    """The parent's bad parameters, as this AWS sees them: nothing is created, and the sentence is said."""
    for parameters, sentence in bad_parameters:
        try:
            aws.cloudformation.create_stack(StackName="refused", **emulator.given(parent, parameters))
        except ClientError as refusal:
            if sentence not in str(refusal):
                raise Failed(f"{parameters} is refused, but not with {sentence!r}: {refusal}") from None
        else:
            raise Failed(f"{parameters} is not refused")
    return f"refused: {len(bad_parameters)} sets of bad parameters, each with its sentence"


def in_words(counted):
    return ", ".join(f"{number} {name.removeprefix('AWS::')}" for name, number in sorted(counted.items()))


# ---- looking ----

# What the emulator takes and does not keep, or does not tell.
FORGETS = {
    ("AWS::DynamoDB::Table", "encryption"),
    ("AWS::DynamoDB::Table", "recovery"),
    ("AWS::Lambda::Function", "network"),
    ("AWS::SNS::Topic", "encryption"),
}


class Aspects(dict):
    """What was seen of a resource, in several respects, and whether each is as declared."""


def logical(reference):
    """Of a Ref or a Fn::GetAtt."""
    return reference["Ref"] if "Ref" in reference else reference["Fn::GetAtt"][0]


def a_statement(aws, id, declared, ids):
    function = declared["FunctionName"]
    here = ids.get(logical(function))
    # A function of another stack is known by a parameter only, so any will do.
    everywhere = [each["FunctionName"] for each in aws.lambda_.list_functions()["Functions"]]
    for each in [here] if here else everywhere:
        with contextlib.suppress(aws.lambda_.exceptions.ResourceNotFoundException):
            policy = json.loads(aws.lambda_.get_policy(FunctionName=each)["Policy"])
            for statement in policy["Statement"]:
                if statement["Principal"] == {"Service": declared["Principal"]} and statement["Condition"]:
                    return True
    return False


def refuses_plain_http(policy):
    statements = json.loads(policy)["Statement"]
    return any(
        statement["Effect"] == "Deny" and statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
        for statement in statements
    )


def a_table(aws, id, declared, ids):
    table = aws.dynamodb.describe_table(TableName=id)["Table"]
    backups = aws.dynamodb.describe_continuous_backups(TableName=id)["ContinuousBackupsDescription"]
    return Aspects(
        encryption=table.get("SSEDescription", {}).get("KMSMasterKeyArn"),
        recovery=backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED",
        protection=table["DeletionProtectionEnabled"],
        stream=table["StreamSpecification"]["StreamEnabled"],
        indexes={index["IndexName"] for index in table["GlobalSecondaryIndexes"]} == {"due", "fingerprint", "heads", "timeline"},
    )


def a_function(aws, id, declared, ids):
    found = aws.lambda_.get_function(FunctionName=id)["Configuration"]
    told = found["Environment"]["Variables"]
    network = Aspects(network=found.get("VpcConfig", {}).get("SubnetIds")) if "VpcConfig" in declared else {}
    return Aspects(
        role=found["Role"].endswith(ids[logical(declared["Role"])]),
        tracing=found["TracingConfig"]["Mode"] == "Active",
        logs=found["LoggingConfig"]["LogGroup"],
        settings=told["ROTATOR_TABLE"] and not any("${" in value or "made-up" in value for value in told.values()),
        **network,
    )


def a_log_group(aws, id, declared, ids):
    group = one(aws.logs.describe_log_groups(logGroupNamePrefix=id)["logGroups"], logGroupName=id)
    return Aspects(retention=group["retentionInDays"], encryption=("kmsKeyId" in group) == ("KmsKeyId" in declared))


def a_topic(aws, id, declared, ids):
    attributes = aws.sns.get_topic_attributes(TopicArn=id)["Attributes"]
    return Aspects(encryption=attributes.get("KmsMasterKeyId"), owner=attributes["TopicArn"] == id)


def an_event_rule(aws, id, declared, ids):
    targets = aws.events.list_targets_by_rule(Rule=id.rpartition("|")[2])["Targets"]
    return len(targets) == len(declared["Targets"]) and all(target["Arn"].startswith("arn:") for target in targets)


def one(found, **of):
    """The first of a list whose members are these."""
    return next((each for each in found if all(each.get(member) == value for member, value in of.items())), None)


# How each type is asked for: the physical id that the stack says it has, its declared properties, all ids of the stack.
LOOKS = {
    "AWS::ApiGateway::Account": lambda aws, id, declared, ids: aws.apigateway.get_account()["cloudwatchRoleArn"],
    "AWS::ApiGateway::BasePathMapping": lambda aws, id, declared, ids: aws.apigateway.get_base_path_mappings(
        domainName=ids[logical(declared["DomainName"])]
    )["items"],
    "AWS::ApiGateway::Deployment": lambda aws, id, declared, ids: aws.apigateway.get_deployment(
        restApiId=ids[logical(declared["RestApiId"])], deploymentId=id
    ),
    "AWS::ApiGateway::DomainName": lambda aws, id, declared, ids: aws.apigateway.get_domain_name(domainName=id),
    "AWS::ApiGateway::RestApi": lambda aws, id, declared, ids: aws.apigateway.get_resources(restApiId=id)["items"],
    "AWS::ApiGateway::Stage": lambda aws, id, declared, ids: aws.apigateway.get_stage(
        restApiId=ids[logical(declared["RestApiId"])], stageName=declared["StageName"]
    ),
    "AWS::CloudFormation::Stack": lambda aws, id, declared, ids: aws.cloudformation.describe_stacks(StackName=id),
    "AWS::ApiGateway::UsagePlan": lambda aws, id, declared, ids: aws.apigateway.get_usage_plan(usagePlanId=id)[
        "apiStages"
    ],
    "AWS::CodeBuild::Project": lambda aws, id, declared, ids: aws.codebuild.batch_get_projects(names=[id])["projects"],
    "AWS::CloudWatch::Alarm": lambda aws, id, declared, ids: aws.cloudwatch.describe_alarms(AlarmNames=[id])[
        "MetricAlarms"
    ],
    "AWS::CloudWatch::Dashboard": lambda aws, id, declared, ids: json.loads(
        aws.cloudwatch.get_dashboard(DashboardName=id)["DashboardBody"]
    ),
    "AWS::DynamoDB::Table": a_table,
    "AWS::EC2::InternetGateway": lambda aws, id, declared, ids: aws.ec2.describe_internet_gateways(
        InternetGatewayIds=[id]
    )["InternetGateways"],
    "AWS::EC2::Route": lambda aws, id, declared, ids: one(
        aws.ec2.describe_route_tables(RouteTableIds=[ids[logical(declared["RouteTableId"])]])["RouteTables"][0][
            "Routes"
        ],
        DestinationCidrBlock=declared["DestinationCidrBlock"],
    ),
    "AWS::EC2::RouteTable": lambda aws, id, declared, ids: aws.ec2.describe_route_tables(RouteTableIds=[id])[
        "RouteTables"
    ],
    "AWS::EC2::SecurityGroup": lambda aws, id, declared, ids: aws.ec2.describe_security_groups(GroupIds=[id])[
        "SecurityGroups"
    ],
    "AWS::EC2::Subnet": lambda aws, id, declared, ids: aws.ec2.describe_subnets(SubnetIds=[id])["Subnets"],
    "AWS::EC2::SubnetRouteTableAssociation": lambda aws, id, declared, ids: one(
        aws.ec2.describe_route_tables(RouteTableIds=[ids[logical(declared["RouteTableId"])]])["RouteTables"][0][
            "Associations"
        ],
        SubnetId=ids[logical(declared["SubnetId"])],
    ),
    "AWS::EC2::VPC": lambda aws, id, declared, ids: aws.ec2.describe_vpcs(VpcIds=[id])["Vpcs"],
    "AWS::EC2::VPCEndpoint": lambda aws, id, declared, ids: aws.ec2.describe_vpc_endpoints(VpcEndpointIds=[id])[
        "VpcEndpoints"
    ],
    "AWS::EC2::VPCGatewayAttachment": lambda aws, id, declared, ids: one(
        aws.ec2.describe_internet_gateways(InternetGatewayIds=[ids[logical(declared["InternetGatewayId"])]])[
            "InternetGateways"
        ][0]["Attachments"],
        VpcId=ids[logical(declared["VpcId"])],
    ),
    "AWS::Events::Rule": an_event_rule,
    "AWS::IAM::ManagedPolicy": lambda aws, id, declared, ids: aws.iam.get_policy(PolicyArn=id),
    "AWS::IAM::Policy": lambda aws, id, declared, ids: all(
        aws.iam.get_role_policy(RoleName=ids[logical(role)], PolicyName=declared["PolicyName"])
        for role in declared["Roles"]
    ),
    "AWS::IAM::Role": lambda aws, id, declared, ids: aws.iam.get_role(RoleName=id),
    "AWS::KMS::Key": lambda aws, id, declared, ids: aws.kms.get_key_policy(KeyId=id, PolicyName="default"),
    "AWS::Lambda::EventInvokeConfig": lambda aws, id, declared, ids: aws.lambda_.get_function_event_invoke_config(
        FunctionName=ids[logical(declared["FunctionName"])], Qualifier=declared["Qualifier"]
    )["DestinationConfig"]["OnFailure"]["Destination"],
    "AWS::Lambda::Function": a_function,
    "AWS::Lambda::Permission": a_statement,
    "AWS::Logs::LogGroup": a_log_group,
    "AWS::Logs::MetricFilter": lambda aws, id, declared, ids: one(
        aws.logs.describe_metric_filters()["metricFilters"], filterPattern=declared["FilterPattern"]
    ),
    "AWS::Pipes::Pipe": lambda aws, id, declared, ids: aws.pipes.describe_pipe(Name=id),
    "AWS::Route53::RecordSet": lambda aws, id, declared, ids: [
        record
        for zone in aws.route53.list_hosted_zones()["HostedZones"]
        for record in aws.route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
        if record["Name"].rstrip(".") == "keys.example.com"
    ],
    "AWS::S3::Bucket": lambda aws, id, declared, ids: aws.s3.get_bucket_encryption(Bucket=id),
    "AWS::S3::BucketPolicy": lambda aws, id, declared, ids: refuses_plain_http(
        aws.s3.get_bucket_policy(Bucket=ids[logical(declared["Bucket"])])["Policy"]
    ),
    "AWS::SNS::Subscription": lambda aws, id, declared, ids: one(
        aws.sns.list_subscriptions()["Subscriptions"], TopicArn=ids[logical(declared["TopicArn"])]
    ),
    "AWS::SNS::Topic": a_topic,
    "AWS::SNS::TopicPolicy": lambda aws, id, declared, ids: all(
        refuses_plain_http(aws.sns.get_topic_attributes(TopicArn=ids[logical(topic)])["Attributes"]["Policy"])
        for topic in declared["Topics"]
    ),
    "AWS::SQS::Queue": lambda aws, id, declared, ids: aws.sqs.get_queue_attributes(
        QueueUrl=id, AttributeNames=["KmsMasterKeyId"]
    )["Attributes"]["KmsMasterKeyId"],
    "AWS::SQS::QueuePolicy": lambda aws, id, declared, ids: all(
        refuses_plain_http(
            aws.sqs.get_queue_attributes(QueueUrl=ids[logical(queue)], AttributeNames=["Policy"])["Attributes"][
                "Policy"
            ]
        )
        for queue in declared["Queues"]
    ),
    "AWS::SecretsManager::Secret": lambda aws, id, declared, ids: one(
        aws.secretsmanager.describe_secret(SecretId=id)["Tags"], Key="rotator:kind"
    ),
    "AWS::Scheduler::Schedule": lambda aws, id, declared, ids: aws.scheduler.get_schedule(
        Name=id.rpartition("|")[2].rpartition("/")[2], GroupName=ids[logical(declared["GroupName"])]
    ),
    "AWS::Scheduler::ScheduleGroup": lambda aws, id, declared, ids: aws.scheduler.get_schedule_group(Name=id),
    "AWS::WAFv2::WebACL": lambda aws, id, declared, ids: [
        acl for acl in aws.wafv2.list_web_acls(Scope="REGIONAL")["WebACLs"] if acl["Id"] in id
    ],
}
