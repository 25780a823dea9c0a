"""Secrets Manager: what a rotation function is called with, and what becomes of labels outside."""

import json
import time
import uuid

from botocore.exceptions import ClientError

import rotation_function
from place import Elsewhere, code_of, message_of
from session import Experiment, seconds

EVERY = 2
# No attempt for so long, or for three times the longest pause so far, and nobody waits for another.
QUIET = 60 * 60
MOVES = 5
RULES = {"AutomaticallyAfterDays": 30}


def make(run, what, **tags):
    """A secret of this run; answers its name."""
    name = run.secret(what)
    listed = run.tag_list() + [{"Key": key, "Value": value} for key, value in tags.items()]
    value = json.dumps({"live-probe": uuid.uuid4().hex})
    run.where.client("secretsmanager").create_secret(Name=name, SecretString=value, Tags=listed)
    run.note_made("secret", name)
    return name


def rotate(run, name, rules=RULES, **more):
    """Begins a rotation with the probe's function."""
    arguments = {"SecretId": name, "ClientRequestToken": str(uuid.uuid4()), "RotationLambdaARN": run.function}
    if rules:
        arguments["RotationRules"] = rules
    for tries in range(6):
        try:
            run.where.client("secretsmanager").rotate_secret(**arguments, **more)
            return
        except ClientError as error:
            # The function's policy may not be in force yet.
            if code_of(error) != "AccessDeniedException" or not run.where.is_aws or tries == 5:
                raise
            time.sleep(5)


def look(run, name):
    """What DescribeSecret tells, and the journal in it."""
    described = run.where.client("secretsmanager").describe_secret(SecretId=name)
    return described, rotation_function.entries(described)


def preflight(run):
    """The test of a configuration, then a rotation from end to end."""
    name = make(run, "preflight")
    begun, longest = time.monotonic(), run.at_most(300)
    rotate(run, name, RotateImmediately=False)
    while True:
        described, journal = look(run, name)
        over = {words[1] for _, words in journal}.isdisjoint(described.get("VersionIdsToStages", {}))
        if journal and over:
            break
        if time.monotonic() - begun > longest:
            if not journal:
                raise Elsewhere("the function keeps no journal: --rotation-function must be rotation_function.py")
            run.differs("preflight-value", f"{steps_of(journal)}; the version is still there after {seconds(longest)}")
            return
        yield EVERY
    held = {words[2] for _, words in journal}
    as_assumed = steps_of(journal) == "testSecret" and held <= {"current", "ResourceNotFoundException"}
    text = f"{' and '.join(sorted(told(word) for word in held))}; {steps_of(journal)} alone; gone afterwards"
    run.settles(as_assumed, "preflight-value", text, held=sorted(held))

    name = make(run, "rotation")
    begun = time.monotonic()
    rotate(run, name)
    while True:
        _, journal = look(run, name)
        created = [words for _, words in journal if words[0] == "createSecret"]
        if created:
            break
        if time.monotonic() - begun > longest:
            run.open("placeholder", f"createSecret was not called within {seconds(longest)}")
            return
        yield EVERY
    held = created[0][2]
    run.settles(held == "ResourceNotFoundException", "placeholder", told(held), held=held)


def steps_of(journal):
    return " ".join(dict.fromkeys(words[0] for _, words in journal)) or "nothing was called"


def told(word):
    """What a version holds, for people."""
    words = {"current": "the current value", "other": "another value", "ResourceNotFoundException": "none"}
    return words.get(word, word)


def retries(run):
    """A rotation that fails in its second step, every time."""
    name = make(run, "retries", **{rotation_function.FAIL: "setSecret"})
    rotate(run, name)
    begun = time.time()
    while True:
        _, journal = look(run, name)
        failed = [(at, words) for at, words in journal if words[0] == "setSecret"]
        if failed:
            tell_attempts(run, journal, failed)
        now = time.time()
        gaps = [later - earlier for (earlier, _), (later, _) in zip(failed, failed[1:])]
        last = failed[-1][0] if failed else begun
        quiet = now - last > max(QUIET, 3 * max(gaps, default=0))
        full = len(journal) >= rotation_function.MOST_ENTRIES
        if run.seconds_left() <= 0 or quiet or full:
            if len(failed) < 2:
                run.open("retry-token", f"no retry within {seconds(now - last)}")
            return
        yield 5


def tell_attempts(run, journal, failed):
    """Both rows about retries, as far as they are known."""
    tokens = {words[1] for _, words in failed}
    first = failed[0][0]
    after = ", ".join(seconds(at - first) for at, _ in failed[1:])
    text = f"{len(failed)} attempts" + (f", retried after {after}" if after else " so far, no retry")
    whole = sum(words[0] == "createSecret" for _, words in journal) >= len(failed)
    if len(failed) == 1:
        run.open("retry-count", text)
        return
    text += "; the whole rotation each time" if whole else "; only from the step that failed"
    run.holds("retry-count", text, attempts=len(failed), after=[round(at - first, 1) for at, _ in failed[1:]])
    same = len(tokens) == 1
    run.holds("retry-token", "the same" if same else f"{len(tokens)} tokens in {len(failed)} attempts", same=same)


def without_rules(run):
    """Rotation with a function and no schedule."""
    name = make(run, "no-rules")
    try:
        rotate(run, name, rules=None, RotateImmediately=False)
    except ClientError as error:
        if code_of(error) not in ("InvalidParameterException", "InvalidRequestException", "ValidationException"):
            raise
        run.differs("rotation-without-rules", f"no: {code_of(error)}: {message_of(error)}")
        return
    yield EVERY
    rules = look(run, name)[0].get("RotationRules")
    text = f"yes, and DescribeSecret tells {json.dumps(rules) if rules else 'no rules'} afterwards"
    run.holds("rotation-without-rules", text, rules=rules)


def labels(run):
    """Moves AWSCURRENT while another version holds AWSPENDING."""
    manager, name = run.where.client("secretsmanager"), make(run, "labels")
    versions = {}
    for label in ("AWSPENDING", "live-probe"):
        value = json.dumps({"live-probe": uuid.uuid4().hex})
        put = manager.put_secret_value(SecretId=name, SecretString=value, VersionStages=[label])
        versions[label] = put["VersionId"]
        yield 1
    manager.update_secret_version_stage(
        SecretId=name,
        VersionStage="AWSCURRENT",
        MoveToVersionId=versions["live-probe"],
        RemoveFromVersionId=current(manager, name),
    )
    yield EVERY
    stages = manager.describe_secret(SecretId=name)["VersionIdsToStages"].get(versions["AWSPENDING"], [])
    stays = "AWSPENDING" in stages
    run.holds("pending-label", "it stays where it was" if stays else "it is taken off", stays=stays)


def label_events(run):
    """A rule for the event, a queue behind it, and a label that moves several times."""
    events, queues = run.where.client("events"), run.where.client("sqs")
    manager, name = run.where.client("secretsmanager"), run.secret("events")
    rule = run.named("label-events")
    pattern = {
        "source": ["aws.secretsmanager"],
        "detail-type": ["Secret Label Updated"],
        "detail": {"name": [name]},
    }
    arn = events.put_rule(Name=rule, EventPattern=json.dumps(pattern), Tags=run.tag_list())["RuleArn"]
    run.note_made("EventBridge rule", rule)
    queue = queues.create_queue(QueueName=rule, tags=run.tags())["QueueUrl"]
    run.note_made("SQS queue", rule)
    yield 1
    queue_arn = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": arn}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    queues.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    events.put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": queue_arn}])
    # A rule takes a while to be in force.
    yield 90
    make(run, "events")
    moved, arrived = {}, {}
    for _ in range(MOVES):
        value = json.dumps({"live-probe": uuid.uuid4().hex})
        moved[manager.put_secret_value(SecretId=name, SecretString=value)["VersionId"]] = time.monotonic()
        yield 2
    end = time.monotonic() + run.at_most(600)
    while time.monotonic() < end:
        for message in queues.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            version = json.loads(message["Body"])["detail"].get("versionId")
            arrived.setdefault(version, []).append(time.monotonic())
            queues.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        # Doubled ones come a little later.
        if all(version in arrived for version in moved) and time.monotonic() - max(moved.values()) > 120:
            break
        yield EVERY
    delays = [arrived[version][0] - at for version, at in moved.items() if version in arrived]
    if not delays:
        run.open("label-event", f"{len(moved)} moves, and no event in time")
        return
    lost = len(moved) - len(delays)
    doubled = sum(len(arrived.get(version, [])) > 1 for version in moved)
    text = f"{len(moved)} moves: {lost} lost, {doubled} doubled; after {seconds(min(delays))} to {seconds(max(delays))}"
    run.holds("label-event", text, lost=lost, doubled=doubled, seconds=round(max(delays), 1))


def replica(run):
    """A new value, seen from another Region."""
    region = run.options.replica_region
    if not region:
        raise Elsewhere("no other Region: name one with --replica-region")
    manager, far = run.where.client("secretsmanager"), run.where.client("secretsmanager", region)
    name = make(run, "replica")
    manager.replicate_secret_to_regions(SecretId=name, AddReplicaRegions=[{"Region": region}])
    run.note_made("replica", f"{name} in {region}")
    while status_of(manager, name) != "InSync":
        if run.seconds_left() <= 0:
            run.open("replica-lag", f"the replica is {status_of(manager, name)} all the time")
            return
        yield EVERY
    lags, early = [], 0
    for _ in range(3):
        version = manager.put_secret_value(SecretId=name, SecretString=json.dumps({"live-probe": uuid.uuid4().hex}))[
            "VersionId"
        ]
        since = time.monotonic()
        while current(far, name) != version:
            early += status_of(manager, name) == "InSync"
            if run.seconds_left() <= 0:
                run.open("replica-lag", f"the old value is there {seconds(time.monotonic() - since)} after the new one")
                return
            yield 0.5
        lags.append(time.monotonic() - since)
        yield 5
    text = f"the new value after {seconds(min(lags))} to {seconds(max(lags))}; told InSync meanwhile: "
    text += f"{early} times" if early else "never"
    run.settles(early == 0, "replica-lag", text, seconds=round(max(lags), 1), inSyncTooEarly=early)


def status_of(manager, name):
    told = manager.describe_secret(SecretId=name).get("ReplicationStatus", [])
    return told[0]["Status"] if told else "none"


def current(manager, name):
    try:
        return manager.get_secret_value(SecretId=name)["VersionId"]
    except ClientError as error:
        return code_of(error)


PREFLIGHT = Experiment("preflight", ("preflight-value", "placeholder"), ("function",), preflight)
RETRIES = Experiment("retries", ("retry-token", "retry-count"), ("function",), retries)
WITHOUT_RULES = Experiment("no-rules", ("rotation-without-rules",), ("function",), without_rules)
LABELS = Experiment("labels", ("pending-label",), (), labels)
LABEL_EVENTS = Experiment("label-events", ("label-event",), (), label_events)
REPLICA = Experiment("replica", ("replica-lag",), (), replica)
