"""What cfn-guard can't say: comparisons between the members of a list, and across templates. Each is proved on the
spot by a template that breaks it.
"""

import copy

import templates
from templates import INFRA, REPO, read, settle, situations, translate

# What Lambda tries with the role when it makes or configures a function, and refuses otherwise. A policy that is made
# at the same time comes too late now and then (aws/serverless-application-model#225, serverless/serverless#6931,
# aws-amplify/amplify-js#9869).
TRIED = {"ec2:CreateNetworkInterface", "sqs:SendMessage", "xray:PutTraceSegments"}
ASYNCHRONOUS = ("events.amazonaws.com", "scheduler.amazonaws.com", "sns.amazonaws.com", "s3.amazonaws.com")


def check():
    """Yields what was found, a line each; raises AssertionError with a sentence."""
    functions = set()
    for path in templates.service():
        template = translate(read(path))
        for truths in situations(template):
            settled = settle(template, truths)
            functions |= every_function_has_its_own_role(settled)
            every_function_has_its_own_log_group(settled)
            every_function_is_made_after_its_rights(settled)
    stack = {file: translate(read(INFRA / file)) for file in ("functions.yaml", "edge.yaml", "monitoring.yaml")}
    asynchronous = what_is_invoked_asynchronously_keeps_what_it_fails_at(read(INFRA / "template.yaml"), stack)
    yield f"{', '.join(sorted(functions))}: a role and a log group each"
    roles = sum(every_role_takes_a_boundary(read(path)) for path in templates.all_of_them())
    yield f"{roles} roles, each with the boundary that its template is given"
    yield f"{', '.join(sorted(asynchronous))}: what it fails at is kept; no other function has a place for it"
    yield f"{every_zip_is_built()} zips, each of a binary that the package rotator has"
    yield f"broken on purpose, {broken(stack)} laws say so"


def every_function_has_its_own_role(template):
    owners = {}
    for name, resource in of_type(template, "AWS::Lambda::Function"):
        role = str(resource["Properties"]["Role"])
        assert role not in owners, f"{name} and {owners[role]} share a role, so each may do what the other needs"
        owners[role] = name
    return set(owners.values())


def every_role_takes_a_boundary(template):
    given = {"Fn::If": ["HasBoundary", {"Ref": "PermissionsBoundary"}, {"Ref": "AWS::NoValue"}]}
    roles = of_type(template, "AWS::IAM::Role")
    for name, role in roles:
        assert role["Properties"].get("PermissionsBoundary") == given, f"{name} has no PermissionsBoundary"
    return len(roles)


def every_function_has_its_own_log_group(template):
    owners = {}
    for name, resource in of_type(template, "AWS::Lambda::Function"):
        group = str(resource["Properties"]["LoggingConfig"]["LogGroup"])
        assert group not in owners, f"{name} and {owners[group]} write into one log group"
        owners[group] = name


def every_function_is_made_after_its_rights(template):
    for name, resource in of_type(template, "AWS::Lambda::Function"):
        before = before_it(template, name)
        role = resource["Properties"]["Role"]["Fn::GetAtt"][0]
        for id, policy in of_type(template, "AWS::IAM::Policy"):
            tried = TRIED & set(actions(policy)) if {"Ref": role} in policy["Properties"]["Roles"] else set()
            assert not tried or id in before, (
                f"{name} may be made before {id}, and then Lambda refuses it, for want of {', '.join(sorted(tried))}"
            )


def before_it(template, name):
    """Everything that CloudFormation makes before this resource."""
    found, waiting = set(), [name]
    while waiting:
        resource = template["Resources"][waiting.pop()]
        after = resource.get("DependsOn", [])
        mentioned = set([after] if isinstance(after, str) else after) | set(templates.mentions(resource))
        new = (mentioned & set(template["Resources"])) - found
        found |= new
        waiting += new
    return found


def actions(policy):
    for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
        if statement["Effect"] == "Allow":
            yield from [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]


def what_is_invoked_asynchronously_keeps_what_it_fails_at(parent, stack):
    """By a permission or a schedule, in whichever template it stands; and only there."""
    invoked, kept = set(), set()
    for file, template in stack.items():
        for _, permission in of_type(template, "AWS::Lambda::Permission"):
            if permission["Properties"]["Principal"] in ASYNCHRONOUS:
                invoked.add(function(parent, stack, file, permission["Properties"]["FunctionName"]))
        for _, schedule in of_type(template, "AWS::Scheduler::Schedule"):
            invoked.add(function(parent, stack, file, schedule["Properties"]["Target"]["Arn"]))
        for _, config in of_type(template, "AWS::Lambda::EventInvokeConfig"):
            if config["Properties"].get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"):
                kept.add(function(parent, stack, file, config["Properties"]["FunctionName"]))
    assert invoked, "nothing is invoked asynchronously, so retirement never runs"
    assert invoked <= kept, f"{sorted(invoked - kept)} is invoked asynchronously, and what it fails at is lost"
    assert kept <= invoked, f"{sorted(kept - invoked)} keeps failures that never come: nobody invokes it asynchronously"
    return invoked


def function(parent, stack, file, reference):
    """The logical id of the function that a reference means, followed through the parent's parameters and outputs."""
    target = reference["Ref"] if "Ref" in reference else reference["Fn::GetAtt"][0]
    if target in stack[file]["Resources"]:
        return target
    for resource in parent["Resources"].values():
        if resource["Properties"]["TemplateURL"] == file:
            given = resource["Properties"]["Parameters"][target]
            given = given["Fn::If"][1] if "Fn::If" in given else given
            name, output = given["Fn::GetAtt"]
            source = parent["Resources"][name]["Properties"]["TemplateURL"]
            return function(parent, stack, source, stack[source]["Outputs"][output.removeprefix("Outputs.")]["Value"])
    raise AssertionError(f"{file}: {target} is no function of this stack")


def every_zip_is_built():
    """Each CodeUri is where `cargo lambda build` puts a binary of the package rotator."""
    number = 0
    for path in templates.service():
        for name, resource in of_type(read(path), "AWS::Serverless::Function"):
            folder = (path.parent / resource["Properties"]["CodeUri"]).resolve()
            assert folder.parent == REPO / "target" / "lambda", f"{path.name}: the code of {name} is in {folder}"
            binary = REPO / "rotator" / "src" / "bin" / f"{folder.name}.rs"
            assert binary.exists(), (
                f"{path.name}: {name} runs {folder.name}, and the package rotator has no such binary"
            )
            number += 1
    return number


def broken(stack):
    parent = read(INFRA / "template.yaml")
    shared = copy.deepcopy(stack["functions.yaml"])
    shared["Resources"]["Retirement"]["Properties"]["Role"] = shared["Resources"]["Rotation"]["Properties"]["Role"]
    one_log = copy.deepcopy(stack["functions.yaml"])
    one_log["Resources"]["Retirement"]["Properties"]["LoggingConfig"] = one_log["Resources"]["Rotation"]["Properties"][
        "LoggingConfig"
    ]
    hasty = copy.deepcopy(stack["functions.yaml"])
    late = {"Effect": "Allow", "Action": "xray:PutTraceSegments", "Resource": "*"}
    hasty["Resources"]["Late"] = {
        "Type": "AWS::IAM::Policy",
        "Properties": {"Roles": [{"Ref": "RotationRole"}], "PolicyDocument": {"Statement": [late]}},
    }
    unbounded = read(INFRA / "functions.yaml")
    del unbounded["Resources"]["SchedulesRole"]["Properties"]["PermissionsBoundary"]
    lost = copy.deepcopy(stack)
    del lost["functions.yaml"]["Resources"]["RetirementEventInvokeConfig"]
    for_nothing = copy.deepcopy(stack)
    config = copy.deepcopy(for_nothing["functions.yaml"]["Resources"]["RetirementEventInvokeConfig"])
    config["Properties"]["FunctionName"] = {"Ref": "Rotation"}
    for_nothing["functions.yaml"]["Resources"]["RotationEventInvokeConfig"] = config
    laws = [
        (every_function_has_its_own_role, shared),
        (every_function_has_its_own_log_group, one_log),
        (every_function_is_made_after_its_rights, hasty),
        (every_role_takes_a_boundary, unbounded),
        (lambda changed: what_is_invoked_asynchronously_keeps_what_it_fails_at(parent, changed), lost),
        (lambda changed: what_is_invoked_asynchronously_keeps_what_it_fails_at(parent, changed), for_nothing),
    ]
    for law, template in laws:
        try:
            law(template)
        except AssertionError:
            continue
        raise AssertionError(f"{law} lets through what it should stop")
    return len(laws)


def of_type(template, name):
    return [(id, resource) for id, resource in template["Resources"].items() if resource["Type"] == name]
