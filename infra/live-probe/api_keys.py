"""API keys: how long a stage takes to know what became of one, and what the control plane answers."""

import dataclasses
import time

from botocore.exceptions import ClientError

from place import Elsewhere, code_of
from session import Experiment, seconds

# Between two requests of one measurement.
EVERY = 0.5
# A change that a stage has not heard of by then is told as such.
LONGEST = 30 * 60
# So often does the service ask a stage before a new key counts as proved.
PROOF = 3


@dataclasses.dataclass
class Change:
    """What a stage answered after a change, by seconds since then."""

    first_new: float = None
    last_old: float = 0.0
    asked: int = 0
    odd: int = 0
    # The longest run of new answers that an old one followed.
    relapse: int = 0
    run: int = 0

    def add(self, at, is_new):
        self.asked += 1
        if is_new is None:
            self.odd += 1
        elif is_new:
            self.first_new = at if self.first_new is None else self.first_new
            self.run += 1
        else:
            self.last_old = at
            self.relapse = max(self.relapse, self.run)
            self.run = 0


def create(run, what, plan=None, **more):
    """A key of this run: `(id, value)`. In that plan, if one is named."""
    api = run.where.client("apigateway")
    value = run.new_value()
    arguments = {"name": run.named(what), "value": value, "enabled": True, "tags": run.tags()} | more
    made = api.create_api_key(**arguments)
    run.note_made("API key", f"{run.named(what)} ({made['id']})")
    if plan:
        attach(run, made["id"], plan)
    return made["id"], value


def attach(run, key, plan):
    run.where.client("apigateway").create_usage_plan_key(usagePlanId=plan, keyId=key, keyType="API_KEY")


def url(run):
    stage = run.stage
    return run.where.url(stage.api, stage.stage, stage.path)


def until_accepted(run, where, value, longest=LONGEST):
    """Waits until a stage takes that key; answers how many requests got through (one)."""
    end = time.monotonic() + run.at_most(longest)
    while time.monotonic() < end:
        if run.where.ask(where, value).accepted:
            return 1
        yield 2
    raise Elsewhere("no stage took the key in time: see key-new")


def follow(run, value, accepted, since):
    """Asks until the new answer has stood for `--calm` seconds."""
    change = Change()
    longest = run.at_most(LONGEST)
    while True:
        at = time.monotonic() - since
        answer = run.where.ask(url(run), value).accepted
        change.add(at, None if answer is None else answer == accepted)
        settled = change.first_new is not None and at - max(change.first_new, change.last_old) >= run.options.calm
        if settled or at > longest:
            return change
        yield EVERY


def delays(run):
    """Each change of a key in its turn, several rounds of them."""
    api = run.where.client("apigateway")
    seen = {name: [] for name in ("key-new", "key-attached", "key-disabled", "key-enabled", "key-deleted")}

    def measure(name, value, accepted):
        change = yield from follow(run, value, accepted, time.monotonic())
        seen[name].append(change)
        tell_delay(run, name, seen[name], accepted)
        tell_relapses(run, seen)

    for number in range(1, run.options.rounds + 1):
        older, older_value = create(run, f"delays-{number}a")
        key, value = create(run, f"delays-{number}b", run.stage.plan)
        yield from measure("key-new", value, True)
        if run.where.ask(url(run), older_value).accepted:
            raise Elsewhere("the stage takes a key that is in none of its plans: it does not ask for keys")
        attach(run, older, run.stage.plan)
        yield from measure("key-attached", older_value, True)
        enable(api, key, False)
        yield from measure("key-disabled", value, False)
        tell_refusals(run, value)
        enable(api, key, True)
        yield from measure("key-enabled", value, True)
        api.delete_api_key(apiKey=older)
        yield from measure("key-deleted", older_value, False)
        api.delete_api_key(apiKey=key)


def enable(api, key, enabled):
    patch = {"op": "replace", "path": "/enabled", "value": str(enabled).lower()}
    api.update_api_key(apiKey=key, patchOperations=[patch])


def tell_delay(run, name, changes, accepted):
    """The row of one kind of change, over all rounds so far."""
    word = "accepted" if accepted else "refused"
    firsts = [change.first_new for change in changes if change.first_new is not None]
    if not firsts:
        run.open(name, f"not {word} within {seconds(max(change.last_old for change in changes))}")
        return
    last = max(change.last_old for change in changes)
    span = seconds(firsts[0]) if len(firsts) == 1 else f"{seconds(min(firsts))} to {seconds(max(firsts))}"
    other = "refused" if accepted else "accepted"
    text = f"first {word} after {span} ({len(firsts)} of {len(changes)} times)"
    if last > min(firsts):
        text += f", {other} for the last time after {seconds(last)}"
    worst = max(max(firsts), last)
    run.holds(name, text, seconds=round(worst, 1), rounds=len(changes), odd=sum(change.odd for change in changes))


def tell_relapses(run, seen):
    """How long a run of new answers an old one still followed."""
    proofs = [change for name in ("key-new", "key-attached", "key-enabled") for change in seen[name]]
    ends = [change for name in ("key-disabled", "key-deleted") for change in seen[name]]
    asked = sum(change.asked for change in proofs + ends)
    proof = max((change.relapse for change in proofs), default=0)
    end = max((change.relapse for change in ends), default=0)
    text = f"of {asked} requests: at most {proof} got through before another was refused"
    text += f"; at most {end} were refused before another got through"
    run.settles(proof < PROOF and end == 0, "several-requests", text, acceptedBefore=proof, refusedBefore=end)


def tell_refusals(run, disabled):
    """How three kinds of keys are refused."""
    where = url(run)
    answers = {
        "made up": run.where.ask(where, run.new_value()),
        "missing": run.where.ask(where),
        "disabled": run.where.ask(where, disabled),
    }
    as_assumed = all(answer.status == 403 and answer.error_type == "ForbiddenException" for answer in answers.values())
    told = {str(answer) for answer in answers.values()}
    each = "; ".join(f"{kind}: {answer}" for kind, answer in answers.items())
    run.settles(as_assumed, "refusal", f"all three: {told.pop()}" if len(told) == 1 else each)


def answers(run):
    """What the control plane answers to a value twice, to parts of a name, to an import."""
    api = run.where.client("apigateway")
    key, value = create(run, "rules", customerId="live-probe", description="first")
    plan = run.stage.plan if run.stage else None
    if plan:
        attach(run, key, plan)
    try:
        second = api.create_api_key(name=run.named("duplicate"), value=value, enabled=False)
        text = "a second key" if second["id"] != key else "the first key, as if it were new"
        run.differs("duplicate-value", f"201: {text}")
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        as_assumed = status == 409 and code_of(error) == "ConflictException"
        run.settles(as_assumed, "duplicate-value", f"{status} {code_of(error)}, no second key")
    yield from match_names(run, api, key)
    yield 0
    import_again(run, api, key, value, plan)
    yield 0
    # What CloudTrail keeps of reading values is looked for later.
    api.get_api_key(apiKey=key, includeValue=True)
    api.get_api_keys(nameQuery=run.prefix, includeValues=True)


def match_names(run, api, key):
    """By which parts of its name a key is found."""
    name = run.named("rules")
    for _ in range(60):
        if found(api, name, key):
            break
        yield 1
    else:
        run.differs("name-query", "the key was not found by its whole name within a minute")
        return
    tries = {
        "its beginning": name[:-3],
        "its middle": name[5:-3],
        "its end": name[5:],
        "its beginning in capitals": name[:-3].upper(),
    }
    hits = [what for what, query in tries.items() if found(api, query, key)]
    misses = [what for what in tries if what not in hits]
    text = f"a key is found by {', '.join(hits) or 'its whole name alone'}"
    text += f"; not by {', '.join(misses)}" if misses else ""
    run.settles("its beginning" in hits, "name-query", text, found=hits)


def found(api, query, key):
    pages = api.get_paginator("get_api_keys").paginate(nameQuery=query, PaginationConfig={"PageSize": 500})
    return any(item["id"] == key for page in pages for item in page["items"])


def import_again(run, api, key, value, plan):
    """The same value under another name, disabled, in no plan."""
    name = run.named("imported")
    rows = f"Name,Key,Description,Enabled\n{name},{value},second,FALSE\n"
    done = api.import_api_keys(body=rows.encode(), format="csv", failOnWarnings=False)
    if done.get("warnings"):
        run.open("import-overwrites", f"{len(done['warnings'])} warnings, keys made or changed: {len(done['ids'])}")
        return
    same = done["ids"] == [key]
    now = api.get_api_key(apiKey=done["ids"][0])
    kept, lost = [], []
    for member, stays in {
        "id": same,
        "name": now.get("name") != name,
        "description": now.get("description") == "first",
        "enabled": now.get("enabled") is not False,
        "customer id": now.get("customerId") == "live-probe",
        "tags": now.get("tags") == run.tags(),
    }.items():
        (kept if stays else lost).append(member)
    if plan:
        plans = [item["id"] for item in api.get_usage_plans(keyId=done["ids"][0])["items"]]
        (kept if plan in plans else lost).append("plans")
    text = f"stays: {', '.join(kept)}; overwritten or lost: {', '.join(lost)}"
    assumed = {"id", "customer id", "tags", "plans"} if plan else {"id", "customer id", "tags"}
    run.settles(set(kept) == assumed, "import-overwrites", text, kept=kept)


DELAYS = Experiment(
    "delays",
    (
        "key-new",
        "key-attached",
        "key-disabled",
        "key-enabled",
        "key-deleted",
        "several-requests",
        "refusal",
    ),
    ("stage",),
    delays,
)
ANSWERS = Experiment("answers", ("duplicate-value", "name-query", "import-overwrites"), (), answers)
