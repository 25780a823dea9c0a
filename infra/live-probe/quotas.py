"""Quotas: when a period begins, and which day an offset moves it to."""

import datetime

from api_keys import create, until_accepted, url
from place import Elsewhere
from resources import make_plan
from session import Experiment

LIMIT = 5
# Quotas are best effort: so many requests at the most until one is refused.
MOST = 60
# Between two looks, and how many of them in a row must get through until a period counts as begun. Seconds.
EVERY, IN_A_ROW = 10, 3
# What it takes before midnight, and how long it looks afterwards. Seconds.
BEFORE, AFTER = 10 * 60, 15 * 60
# How far from midnight a period may begin, and still count as begun at midnight. Seconds.
EARLY, LATE = 60, 300
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


def now():
    """The time in UTC."""
    return datetime.datetime.now(datetime.timezone.utc)


def quotas(run):
    """Uses quotas up before midnight in UTC, and sees which of them begin anew."""
    midnight = next_midnight(run)
    weekday = (midnight.weekday() + 1) % 7
    # A week may begin on a Sunday or on a Monday, and the offset count from there.
    offsets = sorted({0, weekday, (weekday - 1) % 7})
    wanted = {"daily": {"limit": LIMIT, "period": "DAY"}}
    wanted |= {offset: {"limit": LIMIT, "period": "WEEK", "offset": offset} for offset in offsets}
    values = {}
    for what, quota in wanted.items():
        name = what if what == "daily" else f"weekly-{what}"
        opened = [{"apiId": run.stage.api, "stage": run.stage.stage}]
        _, values[what] = create(run, name, make_plan(run, name, apiStages=opened, quota=quota))
        yield 1
    for value in values.values():
        yield from until_accepted(run, url(run), value)
        yield from use_up(run, value)
    begun = yield from watch(run, values, midnight + datetime.timedelta(seconds=AFTER))
    tell(run, begun, midnight, offsets)


def next_midnight(run):
    """The next midnight in UTC, if this run is there before and after it."""
    at = now()
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0) + datetime.timedelta(days=1)
    if BEFORE <= (midnight - at).total_seconds() <= run.seconds_left() - AFTER:
        return midnight
    earliest = midnight - datetime.timedelta(seconds=run.options.wait * 60 - AFTER)
    latest = midnight - datetime.timedelta(seconds=BEFORE)
    if earliest >= latest:
        raise Elsewhere("needs a run over midnight in UTC: give it at least 30 minutes, with --wait")
    raise Elsewhere(f"needs a run over midnight in UTC: begin it from {earliest:%H:%M} to {latest:%H:%M} UTC")


def use_up(run, value):
    """Sends requests until one is refused for its quota."""
    for _ in range(MOST):
        if run.where.ask(url(run), value).status == 429:
            return
        yield 0.5
    raise Elsewhere(f"{MOST} requests got through with a quota of {LIMIT}")


def watch(run, values, until):
    """When requests got through again, for each quota of which that was seen."""
    first, in_a_row = {}, dict.fromkeys(values, 0)
    while now() < until and min(in_a_row.values()) < IN_A_ROW:
        for what, value in values.items():
            if in_a_row[what] >= IN_A_ROW:
                continue
            at = now()
            if not run.where.ask(url(run), value).accepted:
                in_a_row[what] = 0
                continue
            in_a_row[what] += 1
            if in_a_row[what] == 1:
                first[what] = at
        yield EVERY
    return {what: at for what, at in first.items() if in_a_row[what] >= IN_A_ROW}


def tell(run, begun, midnight, offsets):
    """Both rows."""
    day = WEEKDAYS[(midnight.weekday() + 1) % 7]
    if "daily" in begun:
        at = begun["daily"]
        as_assumed = -EARLY <= (at - midnight).total_seconds() <= LATE
        run.settles(as_assumed, "quota-begins", f"a daily one at {at:%H:%M:%S} UTC", at=f"{at:%H:%M:%S}")
    else:
        run.differs("quota-begins", f"a daily one not within {AFTER // 60} minutes of midnight in UTC")
    moved = [offset for offset in offsets if offset in begun]
    asked = ", ".join(str(offset) for offset in offsets)
    if moved:
        text = f"a week begins on a {day} with offset {' and '.join(map(str, moved))}, of {asked}"
        run.holds("quota-offset", text, day=day, offsets=moved)
    else:
        run.open("quota-offset", f"no week begins on a {day}, with none of the offsets {asked}")


QUOTAS = Experiment("quotas", ("quota-begins", "quota-offset"), ("stage",), quotas)
