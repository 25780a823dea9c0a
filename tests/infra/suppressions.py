"""checkov over the templates, and over its suppressions: each stands at its resource, says why, and is still needed.

checkov takes every parameter's default and looks away from what is not made then, so it is given the templates as they
are in several situations, in which everything is made at least once."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import templates
from templates import INFRA, REPO, name_of, read

# Fewer are no reason.
WORDS = 4


def check():
    """Yields what was found, a line each; raises AssertionError with sentences."""
    # Not under target/: checkov takes a template's own path for a variable of its functions, and a path of an unlucky
    # length for a secret.
    with tempfile.TemporaryDirectory(prefix="checkov-") as folder:
        yield from check_in(Path(folder))


def check_in(folder):
    nothing_is_skipped_for_all()
    skips = explained()
    report = run(folder, "cloudformation", "--directory", settled(folder / "as-deployed"))
    used = {
        (name_in(skipped), skipped["resource"].rpartition(".")[2], skipped["check_id"])
        for skipped in report["results"]["skipped_checks"]
    }
    idle = [" ".join(skip) for skip in sorted(skips - used)]
    assert not idle, "suppressions that suppress nothing: " + ", ".join(idle)
    yield said("CloudFormation", report, skips)
    terraform = INFRA / "examples" / "terraform"
    skips = explained_in_terraform(terraform)
    report = run(folder, "terraform", "--directory", terraform)
    used = {(name_in(skipped), skipped["check_id"]) for skipped in report["results"]["skipped_checks"]}
    idle = [" ".join(skip) for skip in sorted(skips - used)]
    assert not idle, "suppressions that suppress nothing: " + ", ".join(idle)
    yield said("Terraform", report, skips)


def said(language, report, skips):
    passed = report["summary"]["passed"]
    return f"{language}: {passed} checks passed, {len(skips)} suppressed, each with its reason at its resource"


def explained_in_terraform(folder):
    """Terraform has no place for them but comments."""
    found = set()
    for path in sorted(folder.glob("*.tf")):
        for check, reason in re.findall(r"checkov:skip=([A-Z0-9_]+):?(.*)", path.read_text()):
            assert len(reason.split()) >= WORDS, f"{path.name}: {check}: {reason!r} is no reason"
            found.add((path.name, check))
    return found


def run(folder, framework, *words):
    program = Path(sys.executable).with_name("checkov")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LOG_LEVEL": "ERROR"}
    done = subprocess.run(
        [program, "--framework", framework, "--output", "json", "--skip-download", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout, f"checkov says nothing: {done.stderr}"
    report = json.loads(done.stdout)
    assert not isinstance(report, list) and report.get("results"), f"checkov looked at nothing: {done.stdout[:500]}"
    failed = {
        f"{name_in(one)}: {one['resource']}: {one['check_id']} {one['check_name']}"
        for one in report["results"]["failed_checks"]
    }
    assert not failed, "\n".join(sorted(failed))
    assert not report["results"]["parsing_errors"], report["results"]["parsing_errors"]
    return report


def settled(folder):
    for path in templates.all_of_them():
        template = read(path)
        for at, truths in enumerate(templates.situations(template, together=1)):
            document = folder / f"{name_of(path)}.{at}.json"
            document.parent.mkdir(parents=True, exist_ok=True)
            document.write_text(json.dumps(templates.settle(template, truths)))
    return folder


def name_in(finding):
    """The template's name, from the name of one of its situations."""
    return re.sub(r"\.[0-9]+\.json$", "", finding["file_path"].lstrip("/"))


def nothing_is_skipped_for_all():
    for name in (
        ".checkov.yaml",
        ".checkov.yml",
        ".checkov.baseline",
        ".cfnlintrc",
        ".cfnlintrc.yaml",
        ".cfnlintrc.yml",
    ):
        for found in (REPO / name, INFRA / name, Path(__file__).parent / name):
            assert not found.exists(), f"{found.relative_to(REPO)} would suppress for all"
    for path in templates.all_of_them():
        template = read(path)
        metadata = template.get("Metadata", {})
        for tool in ("checkov", "cfn-lint", "guard", "cfn_nag"):
            assert tool not in metadata, f"{name_of(path)} suppresses checks of {tool} for the whole template"
        for name, resource in template["Resources"].items():
            # The linter is to have no exceptions at all.
            assert "cfn-lint" not in resource.get("Metadata", {}), f"{name_of(path)}: {name} suppresses the linter"


def explained():
    """All suppressions, as file, resource, check."""
    found, defects = set(), []
    for path in templates.all_of_them():
        for name, resource in read(path)["Resources"].items():
            for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", []):
                where = f"{name_of(path)}: {name}: {skip.get('id')}"
                if set(skip) != {"id", "comment"} or not re.fullmatch(r"CKV2?_[A-Z]+_[0-9]+", skip["id"]):
                    defects.append(f"{where} is no suppression")
                elif len(str(skip["comment"]).split()) < WORDS:
                    defects.append(f"{where}: {skip['comment']!r} is no reason")
                else:
                    found.add((name_of(path), name, skip["id"]))
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if "checkov:skip" in line:
                defects.append(f"{name_of(path)}:{number} suppresses in a comment; write it into Metadata")
    assert not defects, "\n".join(defects)
    return found
