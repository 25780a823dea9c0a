"""What others are told: CloudTrail of values, an access log of keys that are refused."""

import base64
import json
import time

import resources
from api_keys import create, enable, follow, until_accepted, url
from place import AGENT, Elsewhere
from session import Experiment, seconds

# No event of a call that was not seen before for so long, and nobody waits for another.
QUIET = 30 * 60
# Calls that carry a value in their request or their answer, and that this run makes.
CALLS = ("CreateApiKey", "GetApiKey", "GetApiKeys", "ImportApiKeys", "CreateUsagePlanKey")
LOG_FORMAT = {
    "apiKeyId": "$context.identity.apiKeyId",
    "ip": "$context.identity.sourceIp",
    "userAgent": "$context.identity.userAgent",
    "httpMethod": "$context.httpMethod",
    "path": "$context.path",
    "status": "$context.status",
}


def values(run):
    """Looks for the values of this run's keys in the events of its own calls."""
    trail = run.where.client("cloudtrail")
    seen, news = {}, time.monotonic()
    while True:
        for event in own_events(run, trail):
            text, call = event["CloudTrailEvent"], event["EventName"]
            kept = run.is_hidden_in(text) or run.is_hidden_in(decoded(text))
            if call not in seen:
                news = time.monotonic()
            seen[call] = seen.get(call, False) or kept
        if seen:
            tell_values(run, seen)
        if all(call in seen for call in CALLS) or (seen and time.monotonic() - news > QUIET):
            return
        if run.seconds_left() <= 0:
            if "CreateApiKey" not in seen:
                run.open("trail-values", "none of the run's own events was found in time")
            return
        # Two look-ups a second are allowed, shared with everybody in the account.
        yield 60


def own_events(run, trail):
    """This run's calls of API Gateway's control plane, as CloudTrail's event history has them."""
    pages = trail.get_paginator("lookup_events").paginate(
        LookupAttributes=[{"AttributeKey": "EventSource", "AttributeValue": "apigateway.amazonaws.com"}],
        StartTime=run.begun_at,
        PaginationConfig={"MaxItems": 500},
    )
    for page in pages:
        for event in page["Events"]:
            agent = json.loads(event["CloudTrailEvent"]).get("userAgent") or ""
            if event["EventName"] in CALLS and AGENT in agent:
                yield event


def decoded(text):
    """The body of an import is a blob: it may be kept in Base64."""
    found = []
    for word in text.replace('"', " ").replace("\\", " ").split():
        if len(word) > 60:
            try:
                found.append(base64.b64decode(word, validate=True).decode(errors="replace"))
            except ValueError:
                continue
    return "\n".join(found)


def tell_values(run, seen):
    kept = sorted(call for call, value in seen.items() if value)
    not_kept = sorted(call for call, value in seen.items() if not value)
    missing = [call for call in CALLS if call not in seen]
    parts = []
    if kept:
        parts.append(f"in clear in {', '.join(kept)}")
    if not_kept:
        parts.append(f"not in {', '.join(not_kept)}")
    if missing:
        parts.append(f"no event yet of {', '.join(missing)}")
    run.holds("trail-values", "; ".join(parts), inClear=kept, notIn=not_kept)


def access_log(run):
    """Requests with an enabled, a disabled and a made-up key, and what the stage's access log makes of them."""
    if not run.stage.made:
        raise Elsewhere("the stage is not this run's own: its access log is left alone")
    api, logs = run.where.client("apigateway"), run.where.client("logs")
    if not api.get_account().get("cloudwatchRoleArn"):
        if not run.options.account_log_role:
            raise Elsewhere("the account lets API Gateway write no logs; --account-log-role does for the time of a run")
        yield from resources.set_account_log_role(run)
    group = run.named("access")
    logs.create_log_group(logGroupName=group, tags=run.tags())
    run.note_made("log group", group)
    logs.put_retention_policy(logGroupName=group, retentionInDays=1)
    arn = f"arn:{run.where.partition}:logs:{run.where.region}:{run.where.account}:log-group:{group}"
    settings = {"destinationArn": arn, "format": json.dumps(LOG_FORMAT)}
    patch = [{"op": "replace", "path": f"/accessLogSettings/{key}", "value": value} for key, value in settings.items()]
    api.update_stage(restApiId=run.stage.api, stageName=run.stage.stage, patchOperations=patch)

    key, value = create(run, "logged", run.stage.plan)
    yield from until_accepted(run, url(run), value)
    off, off_value = create(run, "logged-off", run.stage.plan)
    yield from until_accepted(run, url(run), off_value)
    enable(api, off, False)
    yield from follow(run, off_value, False, time.monotonic())
    since = time.monotonic()
    while True:
        for agent, used in (("enabled", value), ("disabled", off_value), ("made-up", run.new_value())):
            run.where.ask(url(run), used, agent=run.named(agent))
        yield 30
        found = logged(run, logs, group)
        if {"enabled", "disabled", "made-up"} <= found.keys():
            break
        if time.monotonic() - since > 900 or run.seconds_left() <= 0:
            waited = seconds(time.monotonic() - since)
            run.open("log-disabled", f"in the log after {waited}: {', '.join(found) or 'nothing'}")
            return
    words = {agent: told(entry["apiKeyId"], {"enabled": key, "disabled": off}) for agent, entry in found.items()}
    text = "; ".join(f"{agent}: {words[agent]}" for agent in ("enabled", "disabled", "made-up"))
    run.settles(
        words["enabled"] == "the id of the enabled key", "log-disabled", text, **{"disabled": words["disabled"]}
    )


def logged(run, logs, group):
    """The newest entry of each kind of key."""
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
    entries = [json.loads(event["message"]) for page in pages for event in page["events"]]
    agents = {agent: run.named(agent) for agent in ("enabled", "disabled", "made-up")}
    return {agent: entry for agent, name in agents.items() for entry in entries if entry.get("userAgent") == name}


def told(key_id, ids):
    for what, known in ids.items():
        if key_id == known:
            return f"the id of the {what} key"
    return "nothing ('-')" if key_id == "-" else "something else"


VALUES = Experiment("trail", ("trail-values",), ("aws",), values)
ACCESS_LOG = Experiment("access-log", ("log-disabled",), ("stage", "aws"), access_log)
