"""Bad input: for every constraint of a parameter, and for every assertion of a rule, something that it stops, with the
sentence that CloudFormation says then. A small evaluator stands in for CloudFormation; the emulator is asked as well
(deployed.py), for the parent.

A parameter that gains a constraint, or a rule that gains an assertion, fails this check until it has a case here."""

import re

import templates
from templates import evaluate, read

ARN = "arn:aws:{}:eu-west-1:123456789012:{}"
KEY = ARN.format("kms", "key/1c2d3e4f-aaaa-bbbb-cccc-0123456789ab")

# By the parameter's name, wherever it is declared: what its pattern takes and what it does not. What has allowed values
# or a range needs nothing here.
VALUES = {
    "AccessLogKeyArn": (["", KEY], ["alias/mine", "1c2d3e4f"]),
    "AccessLogName": (["/apis/partners"], ["", "/apis/a b", "/apis/*"]),
    "AccessLogPrefix": (["", "/apis/"], ["/apis/*", "a" * 101, "/apis/a b"]),
    "AdoptedSecret": (["", "api-keys/partner-acme"], ["api-keys/", "a b", "partner/*", "a" * 257]),
    "AlarmEmail": (["", "on-call@example.com"], ["on-call", "a@b", "a@example.com, b@example.com"]),
    "ApproverEmail": (["", "lead@example.com"], ["lead", "a@b"]),
    "ApiId": (["a1b2c3d4e5"], ["", "A1B2C3D4E5", "a1b2c3d4e5/prod"]),
    "Branch": (["main", "release/1.0"], ["", "a b", "main;rm"]),
    "CertificateArn": (["", ARN.format("acm", "certificate/1-2")], ["1-2", ARN.format("iam", "server-certificate/x")]),
    "ConnectionArn": (
        [ARN.format("codeconnections", "connection/01234567-89ab-cdef-0123-456789abcdef")],
        ["", "connection/1", ARN.format("codebuild", "project/x")],
    ),
    "DataKeyArn": ([KEY], ["", "alias/rotator", "1c2d3e4f"]),
    "DeadLetterQueueName": (["rotator-LostEvents-1"], ["", ARN.format("sqs", "rotator"), "https://sqs/rotator"]),
    "DomainName": (
        ["", "keys.example.com"],
        ["https://keys.example.com", "keys.example.com/v1", "Keys.example.com", "keys"],
    ),
    "DynamoDbPrefixList": (["", "pl-63a5400a"], ["63a5400a", "pl-", "com.amazonaws.eu-west-1.dynamodb"]),
    "EncryptionKeyArn": ([KEY], ["", "alias/secrets", "1c2d3e4f"]),
    "FingerprintKeyArn": ([KEY], ["", "alias/rotator"]),
    "HostedZoneId": (["", "Z0123456789ABC"], ["example.com", "/hostedzone/Z0123456789ABC"]),
    "JwksAccessLogs": (["", "/apis/key-sets"], ["/apis/*", "a b"]),
    "JwksApiName": (["", "rotator-key-sets"], ["a" * 1025]),
    "JwksFunction": (["", "rotator-jwks"], [ARN.format("lambda", "function:jwks"), "a b"]),
    "JwksFunctionArn": (["", ARN.format("lambda", "function:jwks")], ["jwks", ARN.format("lambda", "layer:x")]),
    "JwksLogs": (["/aws/lambda/jwks"], ["", ARN.format("logs", "log-group:x"), "a b"]),
    "JwksRoleArn": (["", "arn:aws:iam::123456789012:role/jwks"], ["jwks", "arn:aws:iam::123456789012:user/x"]),
    "JwksUrl": (
        ["", "https://keys.example.com/v1/jwks"],
        ["http://keys.example.com/v1/jwks", "https://keys.example.com"],
    ),
    "KeyArn": (["", KEY], ["alias/rotator", "1c2d3e4f"]),
    "KeyPrefix": (["krt1", "acmekey1"], ["", "krt_1", "acme-key", "acmekey12"]),
    "LabelRule": (["rotator-LabelMoved"], ["", "a b", ARN.format("events", "rule/x")]),
    "PermissionsBoundary": (
        ["", "arn:aws:iam::123456789012:policy/team/boundary"],
        ["boundary", "arn:aws:iam::123456789012:role/boundary"],
    ),
    "ProductionStack": (["rotator"], ["", "Rotator", "rotator_production", "1rotator", "a" * 42]),
    "ProbeDomains": (
        ["", "api.example.com", "api.example.com,*.execute-api.eu-west-1.amazonaws.com"],
        ["https://api.example.com", "api.example.com/ping", "api", "api.example.com;b.example.com"],
    ),
    "ProbePath": (["", "ping", "v2/health"], ["/ping", "ping/", "../admin", "ping?x=1"]),
    "RebuildSchedule": (["", "cron(0 6 ? * MON *)"], ["every monday", "0 6 * * 1", "rate(1 day)"]),
    "Repository": (["example/rotator"], ["", "rotator", "https://example.com/rotator"]),
    "RetirementFunction": (["rotator-retirement"], ["", ARN.format("lambda", "function:retirement")]),
    "RetirementFunctionArn": ([ARN.format("lambda", "function:retirement")], ["", "retirement"]),
    "RetirementLogs": (["/aws/lambda/retirement"], ["", ARN.format("logs", "log-group:x"), "a b"]),
    "RotationFunction": (["rotator-rotation"], ["", ARN.format("lambda", "function:rotation")]),
    "RotationFunctionArn": (
        [ARN.format("lambda", "function:rotation")],
        ["", "rotation", ARN.format("lambda", "layer:x")],
    ),
    "RotationLogs": (["/aws/lambda/rotation"], ["", ARN.format("logs", "log-group:x"), "a b"]),
    "RotationSchedule": (
        ["cron(0 8 1 * ? *)", "cron(0 8 1 1,4,7,10 ? *)", "cron(0 */4 * * ? *)", "cron(0 0/12 ? * MON *)"],
        ["", "rate(30 days)", "cron(30 8 1 * ? *)", "cron(0 */3 * * ? *)", "cron(0 * * * ? *)", "cron(0 8,9 1 * ? *)"],
    ),
    "ScheduleGroup": (["", "rotator"], ["a b", ARN.format("scheduler", "schedule-group/x")]),
    "SecretArn": (
        [ARN.format("secretsmanager", "secret:partner/acme-AbCdEf")],
        ["", "partner/acme", ARN.format("secretsmanager", "secret:partner/acme"), ARN.format("s3", "x")],
    ),
    "SecretName": (["partner/acme"], ["", "partner/", "/acme", "a b", "partner/*", "a" * 257]),
    "SecretPrefix": (["", "partner/"], ["partner/*", "a b", "a" * 129]),
    "SecurityGroupId": (["", "sg-0123456789abcdef0"], ["functions", "sg-", "sg-1,sg-2"]),
    "SigningProfileVersionArn": (
        ["", ARN.format("signer", "/signing-profiles/rotator/AbCdEf0123")],
        ["rotator", ARN.format("signer", "/signing-profiles/rotator")],
    ),
    "StagingStack": (["rotator-staging"], ["", "Staging", "a" * 42]),
    "StageName": (["prod"], ["", "a1b2c3/prod", "prod "]),
    "SubnetIds": (["", "subnet-0a,subnet-0b"], ["0a", "subnet-0a subnet-0b", "subnet-0a,"]),
    "TableArn": (
        [ARN.format("dynamodb", "table/rotator")],
        ["", "rotator", ARN.format("dynamodb", "table/a/stream/b")],
    ),
    "SignerAccounts": (
        ["", "123456789012", "123456789012 210987654321"],
        ["12345", "123456789012,210987654321", "an account"],
    ),
    "TableName": (["rotator", "a.b"], ["", "ab", "a b", "a" * 256, ARN.format("dynamodb", "table/x")]),
    "TableStreamArn": ([ARN.format("dynamodb", "table/a/stream/b")], ["", ARN.format("dynamodb", "table/a")]),
    "UsageLag": (["PT1H", "PT30M", "P1D"], ["", "1h", "P1M", "PT0H", "PT1H30M"]),
    "VpcCidr": (
        ["10.120.0.0/16", "172.16.0.0/20", "192.168.4.0/24"],
        [
            "",
            "10.120.0.0",
            "10.120.0.0/8",
            "10.120.0.0/25",
            "8.8.0.0/16",
            "172.32.0.0/16",
            "10.120.0.0/16,10.121.0.0/16",
        ],
    ),
    "ZapImage": (
        ["ghcr.io/zaproxy/zaproxy:stable", "ghcr.io/zaproxy/zaproxy@sha256:" + "0" * 64],
        ["", "zaproxy", "ghcr.io/zaproxy/zaproxy", "ghcr.io/zaproxy/zaproxy@sha256:00"],
    ),
    "ZoneA": (["", "eu-west-1a", "us-gov-west-1b"], ["eu-west-1", "a", "euw1-az1"]),
    "ZoneB": (["", "eu-west-1b"], ["eu-west-1", "b"]),
}

EDGE = {"Edge": "public", "DomainName": "keys.example.com", "CertificateArn": VALUES["CertificateArn"][0][1]}

# What no single parameter says: values that go together, and the end of the sentence where they don't.
TOGETHER = {
    "template.yaml": [
        ({}, None),
        (EDGE, None),
        ({**EDGE, "HostedZoneId": "Z0123456789ABC"}, None),
        ({"Network": "isolated", "DynamoDbPrefixList": "pl-63a5400a"}, None),
        ({"Network": "egress", "Edge": "public"}, None),
        ({"Network": "egress", "ZoneA": "eu-west-1a", "ZoneB": "eu-west-1b"}, None),
        ({"Network": "isolated"}, "Network=isolated needs DynamoDbPrefixList"),
        (
            {"Network": "isolated", "DynamoDbPrefixList": "pl-63a5400a", "Edge": "public"},
            "take Network=egress or Edge=none",
        ),
        ({"Network": "egress", **EDGE}, "write DomainName, and every host of a probe, into ProbeDomains"),
        ({"ZoneA": "eu-west-1a"}, "Write two different zones"),
        ({"ZoneA": "eu-west-1a", "ZoneB": "eu-west-1a"}, "Write two different zones"),
        ({**EDGE, "Edge": "none"}, "it needs Edge=public"),
        ({"Edge": "public", "DomainName": "keys.example.com"}, "DomainName needs CertificateArn"),
        (
            {"Edge": "public", "CertificateArn": EDGE["CertificateArn"]},
            "CertificateArn is for DomainName, which is empty",
        ),
        ({"Edge": "public", "HostedZoneId": "Z0123456789ABC"}, "HostedZoneId is for DomainName, which is empty"),
    ],
    "edge.yaml": [
        ({}, None),
        ({"DomainName": "keys.example.com", "CertificateArn": EDGE["CertificateArn"]}, None),
        ({"DomainName": "keys.example.com"}, "DomainName needs CertificateArn"),
        ({"CertificateArn": EDGE["CertificateArn"]}, "CertificateArn is for a DomainName"),
        ({"HostedZoneId": "Z0123456789ABC"}, "HostedZoneId is where a DomainName is entered"),
    ],
    "functions.yaml": [
        ({}, None),
        ({"SubnetIds": "subnet-0a", "SecurityGroupId": "sg-0123456789abcdef0"}, None),
        ({"SubnetIds": "subnet-0a"}, "Subnets need a security group"),
    ],
    "pipeline.yaml": [
        ({}, None),
        ({"StagingStack": "rotator"}, "StagingStack and ProductionStack are two stacks"),
    ],
    "network.yaml": [
        ({"Isolation": "egress"}, None),
        ({"Isolation": "isolated", "DynamoDbPrefixList": "pl-63a5400a"}, None),
        ({"Isolation": "isolated"}, "An isolated network needs DynamoDbPrefixList"),
        ({"Isolation": "egress", "ZoneB": "eu-west-1a"}, "Write two different zones"),
    ],
}

CONSTRAINTS = ("AllowedPattern", "AllowedValues", "MinValue", "MaxValue", "MinLength", "MaxLength")

# The parent's parameters that a nested stack takes under another name or of another kind.
OTHERWISE_IN_THE_NESTED_STACK = {
    ("Network", "Isolation"): "none is the parent's own: then there is no such stack",
    ("ProbeDomains", "ProbeDomains"): "a text there, and a list here",
}


def check():
    """Yields what was tried, a line each; raises AssertionError with a sentence for each defect."""
    tried, defects = 0, []
    for path in templates.all_of_them():
        template, name = read(path), templates.name_of(path)
        for parameter, declared in template.get("Parameters", {}).items():
            try:
                tried += check_parameter(f"{name}: {parameter}", parameter, declared)
            except AssertionError as defect:
                defects.append(str(defect))
        try:
            tried += check_rules(name, template)
        except AssertionError as defect:
            defects.append(str(defect))
    assert not defects, "\n".join(defects)
    assert not set(TOGETHER) - {templates.name_of(path) for path in templates.all_of_them()}, (
        "TOGETHER has a file too many"
    )
    yield f"{tried} bad values and combinations, each stopped with its sentence"
    yield f"{check_what_is_passed_on()} parameters mean the same in the nested stack as in the parent"
    yield f"{check_parameter_files()} files of parameters fit the template"


def check_parameter(where, parameter, declared):
    assert len(declared.get("Description", "")) >= 15, f"{where} has no description"
    constrained = [constraint for constraint in CONSTRAINTS if constraint in declared]
    if not constrained:
        assert declared["Type"] == "String" and "Default" not in declared, (
            f"{where} can be anything; say by AllowedPattern, AllowedValues or a range what makes sense"
        )
        return 0
    sentence = declared.get("ConstraintDescription")
    assert sentence, f"{where} has no ConstraintDescription, so what CloudFormation says is a pattern"
    assert not sentence.endswith("."), f"{where}: {sentence!r} ends in a full stop; a # behind a space begins a comment"

    good, bad = VALUES.get(parameter, ([], []))
    good, bad = list(good), list(bad)
    if "AllowedValues" in declared:
        good += [str(value) for value in declared["AllowedValues"]]
        bad += ["", "nonsense", str(declared["AllowedValues"][0]) + "1"]
    if declared["Type"] == "Number":
        bad += ["", "many", "1.5e"]
    if "MinValue" in declared:
        good += [str(declared["MinValue"]), str(declared["MaxValue"])]
        bad += [str(declared["MinValue"] - 1), str(declared["MaxValue"] + 1)]
    if "Default" in declared:
        assert not refusal(parameter, declared, declared["Default"]), f"{where} refuses its own default"
    assert good and bad, f"{where} has a constraint, and VALUES in tests/infra/parameters.py has no case for it"
    for value in good:
        assert not refusal(parameter, declared, value), f"{where} refuses {value!r}, which makes sense"
    for value in bad:
        assert refusal(parameter, declared, value) == sentence, f"{where} takes {value!r}"
    return len(bad)


def check_rules(name, template):
    unbroken = {
        assertion["AssertDescription"]
        for rule in template.get("Rules", {}).values()
        for assertion in rule["Assertions"]
    }
    for values, sentence in TOGETHER.get(name, []):
        said = refusals(template, {**needed(template), **values})
        if sentence is None:
            assert not said, f"{name} refuses {values}: {said}"
        else:
            assert any(sentence in each for each in said), f"{name} takes {values}, or says something else: {said}"
            unbroken -= {each for each in said if sentence in each}
    assert not unbroken, f"{name}: no case in TOGETHER, in tests/infra/parameters.py, breaks {sorted(unbroken)}"
    return sum(1 for _, sentence in TOGETHER.get(name, []) if sentence)


def check_what_is_passed_on():
    """The parent stops what a nested stack would stop: later, with half of the stack made."""
    parent = read(templates.INFRA / "template.yaml")
    passed, differ = 0, []
    for resource in parent["Resources"].values():
        if resource["Type"] != "AWS::CloudFormation::Stack":
            continue
        nested = read(templates.INFRA / resource["Properties"]["TemplateURL"]).get("Parameters", {})
        for theirs, value in resource["Properties"].get("Parameters", {}).items():
            if not isinstance(value, dict) or set(value) != {"Ref"}:
                continue
            ours = value["Ref"]
            if (ours, theirs) in OTHERWISE_IN_THE_NESTED_STACK:
                continue
            for member in (*CONSTRAINTS, "Default"):
                if parent["Parameters"][ours].get(member) != nested[theirs].get(member):
                    differ.append(
                        f"{ours} of template.yaml and {theirs} of {resource['Properties']['TemplateURL']}: {member}"
                    )
            passed += 1
    assert not differ, "these differ:\n" + "\n".join(differ)
    return passed


def check_parameter_files():
    """What the pipeline deploys with is taken by the template."""
    parent = read(templates.INFRA / "template.yaml")
    files = sorted((templates.INFRA / "buildspecs").glob("*.json"))
    for path in files:
        values = read(path).get("Parameters", {})
        unknown = set(values) - set(parent["Parameters"])
        assert not unknown, f"{path.name} has parameters that template.yaml does not know: {sorted(unknown)}"
        said = refusals(parent, values)
        assert not said, f"{path.name} is refused: {said}"
    return len(files)


def bad_for_the_parent():
    """For the emulator: values and what must be said, one for each constraint, and all that break a rule. Where values
    are listed or have a range, the emulator has words of its own."""
    parent = read(templates.INFRA / "template.yaml")
    cases = [(values, sentence) for values, sentence in TOGETHER["template.yaml"] if sentence]
    for parameter, declared in parent["Parameters"].items():
        if parameter in VALUES:
            cases.append(({parameter: VALUES[parameter][1][-1]}, declared["ConstraintDescription"]))
        else:
            cases.append(({parameter: declared.get("MaxValue", 0) + 1}, parameter))
    return cases


# ---- CloudFormation's part ----


def needed(template):
    """A value for each parameter that has no default."""
    return {
        name: VALUES[name][0][0] if name in VALUES else str(declared.get("AllowedValues", ["x"])[0])
        for name, declared in template.get("Parameters", {}).items()
        if "Default" not in declared
    }


def refusals(template, values):
    """All sentences that CloudFormation would say to these values, without those of resources."""
    declared = template.get("Parameters", {})
    said = [refusal(name, declared[name], value) for name, value in values.items()]
    parameters = {
        **templates.defaults(template),
        **{name: templates.typed(declared[name], value) for name, value in values.items()},
    }
    for rule in template.get("Rules", {}).values():
        if evaluate(rule.get("RuleCondition", True), parameters):
            said += [
                assertion["AssertDescription"]
                for assertion in rule["Assertions"]
                if not evaluate(assertion["Assert"], parameters)
            ]
    return [each for each in said if each]


def refusal(name, declared, value):
    """The parameter's ConstraintDescription if it does not take the value, else None."""
    value = str(value)
    members = [part.strip() for part in value.split(",")] if declared["Type"] == "CommaDelimitedList" else [value]
    pattern = declared.get("AllowedPattern")
    takes = all(
        (
            all(re.fullmatch(pattern, member) for member in members) if pattern is not None else True,
            value in map(str, declared["AllowedValues"]) if "AllowedValues" in declared else True,
            re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value) if declared["Type"] == "Number" else True,
        )
    )
    if takes and "MinValue" in declared:
        takes = float(declared["MinValue"]) <= float(value) <= float(declared["MaxValue"])
    if takes and ("MinLength" in declared or "MaxLength" in declared):
        takes = int(declared.get("MinLength", 0)) <= len(value) <= int(declared.get("MaxLength", 4096))
    return None if takes else declared.get("ConstraintDescription", f"{name} is not allowed")
