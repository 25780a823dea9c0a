"""Holds the templates to what can be known of them without an AWS account: lint, SAM, rules, permissions, suppressions,
Terraform, parameters, pinned tools, alarms, and a deployment into an emulator.

Needs what is in requirements.txt. Installs the emulator, cfn-guard and a reference beside it, under target/infra, once.
Speaks with package registries and 127.0.0.1, and with nothing else.
"""

import argparse
import subprocess
import sys
import time
import traceback
from pathlib import Path

sys.dont_write_bytecode = True

import deployed
import guard
import laws
import parameters
import permissions
import pins
import suppressions
import templates
import terraform
import tools


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--only", metavar="WORD", action="append", help="only the checks that have this in their name"
    )
    arguments.add_argument(
        "--rotator", type=Path, help="the command line, built: `rotator doctor` looks at each deployment"
    )
    arguments = arguments.parse_args()

    checks = [
        ("cfn-lint", lint),
        ("SAM translation", translation),
        ("cfn-guard", lambda: guard.check(tools.cfn_guard(), tools.TARGET / "situations")),
        ("what cfn-guard can't say", laws.check),
        ("what roles and people may do", lambda: permissions.check(tools.service_reference())),
        ("checkov", suppressions.check),
        ("terraform", lambda: terraform.check(tools.TARGET / "terraform")),
        ("bad parameters", parameters.check),
        ("pins", pins.check),
        ("alarms", lambda: program("alarms.py")),
        ("deployment into an emulator", lambda: emulated(arguments.rotator)),
    ]
    wanted = [
        (name, check) for name, check in checks if not arguments.only or any(word in name for word in arguments.only)
    ]
    summary = [hold(name, check) for name, check in wanted]

    print()
    for held, seconds, name in summary:
        print(f"{seconds:6.1f} s  {name}{'' if held else ': FAILED'}")
    failed = sum(1 for held, _, _ in summary if not held)
    print(f"{len(summary) - failed} passed, {failed} failed")
    return 1 if failed or not summary else 0


def hold(name, check):
    """Runs one check, whatever becomes of it."""
    print(f"\n{name}", flush=True)
    begun, held = time.monotonic(), True
    try:
        for line in check():
            print(f"    {line}", flush=True)
    except (AssertionError, deployed.Failed) as broken:
        held = False
        print("\n".join(f"  ! {line}" for line in str(broken).splitlines()), flush=True)
    except Exception:
        held = False
        traceback.print_exc(file=sys.stdout)
    return held, time.monotonic() - begun, name


def lint():
    """No rule is left out, for no template and no resource (suppressions.py sees to the latter)."""
    paths = templates.all_of_them()
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), *paths],
        cwd=templates.REPO,
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = (done.stdout + done.stderr).strip()
    assert done.returncode == 0 and not said, said or f"cfn-lint ends with {done.returncode}"
    yield f"{len(paths)} templates, and nothing to say"


def translation():
    translated = 0
    for path in templates.all_of_them():
        template = templates.read(path)
        if not templates.is_sam(template):
            continue
        made = templates.translate(template)
        left = [
            name for name, resource in made["Resources"].items() if resource["Type"].startswith("AWS::Serverless::")
        ]
        assert not left, f"{path.name}: SAM leaves {left} as it is"
        translated += 1
        yield f"{path.name}: {len(template['Resources'])} resources become {len(made['Resources'])}"
    assert translated, "no template uses SAM"


def program(name):
    done = subprocess.run([sys.executable, Path(__file__).with_name(name)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr).strip()
    yield from done.stdout.splitlines()


def emulated(rotator):
    yield from deployed.check(tools.emulator(), tools.TARGET / "emulated", parameters.bad_for_the_parent(), rotator)


if __name__ == "__main__":
    sys.exit(main())
