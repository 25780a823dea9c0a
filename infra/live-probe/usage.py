"""Usage and quotas: what GetUsage tells, of whom, how late, and what UpdateUsage changes."""

import datetime
import time

from botocore.exceptions import ClientError

from api_keys import create, until_accepted, url
from place import message_of
from session import Experiment, seconds

BURSTS = 3
BURST = 5
# What is left to the key whose quota is changed.
LEFT = 7
# How many requests more than that are sent, and how long that may take.
MOST = 60
RANGES = (31, 92, 183, 366, 730)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def usage(run):
    """From the first request of a key to its last figure."""
    stage = run.stage
    key, value = create(run, "used", stage.plan)
    unused, unused_value = create(run, "unused", stage.plan)
    free, free_count = None, 0
    if stage.free_plan:
        free, free_value = create(run, "free", stage.free_plan)
        free_url = run.where.url(stage.api, stage.free_stage, stage.path)
        free_count = (yield from until_accepted(run, free_url, free_value)) + send(run, free_url, free_value)
    else:
        run.elsewhere("usage-without-quota", "no plan without a quota: name one with --plan-without-quota")
    count = yield from until_accepted(run, url(run), value)

    lags = []
    for _ in range(BURSTS):
        count += send(run, url(run), value)
        sent = time.monotonic()
        while (told := used(run, stage.plan, key)) < count:
            waited = time.monotonic() - sent
            if run.seconds_left() <= 0:
                run.open("usage-lag", f"{told} of {count} requests told {seconds(waited)} after the last one")
                return
            yield 5 if waited < 120 else 20
        lags.append(time.monotonic() - sent)
        span = " ".join(seconds(lag) for lag in lags)
        run.holds("usage-lag", f"all {count} requests told after {span}", seconds=round(max(lags), 1), requests=told)
        yield 7
    tell_names(run, stage.plan, key, value)
    tell_unused(run, stage.plan, unused, unused_value)
    if free:
        yield from watch_free(run, free, free_count, max(lags))
    yield from until_accepted(run, url(run), unused_value)
    yield from carry(run, unused, unused_value)


def send(run, where, value):
    """A burst of requests; answers how many got through."""
    return sum(bool(run.where.ask(where, value).accepted) for _ in range(BURST))


def figures(run, plan, key=None, since=None):
    """What GetUsage tells since then: by whatever it calls a key."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    arguments = {"usagePlanId": plan, "startDate": str(since or run.begun_at.date()), "endDate": str(today)}
    if key:
        arguments["keyId"] = key
    pages = run.where.client("apigateway").get_paginator("get_usage").paginate(**arguments)
    return {name: days for page in pages for name, days in page.get("items", {}).items()}


def used(run, plan, key):
    """How many requests are told of that key."""
    return sum(day[0] for days in figures(run, plan, key).values() for day in days)


def tell_names(run, plan, key, value):
    names = set(figures(run, plan))
    kinds = [kind for kind, name in (("id", key), ("value", value)) if name in names]
    if kinds:
        run.holds("usage-names", f"by {' and '.join(kinds)}", by=kinds)
    else:
        alone = figures(run, plan, key)
        run.differs("usage-names", f"by neither: {len(alone)} entries when asked for the key, under another name")


def tell_unused(run, plan, key, value):
    def of(items):
        if not items:
            return "absent"
        return "zeros" if all(day[0] == 0 for days in items.values() for day in days) else "figures"

    among = of({name: days for name, days in figures(run, plan).items() if name in (key, value)})
    alone = of(figures(run, plan, key))
    text = f"{among} in the plan's figures, {alone} when asked for it"
    run.settles("figures" not in (among, alone), "usage-unused", text, among=among, alone=alone)


def watch_free(run, key, count, lag):
    """Whether anything is told of a plan without a quota, for three times as long as the other plan took."""
    since, enough = time.monotonic(), max(300.0 if run.where.is_aws else 5.0, 3 * lag)
    while True:
        told = used(run, run.stage.free_plan, key)
        waited = time.monotonic() - since
        if told:
            text = f"{told} of {count} requests told"
            run.holds("usage-without-quota", text, told=True)
            return
        if waited > enough or run.seconds_left() <= 0:
            text = f"nothing within {seconds(waited)}, where a plan with a quota told all after {seconds(lag)}"
            run.holds("usage-without-quota", text, told=False)
            return
        yield 15


def carry(run, key, value):
    """Sets what is left of a key's quota, reads it again, and uses it up."""
    api, plan = run.where.client("apigateway"), run.stage.plan
    patch = [{"op": "replace", "path": "/remaining", "value": str(LEFT)}]
    api.update_usage(usagePlanId=plan, keyId=key, patchOperations=patch)
    since = time.monotonic()
    while True:
        shown = [days[-1][1] for days in figures(run, plan, key).values() if days]
        waited = time.monotonic() - since
        if shown == [LEFT]:
            break
        if waited > 600 or run.seconds_left() <= 0:
            run.differs("usage-carried", f"{LEFT} were set, {shown or 'nothing'} is shown after {seconds(waited)}")
            return
        yield 5
    text = f"{LEFT} set, {LEFT} shown after {seconds(waited)}"
    got, refused = 0, None
    for _ in range(MOST):
        answer = run.where.ask(url(run), value)
        if answer.status == 429:
            refused = answer
            break
        got += bool(answer.accepted)
        yield 1
    if refused is None:
        run.differs("usage-carried", f"{text}; {got} requests got through within {MOST} s, none was refused")
        return
    # Best effort, as documented: what counts is that what is set is what is shown.
    run.holds("usage-carried", f"{text}; {got} requests got through, then {refused}", gotThrough=got, left=LEFT)


def memory(run):
    """How far back figures may be asked for; and, of a plan that has a history, what they say."""
    plan = run.options.plan_with_history or run.stage.plan
    today = datetime.datetime.now(datetime.timezone.utc).date()
    answered, refusal, longest = 0, "", {}
    for days in RANGES:
        try:
            longest = figures(run, plan, since=today - datetime.timedelta(days=days - 1))
            answered = days
        except ClientError as error:
            refusal = f"; {days} days are refused: {message_of(error)}"
            break
        yield 1
    text = f"{answered} days may be asked for{refusal}"
    if not run.options.plan_with_history:
        run.open("usage-memory", f"{text}; how far back it tells needs --plan-with-history")
        run.elsewhere("weekly-reset", "takes weeks: name a plan with a weekly quota in use with --plan-with-history")
        return
    ages = [len(days) - 1 - at for days in longest.values() for at, day in enumerate(days) if day[0]]
    oldest = f"the oldest figure is {max(ages)} days old" if ages else "and none of them has a figure"
    run.holds("usage-memory", f"{text}; {oldest}", days=answered, oldest=max(ages, default=None))
    tell_weekday(run, plan, longest, today)


def tell_weekday(run, plan, items, today):
    """On which day more is left than the day before."""
    quota = run.where.client("apigateway").get_usage_plan(usagePlanId=plan).get("quota", {})
    if quota.get("period") != "WEEK":
        run.elsewhere("weekly-reset", f"the quota of {plan} is not a weekly one")
        return
    days = set()
    for figures_of_key in items.values():
        first = today - datetime.timedelta(days=len(figures_of_key) - 1)
        for at in range(1, len(figures_of_key)):
            if figures_of_key[at][1] > figures_of_key[at - 1][1]:
                days.add(WEEKDAYS[(first + datetime.timedelta(days=at)).weekday()])
    if not days:
        run.open("weekly-reset", "in no week was any of the quota used and given back")
        return
    run.settles(days <= {"Sunday", "Monday"}, "weekly-reset", " and ".join(sorted(days)), days=sorted(days))


USAGE = Experiment(
    "usage",
    ("usage-names", "usage-lag", "usage-unused", "usage-without-quota", "usage-carried"),
    ("stage",),
    usage,
)
MEMORY = Experiment("memory", ("usage-memory", "weekly-reset"), ("stage",), memory)
