#!/usr/bin/env python3
"""Runs the conformance suite against another AWS than the embedded one, and lists where the two differ.

    CONFORMANCE_ENDPOINT=https://localhost:9297 CONFORMANCE_CA_FILE=ca.pem tests/conformance/against.py [FILTER]

aws.rs beside this file tells the variables. Each test is one of: the same; different, with what it met; skipped, with what
it needs of the embedded AWS. Fails if one is different.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RESULT = re.compile(r"^test (\S+) \.\.\. (ok|FAILED|ignored)$", re.MULTILINE)
OUTPUT = re.compile(r"^---- (\S+) stdout ----\n(.*?)(?=^---- |^failures:$)", re.MULTILINE | re.DOTALL)


def reason(output: str) -> str:
    """What a test's panic said."""
    said = re.search(r"panicked at [^\n]*:\n(.*?)(?=\nnote: |\nstack backtrace:|\Z)", output, re.DOTALL)
    return " ".join((said.group(1) if said else output).split())


def main(filter: str = "") -> int:
    if not os.environ.get("CONFORMANCE_ENDPOINT"):
        print("Set CONFORMANCE_ENDPOINT to the URL of the AWS to ask.", file=sys.stderr)
        return 2
    # One test at a time: they use the same names.
    command = ["cargo", "test", "--quiet", "-p", "tests", "--test", "all", "--"]
    command += [f"conformance::{filter}", "--test-threads=1", "--format=pretty"]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    results = dict(RESULT.findall(run.stdout))
    outputs = {name: reason(output) for name, output in OUTPUT.findall(run.stdout)}
    if not results:
        print(f"No test ran: {' '.join(command)} ended with {run.returncode}.\n{run.stdout}", file=sys.stderr)
        return 2
    same, different, skipped = [], [], []
    for name, result in results.items():
        said = outputs.get(name, "")
        if result == "ok":
            same.append(name)
        elif said.startswith("SKIPPED"):
            skipped.append(f"{name}: {said.removeprefix('SKIPPED: ')}")
        else:
            different.append(f"{name}: {said}")
    for title, tests in [("Skipped", skipped), ("Different", different)]:
        print(f"{title}:", *(f"  {test}" for test in tests), sep="\n")
    print(f"{len(same)} the same, {len(different)} different, {len(skipped)} skipped")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
