"""What a run sets up for its experiments, what that costs, and how all of it is taken away again.

Removal finds everything by the run's id, so that a run that could not end is removed by another one just as well:
names are made of it, and what has no name has a tag.
"""

import io
import json
import pathlib
import time
import zipfile

from botocore.exceptions import BotoCoreError, ClientError

import rotation_function
from place import Elsewhere, code_of, described
from session import RUN_TAG, Stage

SECRETS = ("preflight", "rotation", "retries", "no-rules", "labels", "events", "replica", "key-set")
# How many, what, what AWS's price lists of 2026 make of it in US dollars, and which experiments are it for.
STAGES = ("delays", "usage", "memory", "quotas", "access-log")
WITH_SECRETS = ("preflight", "retries", "no-rules", "labels", "label-events", "replica", "authorizer")
COSTS = (
    ("1", "REST API with a method that asks for an API key, a stage", "3.50 for a million requests", STAGES),
    ("2", "usage plans, with and without a quota", "nothing", STAGES),
    ("up to 4", "usage plans more, over midnight in UTC", "nothing", ("quotas",)),
    ("about 25", "API keys", "nothing", ("delays", "answers", "usage", "quotas", "access-log")),
    ("up to 8", "secrets", "0.40 for one and a month, by the hour", WITH_SECRETS),
    ("1", "Lambda function and its role", "less than a cent", ("preflight", "retries", "no-rules", "authorizer")),
    ("1", "KMS key", "1.00 for a month, by the hour, until its deletion is scheduled", ("kms",)),
    ("1", "KMS key, and a role that may sign with it", "the same", ("kms-role",)),
    ("2", "KMS keys, RSA", "the same each", ("authorizer",)),
    ("1", "HTTP API with a JWT authorizer", "1.00 for a million requests", ("authorizer",)),
    ("1", "EventBridge rule and SQS queue", "less than a cent", ("label-events",)),
    ("1", "log group of access logs", "less than a cent", ("access-log",)),
)
PRICE = "Altogether some US cents; what is left lying about costs about 5 dollars a month."
READS = "It reads CloudTrail's event history, endpoint services, usage plans and the names of API keys."
ASSUMED_BY_LAMBDA = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}
ASSUMED_BY_API_GATEWAY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "apigateway.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}
# AWS's own for this, with what it has: the API is not asked for less.
PUSH_TO_LOGS = "service-role/AmazonAPIGatewayPushToCloudWatchLogs"
# UpdateUsagePlan and UpdateAccount are allowed once in 20 seconds, DeleteRestApi once in 30.
ROUNDS, PAUSE = 8, 21


def plan_page(run, planned):
    """What will be made for those experiments, for whoever has to say yes."""
    options = run.options
    lines = [f"live probe, run {run.id}: {run.where.name()}", "", "It creates, and removes again:"]
    given = {"REST API", "usage plans", "log group"} if options.probe else set()
    given |= {"Lambda function"} if options.rotation_function or options.serve_function else set()
    for number, what, price, experiments in COSTS:
        if not what.startswith(tuple(given)) and not set(experiments).isdisjoint(planned):
            lines.append(f"  {number:>8}  {what} ({price})")
    lines += ["", PRICE]
    if options.probe:
        lines.append(f"It uses {options.probe} and the usage plan {options.usage_plan}, and puts keys into that plan.")
    if options.rotation_function:
        lines.append(f"Secrets Manager invokes {options.rotation_function}.")
    if options.serve_function:
        lines.append(f"Secrets Manager invokes this process, on port {options.serve_function} of 127.0.0.1.")
    if options.account_log_role:
        lines.append(
            "If API Gateway may write no logs, it gets a role for that, account-wide, for the time of the run."
        )
    if options.replica_region:
        lines.append(f"It replicates a secret to {options.replica_region}.")
    lines += [
        READS,
        f"Names begin with {run.prefix} or live-probe/{run.id}/; what can have a tag has {RUN_TAG} = {run.id}.",
        "It shares API Gateway's 10 management calls a second with everybody in the account and Region.",
        "KMS keys stay for 7 days, pending deletion, which costs nothing.",
        f"It takes up to {options.wait:g} minutes. Ctrl-C ends it earlier, with what was seen until then.",
    ]
    return "\n".join(lines)


def set_up(run, needed):
    """The stage and the function, as far as they are needed, or why there is none."""
    for what, make in (("stage", make_stage), ("function", make_function)):
        if what not in needed:
            continue
        try:
            setattr(run, what, make(run))
        except (ClientError, BotoCoreError, Elsewhere) as error:
            why = run.where.why_not_here(error) or f"failed: {described(error)}"
            setattr(run, f"no_{what}", f"{why}{HINTS[what] if not run.where.is_aws else ''}")
            run.say(f"no {what}: {why}")


HINTS = {
    "stage": ": name an API and a plan that are there, with --probe and --usage-plan",
    "function": ": let this process be the function, with --serve-function",
}


# ---- the API ----


def make_stage(run):
    """A stage of our own, unless one was named."""
    api, options = run.where.client("apigateway"), run.options
    if options.probe:
        found = named_stage(run, api)
        run.say(f"uses the stage {found.api}/{found.stage} and the usage plan {found.plan}, which are not its own")
        return found
    name = run.named("api")
    made = api.create_rest_api(
        name=name, description="live probe", endpointConfiguration={"types": ["REGIONAL"]}, tags=run.tags()
    )
    run.note_made("REST API", f"{name} ({made['id']})")
    rest, root = made["id"], made.get("rootResourceId")
    if root is None:
        root = next(item["id"] for item in api.get_resources(restApiId=rest)["items"] if item["path"] == "/")
    for path, asks in (("ping", True), ("health", False)):
        add_method(api, rest, root, path, asks)
    deployment = api.create_deployment(restApiId=rest)["id"]
    api.create_stage(restApiId=rest, stageName="probe", deploymentId=deployment, tags=run.tags())
    opened = [{"apiId": rest, "stage": "probe"}]
    plan = make_plan(run, "quota", apiStages=opened, quota={"limit": 100_000, "period": "DAY"})
    free = make_plan(run, "no-quota", apiStages=opened)
    health, since = run.where.url(rest, "probe", "health"), time.monotonic()
    while not run.where.ask(health).accepted:
        if time.monotonic() - since > 120:
            raise Elsewhere(f"the new stage does not answer at {health}")
        time.sleep(1)
    return Stage(rest, "probe", "ping", plan, free, "probe")


def add_method(api, rest, root, path, asks):
    """A GET that answers 200 by itself."""
    resource = api.create_resource(restApiId=rest, parentId=root, pathPart=path)["id"]
    method = {"restApiId": rest, "resourceId": resource, "httpMethod": "GET"}
    api.put_method(**method, authorizationType="NONE", apiKeyRequired=asks)
    api.put_integration(**method, type="MOCK", requestTemplates={"application/json": '{"statusCode": 200}'})
    api.put_method_response(**method, statusCode="200")
    api.put_integration_response(**method, statusCode="200", responseTemplates={"application/json": '{"ok": true}'})


def make_plan(run, what, **settings):
    name = run.named(what)
    made = run.where.client("apigateway").create_usage_plan(name=name, tags=run.tags(), **settings)["id"]
    run.note_made("usage plan", f"{name} ({made})")
    return made


def named_stage(run, api):
    """The stage that the options name, if its plans open it."""
    options = run.options
    rest, stage, path = options.probe.split("/", 2)
    plan = api.get_usage_plan(usagePlanId=options.usage_plan)
    if {"apiId": rest, "stage": stage} not in [
        {"apiId": opened["apiId"], "stage": opened["stage"]} for opened in plan.get("apiStages", [])
    ]:
        raise Elsewhere(f"the usage plan {options.usage_plan} does not open {rest}/{stage}")
    found = Stage(rest, stage, path, options.usage_plan, made=False)
    if options.plan_without_quota:
        free = api.get_usage_plan(usagePlanId=options.plan_without_quota)
        stages = [opened["stage"] for opened in free.get("apiStages", []) if opened["apiId"] == rest]
        if free.get("quota") or not stages:
            raise Elsewhere(f"the usage plan {options.plan_without_quota} has a quota, or opens no stage of {rest}")
        found.free_plan, found.free_stage = options.plan_without_quota, stages[0]
    return found


# ---- the function ----


def make_function(run):
    """The function that Secrets Manager invokes: its ARN."""
    options, where = run.options, run.where
    name = run.named("function")
    if options.rotation_function:
        run.say(f"uses the function {options.rotation_function}, which is not its own")
        return options.rotation_function
    if options.serve_function:
        return f"arn:{where.partition}:lambda:{where.region}:{where.account}:function:{name}"
    client = where.client("lambda")
    role = make_role(run, "function", ASSUMED_BY_LAMBDA)
    secrets = f"arn:{where.partition}:secretsmanager:{where.region}:{where.account}:secret:live-probe/{run.id}/*"
    allowed = ("DescribeSecret", "GetSecretValue", "PutSecretValue", "TagResource", "UpdateSecretVersionStage")
    statement = {"Effect": "Allow", "Action": [f"secretsmanager:{call}" for call in allowed], "Resource": secrets}
    where.client("iam").put_role_policy(
        RoleName=run.named("function"),
        PolicyName="function",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    since = time.monotonic()
    while True:
        try:
            arn = client.create_function(
                FunctionName=name,
                Runtime="python3.13",
                Handler="rotation_function.handler",
                Role=role,
                Code={"ZipFile": zipped()},
                Timeout=30,
                Environment={"Variables": {"KEY_SET_SECRET": run.secret("key-set")}},
                Tags=run.tags(),
            )["FunctionArn"]
            break
        except ClientError as error:
            # A new role takes seconds until Lambda can assume it.
            if code_of(error) != "InvalidParameterValueException" or time.monotonic() - since > 120:
                raise
            time.sleep(3)
    run.note_made("Lambda function", name)
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    client.add_permission(
        FunctionName=name,
        StatementId="secrets-manager",
        Action="lambda:InvokeFunction",
        Principal="secretsmanager.amazonaws.com",
        SourceAccount=where.account,
    )
    # The permission, and the role's policy, take seconds to be in force.
    time.sleep(10 if where.is_aws else 0)
    return arn


def make_role(run, what, trust):
    name = run.named(what)
    made = run.where.client("iam").create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps(trust), Description="live probe", Tags=run.tag_list()
    )
    run.note_made("role", name)
    return made["Role"]["Arn"]


def zipped():
    """The function's code, as Lambda takes it."""
    source = pathlib.Path(rotation_function.__file__).read_text(encoding="utf-8")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("rotation_function.py")
        entry.external_attr = 0o644 << 16
        archive.writestr(entry, source)
    return buffer.getvalue()


def set_account_log_role(run):
    """Lets API Gateway write logs, account-wide. Removal takes it back."""
    api = run.where.client("apigateway")
    role = make_role(run, "logs", ASSUMED_BY_API_GATEWAY)
    run.where.client("iam").attach_role_policy(
        RoleName=run.named("logs"), PolicyArn=f"arn:{run.where.partition}:iam::aws:policy/{PUSH_TO_LOGS}"
    )
    patch = [{"op": "replace", "path": "/cloudwatchRoleArn", "value": role}]
    since = time.monotonic()
    while True:
        try:
            api.update_account(patchOperations=patch)
            break
        except ClientError as error:
            # API Gateway tries the role, and a new one takes a while to be known.
            if time.monotonic() - since > 180:
                raise
            run.say(f"not yet: {described(error)}")
        yield PAUSE
    run.note_made("account setting", "the role by which API Gateway writes logs")


# ---- removal ----


class Removal:
    """Takes away everything that has a run's id, and tells of it."""

    def __init__(self, run):
        self.run = run
        self.where = run.where
        self.removed, self.left = [], []
        self._waits = False

    def everything(self):
        """Several rounds: some calls are allowed only now and then, some things go only after others, and AWS may list
        late what was made last. True if nothing is left."""
        for number in range(ROUNDS):
            self.left, self._waits = [], False
            before = len(self.removed)
            for step in (
                self.secrets,
                self.rule_and_queue,
                self.api_keys,
                self.usage_plans,
                self.http_apis,
                self.rest_apis,
                self.account_log_role,
                self.log_groups,
                self.function,
                self.roles,
                self.kms_keys,
            ):
                self._carefully(step.__name__.replace("_", " "), step)
            looks_again = self.where.is_aws and len(self.removed) > before
            if number == ROUNDS - 1 or not (self._waits or looks_again):
                break
            names = ", ".join(entry["name"] for entry in self.left) or "nothing that is known"
            self.run.say(f"not gone yet: {names}; looks again in {PAUSE} s")
            time.sleep(PAUSE)
        return not self.left

    def _carefully(self, what, step):
        try:
            step()
        except Exception as error:  # whatever it is, the other steps must be made
            refused = self.where.why_not_here(error)
            # What this AWS does not have can't have been made in it.
            if refused and not self.where.is_aws:
                return
            self.left.append({"kind": what, "name": f"perhaps: {what}", "why": described(error)})
            self._waits |= refused is None

    def _gone(self, kind, name, remove, absent=()):
        """Removes one thing. What is not there is as good as removed."""
        try:
            if remove() is False:
                return
        except Exception as error:  # the same
            code = code_of(error) if isinstance(error, ClientError) else ""
            if code in absent or (self.where.why_not_here(error) and not self.where.is_aws and absent):
                return
            self.left.append({"kind": kind, "name": name, "why": described(error)})
            # Whatever AWS refuses for ever is not worth minutes of waiting: it is told.
            self._waits |= self.where.why_not_here(error) is None
            return
        self.removed.append({"kind": kind, "name": name})
        self.run.say(f"removed {kind} {name}")

    def secrets(self):
        manager = self.where.client("secretsmanager")
        for what in SECRETS:
            self._gone(
                "secret",
                self.run.secret(what),
                lambda name=self.run.secret(what): self._secret(manager, name),
                ("ResourceNotFoundException",),
            )

    def _secret(self, manager, name):
        told = manager.describe_secret(SecretId=name)
        if told.get("DeletedDate"):
            return False
        regions = [replica["Region"] for replica in told.get("ReplicationStatus", [])]
        if regions:
            manager.remove_regions_from_replication(SecretId=name, RemoveReplicaRegions=regions)
        if told.get("RotationEnabled"):
            manager.cancel_rotate_secret(SecretId=name)
        manager.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
        return True

    def rule_and_queue(self):
        name = self.run.named("label-events")
        events, queues = self.where.client("events"), self.where.client("sqs")

        def rule():
            targets = [target["Id"] for target in events.list_targets_by_rule(Rule=name)["Targets"]]
            if targets:
                events.remove_targets(Rule=name, Ids=targets)
            events.describe_rule(Name=name)
            events.delete_rule(Name=name)

        gone = ("ResourceNotFoundException", "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
        self._gone("EventBridge rule", name, rule, gone)
        self._gone(
            "SQS queue",
            name,
            lambda: queues.delete_queue(QueueUrl=queues.get_queue_url(QueueName=name)["QueueUrl"]),
            gone,
        )

    def api_keys(self):
        api = self.where.client("apigateway")
        pages = api.get_paginator("get_api_keys").paginate(PaginationConfig={"PageSize": 500})
        for key in [item for page in pages for item in page["items"] if self._ours(item)]:
            self._gone(
                "API key",
                f"{key['name']} ({key['id']})",
                lambda id=key["id"]: api.delete_api_key(apiKey=id),
                ("NotFoundException",),
            )

    def usage_plans(self):
        api = self.where.client("apigateway")
        pages = api.get_paginator("get_usage_plans").paginate(PaginationConfig={"PageSize": 500})
        for plan in [item for page in pages for item in page["items"] if self._ours(item)]:
            self._gone(
                "usage plan",
                f"{plan['name']} ({plan['id']})",
                lambda plan=plan: self._plan(api, plan),
                ("NotFoundException",),
            )

    def _plan(self, api, plan):
        stages = [f"{opened['apiId']}:{opened['stage']}" for opened in plan.get("apiStages", [])]
        if stages:
            patch = [{"op": "remove", "path": "/apiStages", "value": stage} for stage in stages]
            api.update_usage_plan(usagePlanId=plan["id"], patchOperations=patch)
        api.delete_usage_plan(usagePlanId=plan["id"])

    def http_apis(self):
        gateway = self.where.client("apigatewayv2")
        pages = gateway.get_paginator("get_apis").paginate()
        for api in [item for page in pages for item in page["Items"] if self._ours(item)]:
            self._gone(
                "HTTP API",
                f"{api['Name']} ({api['ApiId']})",
                lambda id=api["ApiId"]: gateway.delete_api(ApiId=id),
                ("NotFoundException",),
            )

    def rest_apis(self):
        api = self.where.client("apigateway")
        pages = api.get_paginator("get_rest_apis").paginate(PaginationConfig={"PageSize": 500})
        for rest in [item for page in pages for item in page["items"] if self._ours(item)]:
            self._gone(
                "REST API",
                f"{rest['name']} ({rest['id']})",
                lambda id=rest["id"]: api.delete_rest_api(restApiId=id),
                ("NotFoundException",),
            )

    def account_log_role(self):
        api = self.where.client("apigateway")
        role = api.get_account().get("cloudwatchRoleArn") or ""
        if role.endswith(f":role/{self.run.named('logs')}"):
            patch = [{"op": "replace", "path": "/cloudwatchRoleArn", "value": ""}]
            self._gone(
                "account setting",
                "the role by which API Gateway writes logs",
                lambda: api.update_account(patchOperations=patch),
            )

    def log_groups(self):
        logs = self.where.client("logs")
        for name in (self.run.named("access"), f"/aws/lambda/{self.run.named('function')}"):
            self._gone(
                "log group",
                name,
                lambda name=name: logs.delete_log_group(logGroupName=name),
                ("ResourceNotFoundException",),
            )

    def function(self):
        client, name = self.where.client("lambda"), self.run.named("function")
        self._gone(
            "Lambda function", name, lambda: client.delete_function(FunctionName=name), ("ResourceNotFoundException",)
        )

    def roles(self):
        iam = self.where.client("iam")
        for name in (self.run.named("function"), self.run.named("logs"), self.run.named("signer")):
            self._gone("role", name, lambda name=name: self._role(iam, name), ("NoSuchEntity",))

    def _role(self, iam, name):
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
        iam.delete_role(RoleName=name)

    def kms_keys(self):
        """By their tag, since a key has no name."""
        kms = self.where.client("kms")
        for key in [item["KeyId"] for page in kms.get_paginator("list_keys").paginate() for item in page["Keys"]]:
            try:
                tags = {tag["TagKey"]: tag["TagValue"] for tag in kms.list_resource_tags(KeyId=key)["Tags"]}
            except ClientError:
                # Somebody else's, whose policy lets nobody look.
                continue
            if tags.get(RUN_TAG) == self.run.id:
                self._gone("KMS key", key, lambda key=key: self._kms_key(kms, key), ("NotFoundException",))

    def _kms_key(self, kms, key):
        if kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion":
            return False
        kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        return True

    def _ours(self, item):
        """By its name, which has the run's id in it."""
        return (item.get("name") or item.get("Name") or "").startswith(f"{self.run.prefix}-")

    def tell(self):
        """What became of it, in one line."""
        if not self.left:
            waiting = sum(entry["kind"] == "KMS key" for entry in self.removed)
            but = f" but {waiting} KMS keys, which KMS deletes in 7 days" if waiting else ""
            return f"removed {len(self.removed)} things; nothing is left{but}"
        names = "; ".join(f"{entry['kind']} {entry['name']} ({entry['why']})" for entry in self.left)
        return f"LEFT: {names}. Remove it with: --clean {self.run.id}"
