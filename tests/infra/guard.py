"""cfn-guard with the project's own rules (infra/rules): each rule is proved by its tests, then the templates are held
to all of them, in enough of the situations that their conditions allow.
"""

import json
import re
import subprocess

import templates
from templates import INFRA

RULES = INFRA / "rules"
# What a team's own stack may decide otherwise than the service's does.
FOR_THE_SERVICE_ALONE = {"encryption.guard", "network.guard", "edge.guard", "pipeline.guard"}

# Rules for what no template has yet.
NOT_YET = {"secrets_policies_refuse_plain_http"}


def check(program, folder):
    """Yields what was found, a line each; raises AssertionError with sentences."""
    rules = names_of_rules()
    yield f"{len(rules)} rules, proved by {prove(program, rules)} tests"
    passed, documents = set(), 0
    for files, paths in (
        (sorted(RULES.glob("*.guard")), templates.service()),
        (
            [file for file in sorted(RULES.glob("*.guard")) if file.name not in FOR_THE_SERVICE_ALONE],
            templates.examples(),
        ),
    ):
        found, number = validate(program, files, paths, folder)
        passed |= found
        documents += number
    idle = rules - passed - NOT_YET
    assert not idle, f"no template has anything that these rules look at: {', '.join(sorted(idle))}"
    assert not NOT_YET & passed, (
        f"NOT_YET, in tests/infra/guard.py, is out of date: {', '.join(sorted(NOT_YET & passed))}"
    )
    yield f"{documents} situations of {len(templates.all_of_them())} templates hold to all that concern them"


def names_of_rules():
    names = set()
    for file in RULES.glob("*.guard"):
        # A rule with arguments is a part of others.
        names |= set(re.findall(r"^rule (\w+)(?= *(?:when[^{]*)?\{)", file.read_text(), re.MULTILINE))
    return names


def prove(program, rules):
    done = run(program, "test", "--dir", RULES, "--output-format", "json")
    tests, let_through, stopped = 0, set(), set()
    for file in json.loads(done.stdout):
        assert "error" not in file, f"{file['rule_file']}: {file.get('error')}"
        for case in file["test_cases"]:
            tests += 1
            for failed in case["failed_rules"]:
                answers = f"{failed['name']} answers {failed['evaluated'][0]}, not {failed['expected']}"
                raise AssertionError(f"{file['rule_file']}: {case['name']}: {answers}")
            for rule in case["passed_rules"]:
                {"PASS": let_through, "FAIL": stopped}.get(rule["evaluated"], set()).add(rule["name"])
    assert done.returncode == 0, done.stderr
    unproved = sorted((rules - let_through) | (rules - stopped))
    assert not unproved, f"in infra/rules/tests nothing passes, or nothing fails: {', '.join(unproved)}"
    return tests


def validate(program, files, paths, folder):
    """The rules that passed on any of the templates, and in how many situations they were looked at."""
    folder = folder / paths[0].parent.name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    for path in paths:
        template = templates.translate(templates.read(path))
        for at, truths in enumerate(templates.situations(template)):
            (folder / f"{path.stem}.{at}.json").write_text(json.dumps(templates.settle(template, truths)))
    words = [word for file in files for word in ("--rules", file)]
    done = run(
        program,
        "validate",
        *words,
        "--data",
        folder,
        "--output-format",
        "json",
        "--structured",
        "--show-summary",
        "none",
    )
    assert done.stdout, done.stderr
    passed, broken = set(), {}
    reports = json.loads(done.stdout)
    for report in reports:
        passed |= set(report["compliant"])
        name = report["name"].rsplit("/")[-1].split(".")[0]
        for rule in report["not_compliant"]:
            broken.setdefault(f"{name}.yaml: {rule['Rule']['name']}", set()).update(reasons(rule))
    sentences = [f"{where}: {reason}" for where, found in sorted(broken.items()) for reason in sorted(found)]
    assert not sentences, "\n".join(sentences)
    return passed, len({report["name"] for report in reports})


def reasons(found):
    """The sentences of what a rule is not content with, and where it stands."""
    if isinstance(found, list):
        return {reason for each in found for reason in reasons(each)}
    if not isinstance(found, dict):
        return set()
    said = {reason for each in found.values() for reason in reasons(each)}
    messages = found.get("messages") or {}
    if messages.get("error_message"):
        where = re.search(r"Path=(/[^\[]*)", messages["error_message"])
        said.add(f"{messages.get('custom_message') or messages['error_message']} ({where[1] if where else 'nowhere'})")
    return said


def run(program, *words):
    return subprocess.run([program, *words], capture_output=True, text=True, timeout=300)
