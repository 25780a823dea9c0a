"""What a run has to say: the table, the settings to paste, and both as JSON."""

import json
import math
import shutil
import textwrap

import facts
from session import seconds

# What the stack gives the function `rotation`, and what it must have left after a key was proved.
ROTATION_TIMEOUT = 300
MARGIN = 60


def document(run, removal):
    """Everything, as JSON: a schema number, the run, the rows, the settings, what was made and what is left."""
    rows = [
        {
            "fact": fact.name,
            "question": fact.question,
            "documented": fact.documented,
            "source": fact.source,
            "assumed": fact.assumed,
            "seen": run.rows[fact.name].seen,
            "verdict": run.rows[fact.name].verdict,
            "figures": run.rows[fact.name].figures,
        }
        for fact in facts.FACTS
    ]
    return {
        "schema": 1,
        "run": run.id,
        "account": run.where.account,
        "region": run.where.region,
        "endpoint": run.where.endpoint_url,
        "isAws": run.where.is_aws,
        "begun": run.begun_at.isoformat(timespec="seconds"),
        "rows": rows,
        "settings": settings(run)[0],
        "advice": settings(run)[1],
        "made": run.made,
        "removed": removal.removed,
        "left": removal.left,
    }


def page(run, removal):
    """The same for people."""
    verdicts = [row.verdict for row in run.rows.values()]
    counted = ", ".join(f"{verdicts.count(word)} {word}" for word in ("holds", "differs", "open", "not here"))
    return "\n".join([table(run), "", counted, "", block(run), "", removal.tell()])


def table(run):
    """Documented, assumed, seen, as wide as the terminal."""
    width = max(100, shutil.get_terminal_size((140, 24)).columns)
    first = max(len(name) for name in facts.NAMES)
    rest = width - first - 3 * 2
    widths = [first, rest * 28 // 100, rest * 32 // 100, rest * 40 // 100]
    lines = cells(["FACT", "DOCUMENTED", "ASSUMED", "SEEN"], widths)
    for fact in facts.FACTS:
        row = run.rows[fact.name]
        lines += ["", *cells([fact.name, fact.documented, fact.assumed, f"{row.verdict}: {row.seen}"], widths)]
    return "\n".join(lines)


def cells(texts, widths):
    columns = [textwrap.wrap(text, width) or [""] for text, width in zip(texts, widths)]
    height = max(len(column) for column in columns)
    padded = [column + [""] * (height - len(column)) for column in columns]
    return ["  ".join(part.ljust(width) for part, width in zip(line, widths)).rstrip() for line in zip(*padded)]


def block(run):
    """Lines for a shell, and advice as comments."""
    variables, advice = settings(run)
    lines = [f"# seen by live probe {run.id}, {run.begun_at:%d %b %Y}, {run.where.name()}"]
    if not run.where.is_aws:
        lines.append("# This is not Amazon's own AWS: these are its figures, for trying. Deploy nothing with them.")
    lines += [f"export {name}='{value}'" for name, value in variables.items()]
    for line in advice:
        lines += textwrap.wrap(line, 116, initial_indent="# ", subsequent_indent="#   ")
    return "\n".join(lines)


def settings(run):
    """What follows from the figures: variables, and advice on what is no variable."""
    variables, advice = {}, []
    usage, last_use = figure(run, "usage-lag", "seconds"), figure(run, "kms-last-use", "seconds")
    if usage is not None and last_use is not None:
        variables["ROTATOR_USAGE_LAG"] = duration(2 * max(usage, last_use))
        advice.append(f"ROTATOR_USAGE_LAG: twice the longest delay seen, {seconds(max(usage, last_use))}.")
    elif usage is not None:
        variables["ROTATOR_USAGE_LAG"] = duration(max(3600, 2 * usage))
        advice.append(
            f"ROTATOR_USAGE_LAG: at least an hour, as documented of GetKeyLastUsage, which told nothing in time. "
            f"Without KMS signing keys {duration(2 * usage)} would do: GetUsage took {seconds(usage)}."
        )
    else:
        advice.append("ROTATOR_USAGE_LAG: no delay of GetUsage was seen, so leave it as it is.")
    advice += waits(run) + choices(run)
    return variables, advice


def waits(run):
    """Advice from how long things take."""
    advice = []
    known = [figure(run, name, "seconds") for name in ("key-new", "key-attached", "key-enabled")]
    slowest = max((value for value in known if value is not None), default=None)
    if slowest is not None:
        needed = math.ceil((slowest * 2 + MARGIN) / 60) * 60
        if needed > ROTATION_TIMEOUT:
            advice.append(f"The function rotation: a timeout of {min(needed, 900)} s. A key took {seconds(slowest)}.")
        else:
            advice.append(f"The function rotation: its {ROTATION_TIMEOUT} s do. A key took {seconds(slowest)} at most.")
    refusal = figure(run, "key-disabled", "seconds")
    if refusal is not None:
        advice.append(
            f"rotator:brownouts: each lasts longer by the time that a refusal takes, {seconds(refusal)} here. "
            + ("A first one of PT1M is felt." if refusal <= 300 else "Declare longer ones than that.")
        )
    slack = max((figure(run, name, "seconds") or 0 for name in ("kms-disabled", "kms-policy")), default=0)
    if slack:
        word = "PT15M do" if slack <= 450 else f"{duration(2 * slack)}, at least"
        advice.append(f"rotator:slack: {word}. KMS took {seconds(slack)}.")
    withdrawn = figure(run, "jwt-cache-control", "seconds")
    if withdrawn is not None:
        word = "PT2H do" if withdrawn <= 7200 else f"{duration(withdrawn)}, at least"
        advice.append(f"rotator:verifier-cache: {word}. The authorizer took a withdrawn key for {seconds(withdrawn)}.")
    return advice


def choices(run):
    """Advice from what is so or not."""
    advice = []
    told = figure(run, "usage-without-quota", "told")
    if told is not None:
        advice.append(
            "rotator:no-evidence: plans without a quota tell their usage, so it seldom matters."
            if told
            else "rotator:no-evidence: choose it for keys whose plans have no quota: nothing is told of their use."
        )
    there = figure(run, "kms-ed25519", "there")
    if there is not None:
        advice.append(f"rotator:algorithm: EdDSA {'can' if there else 'can NOT'} be had in KMS in this Region.")
    clear = figure(run, "trail-values", "inClear")
    if clear is not None:
        advice.append(
            f"CloudTrail: values are in clear in {', '.join(clear)}; whoever reads the trail can use every key."
            if clear
            else "CloudTrail: no value was found in the events that were there."
        )
    for name in facts.NAMES:
        if run.rows[name].verdict == "differs":
            advice.append(f"LOOK AT {name}: it is not as the service assumes.")
    return advice


def figure(run, name, key):
    """A figure of a row that was settled."""
    row = run.rows[name]
    return row.figures.get(key) if row.verdict in ("holds", "differs") else None


def duration(value):
    """ISO 8601, rounded up to five minutes."""
    minutes = max(5, math.ceil(value / 300) * 5)
    hours, minutes = divmod(minutes, 60)
    return "PT" + (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "")


def printed(run, removal, output):
    """As `--output` wants it. No value is in it."""
    text = json.dumps(document(run, removal), indent=2) if output == "json" else page(run, removal)
    return run.harmless(text)
