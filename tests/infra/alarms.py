"""Holds the alarms to what is really there: metrics that the code emits or that AWS documents, headings of the runbook,
the topic. And the events' rules to events: the documented ones, and those that the history's samples become.

Prints a sentence for each defect and exits with 1 if there is any. Needs no AWS and no network.
"""

import argparse
import json
import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True

from templates import INFRA, PSEUDO, REPO, read, settle, situations

# What AWS counts, with the dimensions that it is looked up by, and where that stands.
LAMBDA = "https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html"
EVENTS = "https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html"
PIPES = "https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-monitoring.html"
SCHEDULER = "https://docs.aws.amazon.com/scheduler/latest/UserGuide/monitoring-cloudwatch.html"
SQS = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html"
SNS = "https://docs.aws.amazon.com/sns/latest/dg/sns-monitoring-using-cloudwatch.html"
API = "https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html"
OF_AWS = {
    ("AWS/Lambda", "Invocations"): ({"FunctionName"}, LAMBDA),
    ("AWS/Lambda", "Errors"): ({"FunctionName"}, LAMBDA),
    ("AWS/Lambda", "Throttles"): ({"FunctionName"}, LAMBDA),
    ("AWS/Lambda", "Duration"): ({"FunctionName"}, LAMBDA),
    ("AWS/Events", "FailedInvocations"): ({"RuleName"}, EVENTS),
    ("AWS/EventBridge/Pipes", "ExecutionFailed"): ({"PipeName"}, PIPES),
    ("AWS/Scheduler", "InvocationAttemptCount"): ({"ScheduleGroup"}, SCHEDULER),
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): ({"QueueName"}, SQS),
    ("AWS/SNS", "NumberOfNotificationsFailed"): ({"TopicName"}, SNS),
    ("AWS/ApiGateway", "Count"): ({"ApiName"}, API),
    ("AWS/ApiGateway", "4XXError"): ({"ApiName"}, API),
    ("AWS/ApiGateway", "5XXError"): ({"ApiName"}, API),
    ("AWS/ApiGateway", "Latency"): ({"ApiName"}, API),
}
PARTS = ("**What you see.**", "**What to check.**", "**What to do.**", "**How to undo.**")
OUR_LOGS = ("RotationLogs", "RetirementLogs")

defects = []


def defect(sentence):
    if sentence not in defects:
        defects.append(sentence)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--template", type=Path, default=INFRA / "monitoring.yaml")
    arguments.add_argument("--runbook", type=Path, action="append", help="pages in place of runbook.md")
    arguments = arguments.parse_args()

    template = read(arguments.template)
    runbook = "\n".join(page.read_text() for page in arguments.runbook or [REPO / "runbook.md"])
    code = Code()

    # Each combination of what is there and what is not: an alarm may exist in one of them only.
    for truths in situations(template):
        deployed = Deployed(settle(template, truths))
        check_alarms(deployed, code, logged_metrics(deployed, code))
        check_dashboard(deployed, code, logged_metrics(deployed, code))
    check_runbook(template, runbook)
    check_rules(template)
    check_schedules()

    for sentence in defects:
        print(sentence)
    alarms = [resource for resource in template["Resources"].values() if resource["Type"] == ALARM]
    print(f"{len(alarms)} alarms, {len(code.emitted)} metrics of the code's own, {len(defects)} defects")
    return 1 if defects or not alarms else 0


ALARM = "AWS::CloudWatch::Alarm"


# ---- what the code emits ----


class Code:
    """The metrics of the Rust sources: name to labels, and to the functions that can count it."""

    def __init__(self):
        sources = {path: tell_only_code(path.read_text()) for path in sorted((REPO / "rotator/src").glob("**/*.rs"))}
        self.text = "\n".join(sources.values())
        log = r"\b(?:trace|debug|info|warn|error|info_span)!\(((?:[^()]|\([^()]*\))*)\)"
        field = r"\b(\w+)\s*(?:=|,|$)"
        self.logged = {name for call in re.findall(log, self.text) for name in re.findall(field, call)}
        telemetry = sources[REPO / "rotator/src/functions/telemetry.rs"]
        self.namespace = one(r'\.cloudwatch_namespace\("([^"]+)"\)', telemetry)
        # Its value is the function's name, as `serve` is given it.
        self.dimension = one(r'\.with_dimension\("([^"]+)", function\)', telemetry)
        self.functions = set(re.findall(r'\bserve\("([^"]+)"', self.text))
        self.emitted = {}
        for path, text in sources.items():
            own = path.stem if path.parent.name == "functions" else None
            for _, inside in re.findall(r"\b(counter|gauge|histogram)!\(((?:[^()]|\([^()]*\))*)\)", text):
                name = one(r'^\s*"([^"]+)"', inside)
                labels = set(re.findall(r'"([^"]+)"\s*=>', inside))
                functions = {own} if own in self.functions else self.functions
                known_labels, known_functions = self.emitted.setdefault(name, (labels, set()))
                if known_labels != labels:
                    defect(f"The code emits {name} with other labels in {path.relative_to(REPO)} than elsewhere.")
                known_functions.update(functions)


def tell_only_code(text):
    """Without comments and without the tests, which stand last."""
    return re.sub(r"^\s*//.*$", "", text.split("#[cfg(test)]")[0], flags=re.MULTILINE)


def one(pattern, text):
    found = re.search(pattern, text)
    if not found:
        raise SystemExit(f"{pattern} is not found: has the code changed its way of telling?")
    return found[1]


# ---- the template as it is deployed ----


class Deployed:
    """A settled template: Ref, Sub and the like give a text, a stand-in where only AWS knows it."""

    def __init__(self, template):
        self.parameters = template.get("Parameters", {})
        self.resources = {name: self.text(resource) for name, resource in template["Resources"].items()}

    def of_type(self, kind):
        return {name: found["Properties"] for name, found in self.resources.items() if found["Type"] == kind}

    def text(self, value):
        if isinstance(value, list):
            return [self.text(part) for part in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (function, argument), = value.items()
            match function:
                case "Ref":
                    return PSEUDO.get(argument, f"<{argument}>")
                case "Fn::GetAtt":
                    return f"<{'.'.join(argument)}>"
                case "Fn::Join":
                    return argument[0].join(self.text(argument[1]))
                case "Fn::Sub":
                    template, names = argument if isinstance(argument, list) else (argument, {})
                    names = {name: self.text(part) for name, part in names.items()}
                    names = {**PSEUDO, **names}
                    return re.sub(r"\$\{([^}!]+)\}", lambda found: names.get(found[1], f"<{found[1]}>"), template)
        return {key: self.text(part) for key, part in value.items()}


def logged_metrics(deployed, code):
    """What is counted from logs: namespace and name. What it looks for in ours must be what we write."""
    counted = set()
    for name, properties in deployed.of_type("AWS::Logs::MetricFilter").items():
        if properties["LogGroupName"] in [f"<{group}>" for group in OUR_LOGS]:
            for field, words in re.findall(r'\$\.(\w+) = "\*?([^"*]+)\*?"', properties["FilterPattern"]):
                if field not in code.logged or f'"{words}"' not in code.text:
                    defect(f'{name} counts lines whose {field} has "{words}", and the code writes none.')
        for transformation in properties["MetricTransformations"]:
            if transformation["MetricNamespace"] == code.namespace:
                defect(f"{name} counts into {code.namespace}, the namespace of the code's own metrics.")
            counted.add((transformation["MetricNamespace"], transformation["MetricName"]))
    return counted


# ---- alarms ----


def check_alarms(deployed, code, logged):
    for name, alarm in deployed.of_type(ALARM).items():
        if alarm.get("AlarmActions") != ["<Topic>"] or alarm.get("ActionsEnabled") is False:
            defect(f"The alarm {name} does not notify the topic, or not it alone.")
        if "TreatMissingData" not in alarm:
            defect(f"The alarm {name} does not say what missing data means (TreatMissingData).")
        metrics = list(metrics_of(alarm, name, code))
        if not metrics:
            defect(f"The alarm {name} watches no metric.")
        for metric in metrics:
            check_metric(f"The alarm {name}", *metric, code, logged)


def metrics_of(alarm, name, code):
    """Namespace, metric and dimensions."""
    if "MetricName" in alarm:
        yield alarm["Namespace"], alarm["MetricName"], named(alarm.get("Dimensions", []))
    queries = {query["Id"]: query for query in alarm.get("Metrics", [])}
    for id_, query in queries.items():
        if "MetricStat" in query:
            metric = query["MetricStat"]["Metric"]
            yield metric["Namespace"], metric["MetricName"], named(metric.get("Dimensions", []))
        elif query["Expression"].startswith("SELECT"):
            yield from selected(query["Expression"], name, code)
        else:
            for used in re.findall(r"\b[a-z]\w*\b", query["Expression"]):
                if used not in queries:
                    defect(f"The alarm {name} reckons with {used}, which none of its metrics is called.")
    returned = [id_ for id_, query in queries.items() if query.get("ReturnData", True)]
    if queries and len(returned) != 1:
        defect(f"The alarm {name} returns {len(returned)} figures, and an alarm compares one.")


def selected(expression, name, code):
    """A Metrics Insights query, whose schema is all dimensions of a metric."""
    form = r'SELECT (?:SUM|MAX|MIN|AVG)\((\w+)\) FROM SCHEMA\("(\w+)", ([^)]*)\)(?: WHERE (.*))?'
    query = re.fullmatch(form, expression)
    if not query:
        defect(f"The alarm {name} asks in a way that is not understood here: {expression}")
        return
    metric, namespace, schema, where = query.groups()
    dimensions = dict.fromkeys(part.strip('" ') for part in schema.split(","))
    for dimension, operator, value in re.findall(r"\"(\w+)\" (=|!=) '([^']*)'", where or ""):
        if dimension not in dimensions:
            defect(f"The alarm {name} asks for {dimension}, which is not in its schema.")
        elif operator == "=":
            dimensions[dimension] = value
        # What is left out must exist, or nothing is left out.
        elif f'"{value}"' not in code.text:
            defect(f"The alarm {name} leaves out {dimension} {value}, which the code never says.")
    yield namespace, metric, dimensions


def check_metric(who, namespace, metric, dimensions, code, logged):
    if namespace == code.namespace:
        if metric not in code.emitted:
            defect(f"{who} watches {metric}, which the code does not emit.")
            return
        labels, functions = code.emitted[metric]
        if set(dimensions) != labels | {code.dimension}:
            there = ", ".join(sorted(labels | {code.dimension}))
            defect(f"{who} looks up {metric} by {', '.join(sorted(dimensions)) or 'nothing'}; it has {there}.")
        function = dimensions.get(code.dimension)
        if function is not None and function not in functions:
            defect(f"{who} watches {metric} of the function {function}, which never counts it.")
    elif (namespace, metric) in OF_AWS:
        known, source = OF_AWS[namespace, metric]
        if set(dimensions) != known:
            defect(f"{who} looks up {namespace} {metric} by {', '.join(sorted(dimensions)) or 'nothing'}: see {source}")
    elif (namespace, metric) in logged:
        if dimensions:
            defect(f"{who} looks up {metric} by {', '.join(sorted(dimensions))}; counted from logs, it has no dimensions.")
    else:
        defect(f"{who} watches {namespace} {metric}: not the code's, not counted from logs, not in the table of AWS's.")


def named(dimensions):
    return {dimension["Name"]: dimension["Value"] for dimension in dimensions}


# ---- the dashboard ----


def check_dashboard(deployed, code, logged):
    alarms = {f"<{name}.Arn>" for name in deployed.of_type(ALARM)}
    for name, properties in deployed.of_type("AWS::CloudWatch::Dashboard").items():
        try:
            widgets = json.loads(properties["DashboardBody"])["widgets"]
        except ValueError as error:
            defect(f"The dashboard {name} is not JSON: {error}.")
            continue
        shown = {arn for widget in widgets if widget["type"] == "alarm" for arn in widget["properties"]["alarms"]}
        for arn in sorted(alarms - shown):
            defect(f"The dashboard {name} does not show the alarm {arn}.")
        for arn in sorted(shown - alarms):
            defect(f"The dashboard {name} shows {arn}, which is no alarm when it is deployed so.")
        for widget in widgets:
            who = f"The dashboard's widget {widget['properties'].get('title', 'of text')}"
            for line in widget["properties"].get("metrics", []):
                check_metric(who, *drawn(line, who), code, logged)
            if widget["type"] == "log":
                for field in re.findall(r"\b[a-z_]+\b", one(r"\| fields (.*?) \|", widget["properties"]["query"])):
                    if field not in ("timestamp", "message") and field not in code.logged:
                        defect(f"{who} shows {field}, which no line of the log has.")


def drawn(line, who):
    if isinstance(line[0], dict):
        schema, metric = re.search(r"SEARCH\('\{([^}]*)\} MetricName=\"(\w+)\"'", line[0]["expression"]).groups()
        namespace, *dimensions = schema.split(",")
        return namespace, metric, dict.fromkeys(dimensions)
    namespace, metric, *dimensions = [part for part in line if isinstance(part, str)]
    return namespace, metric, dict(zip(dimensions[::2], dimensions[1::2]))


# ---- the runbook ----


def check_runbook(template, runbook):
    headings = {anchor(line) for line in runbook.splitlines() if line.startswith("#")}
    for name in sorted(set(re.findall(r"runbook\.md#([\w-]+)", json.dumps(template)))):
        if name not in headings:
            defect(f"The template sends people to runbook.md#{name}, and the runbook has no such heading.")

    alarms = {name: resource for name, resource in template["Resources"].items() if resource["Type"] == ALARM}
    _, _, section = runbook.partition("<!-- alarms:start -->")
    section, _, _ = section.partition("<!-- alarms:end -->")
    told = dict(part.split("\n", 1) for part in section.split("\n### ")[1:])
    for name in sorted(told.keys() - alarms.keys()):
        defect(f"The runbook tells of an alarm {name}, and there is none.")
    for name, alarm in alarms.items():
        description = alarm["Properties"].get("AlarmDescription", "")
        if f"{name} in the runbook, runbook.md#{name.lower()}" not in description:
            defect(f"The alarm {name} does not end with: See {name} in the runbook, runbook.md#{name.lower()}")
        if name not in told:
            defect(f"The runbook has no heading {name} under The alarms.")
        for part in PARTS:
            if name in told and part not in told[name]:
                defect(f"The runbook's {name} lacks {part}")


def anchor(heading):
    """A heading's address within its page."""
    words = heading.lstrip("#").strip().lower()
    return "".join("-" if c == " " else c for c in words if c.isalnum() or c in " -_")


# ---- events ----


def check_rules(template):
    """The rules' patterns, against events as AWS documents them and as the pipe makes them of the history's samples."""
    for prefixed in (False, True):
        patterns = {}
        # What invokes a function stands beside the function.
        for one in (read(INFRA / "functions.yaml"), template):
            truths = {name: name == "HasPrefix" and prefixed for name in one["Conditions"]}
            deployed = Deployed(settle(one, truths))
            rules = deployed.of_type("AWS::Events::Rule").items()
            # As if the parameter were this.
            told = json.dumps({name: rule["EventPattern"] for name, rule in rules}).replace("<SecretPrefix>", "partner/")
            patterns |= json.loads(told)

        def expect(rule, event, wanted, what):
            if matches(patterns[rule], event) != wanted:
                when = " when SecretPrefix is given" if prefixed else ""
                defect(f"The rule {rule} {'misses' if wanted else 'matches'} {what}{when}.")

        expect("LabelMoved", label_updated("partner/acme"), True, "a label that moved")
        expect("LabelMoved", label_updated("other/one"), not prefixed, "a label of a secret outside the prefix")
        expect("LabelMoved", label_updated("rotator-standby/1"), False, "a label of a standby's secret")
        for name in ("RotationFailed", "RotationAbandoned"):
            expect("RotationEnded", service_event(name, "partner/acme"), True, name)
        expect("RotationEnded", service_event("RotationSucceeded", "partner/acme"), False, "RotationSucceeded")
        outside = service_event("RotationFailed", "other/one")
        expect("RotationEnded", outside, not prefixed, "a rotation of a secret outside the prefix")
        expect("ScheduleTakenAway", api_call("CancelRotateSecret", "partner/acme"), True, "CancelRotateSecret")
        expect("ScheduleTakenAway", api_call("PutSecretValue", "partner/acme"), False, "PutSecretValue")

        pipe = deployed.of_type("AWS::Pipes::Pipe")["Told"]
        for doc in samples():
            event = piped(pipe, record(doc))
            if event is None:
                defect(f"The pipe does not tell the event {doc['seq']} of the samples.")
                continue
            if "arn:aws:iam" in json.dumps(event) or "was told twice" in json.dumps(event):
                defect("The pipe tells an event's note, which names a person.")
            for rule, what in (("Held", "held"), ("Ordered", "ordered")):
                expect(rule, event, doc["what"] == what, f"the event {doc['what']}")
        for event_name, sk in (("INSERT", "HEAD"), ("INSERT", "VER#000001"), ("MODIFY", None), ("REMOVE", None)):
            if piped(pipe, record(doc, event_name, sk)) is not None:
                defect(f"The pipe tells what is no new event: {event_name} of {sk or 'an event'}.")

    moved = (REPO / "rotator/src/functions/retirement.rs").read_text()
    for word in ("Secret Label Updated", "/detail/name"):
        if f'"{word}"' not in moved:
            defect(f"Retirement does not look at {word}, which the rule LabelMoved sends it.")


def label_updated(name):
    """Secrets Manager User Guide, Secret Label Updated event."""
    detail = {"name": name, "labelUpdated": "AWSCURRENT", "versionId": "a1b2c3d4-5678-90ab-cdef-EXAMPLE11111"}
    return {"source": "aws.secretsmanager", "detail-type": "Secret Label Updated", "detail": detail}


def service_event(name, secret):
    """Secrets Manager User Guide, CloudTrail entries; EventBridge User Guide, AWS service events via CloudTrail."""
    detail = {
        "eventSource": "secretsmanager.amazonaws.com",
        "eventName": name,
        "eventType": "AwsServiceEvent",
        "requestParameters": None,
        "additionalEventData": {"SecretId": arn(secret)},
    }
    return {"source": "aws.secretsmanager", "detail-type": "AWS Service Event via CloudTrail", "detail": detail}


def api_call(name, secret):
    detail = {
        "eventSource": "secretsmanager.amazonaws.com",
        "eventName": name,
        "requestParameters": {"secretId": secret},
        "responseElements": {"arn": arn(secret)},
    }
    return {"source": "aws.secretsmanager", "detail-type": "AWS API Call via CloudTrail", "detail": detail}


def arn(secret):
    return f"arn:aws:secretsmanager:{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}:secret:{secret}-AbCdEf"


def samples():
    """Events as the history stores them, of the newest schema; and one whose text is made to look like another."""
    newest = max((REPO / "state/tests/samples").glob("v*/event.json"), key=lambda path: int(path.parent.name[1:]))
    docs = json.loads(newest.read_text())
    if not {"held", "ordered"} <= {doc["what"] for doc in docs}:
        defect(f"{newest.relative_to(REPO)} has no sample of held and of ordered to try the rules with.")
    forged = {"reason": "PlanMissing", "detail": 'there is no plan "what":"ordered"'}
    return docs + [{**docs[-1], "what": "held", "hold": forged}]


def record(doc, event_name="INSERT", sk=None):
    """A stream's record of an event's item, as rotator/src/aws/records.rs stores it; the note names a person."""
    item = {
        "pk": f"CRED#{doc['credential']}",
        "sk": sk or f"EVT#{doc['seq']:012}",
        "doc": json.dumps(doc, separators=(",", ":"), ensure_ascii=False),
        "day": f"DAY#{doc['at'][:10]}#0",
        "at": doc["at"],
        "note": '{"salt":"00","who":"arn:aws:iam::123456789012:user/ada","reason":"acme was told twice"}',
    }
    image = {name: {"S": value} for name, value in item.items()}
    keys = {name: image[name] for name in ("pk", "sk")}
    return {"eventName": event_name, "eventSource": "aws:dynamodb", "dynamodb": {"Keys": keys, "NewImage": image}}


def piped(pipe, source):
    """What the pipe makes of a record (EventBridge Pipes, Input transformation); None if its filter refuses it."""
    filters = [json.loads(given["Pattern"]) for given in pipe["SourceParameters"]["FilterCriteria"]["Filters"]]
    if not any(matches(pattern, source) for pattern in filters):
        return None

    def put_in(path):
        value = source
        for part in path[1].split("."):
            value = value[part]
        text = json.dumps(value, ensure_ascii=False)
        # A pipe adds quotes to a text and escapes nothing in it.
        if isinstance(value, str) and text != f'"{value}"':
            defect(f"The pipe puts $.{path[1]} into its template as a text, and what stands there would need escaping.")
        return text

    parameters = pipe["TargetParameters"]
    detail = json.loads(re.sub(r"<\$\.([\w.]+)>", put_in, parameters["InputTemplate"]))
    bus = parameters["EventBridgeEventBusParameters"]
    return {"source": bus["Source"], "detail-type": bus["DetailType"], "detail": detail}


def matches(pattern, event):
    """EventBridge User Guide, Comparison operators for use in event patterns: those that are used here."""
    if isinstance(pattern, dict):
        if not isinstance(event, dict):
            return False
        return all(key in event and matches(part, event[key]) for key, part in pattern.items())
    return any(fits(test, event) for test in pattern)


def fits(test, value):
    if not isinstance(test, dict):
        return test == value
    (operator, argument), = test.items()
    match operator:
        case "prefix":
            return isinstance(value, str) and value.startswith(argument)
        case "wildcard":
            parts = (re.escape(part) for part in argument.split("*"))
            return isinstance(value, str) and re.fullmatch(".*".join(parts), value, re.DOTALL) is not None
        case "anything-but":
            return not fits(argument, value)
    raise SystemExit(f"{operator} in an event pattern is not known here")


# ---- schedules ----


def check_schedules():
    """Somewhere in the stack, a schedule a minute and one a day, with inputs that retirement takes."""
    sent = []
    for path in sorted(INFRA.glob("*.yaml")):
        for name, resource in read(path).get("Resources", {}).items():
            if resource["Type"] == "AWS::Scheduler::Schedule":
                properties = resource["Properties"]
                sent.append((properties["ScheduleExpression"], json.loads(properties["Target"]["Input"])))
    tick = {"detail-type": "Scheduled Event"}
    comparison = {**tick, "detail": {"task": "reconcile"}}
    if [when for when, what in sent if what == tick] != ["rate(1 minute)"]:
        defect("Not one schedule sends retirement its tick, once a minute.")
    if not [when for when, what in sent if what == comparison and re.fullmatch(r"cron\(\d+ \d+ \* \* \? \*\)", when)]:
        defect("No schedule asks retirement for the comparison, once a day.")
    takes = (REPO / "rotator/src/functions/retirement.rs").read_text()
    if '"Scheduled Event"' not in takes or '"reconcile"' not in takes:
        defect("Retirement does not take what the schedules send.")


if __name__ == "__main__":
    sys.exit(main())
