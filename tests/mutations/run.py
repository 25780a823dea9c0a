"""Proves that the tests can fail: takes one safeguard at a time out of the product's code, and sees a test fail for it.

    python3 tests/mutations/run.py [NAME ...]

A test that passes whatever the code does shows nothing. Each patch beside this file removes one safeguard. The test
that the table names for it must fail then, and say what it is to say: that something else broke does not count. Without
a patch the same tests must pass, which is seen first.

Works on a copy of the tracked files, as they lie in the work tree, and leaves these alone. Copy and build stay under
target/mutations: the first run builds every dependency, later ones only what changed. Needs the toolchain and Git.
Progress goes to standard error, the result to standard output. Exits with 0 if every mutation was caught, with 1 if one
was not or could not be tried, and with 2 if there is none of that name.

To add one: a line in the table, and NAME.patch, made with `git diff`, with as little in it as removes the safeguard.
"""

import argparse
import contextlib
import dataclasses
import filecmp
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One safeguard less. The patch is NAME.patch."""

    name: str
    # What it takes away, and why that would harm.
    takes_away: str
    harm: str
    # The test that must fail, and what its output must contain then.
    test: str
    says: str
    # Which of its cases are enough.
    only: dict = dataclasses.field(default_factory=dict)


MUTATIONS = [
    Mutation(
        name="act-before-intent",
        takes_away="A key is suspended before the intent to suspend it is written.",
        harm="If the process dies in between, a key is refused and no record says that anybody meant it to be.",
        test="crash_matrix::crash_matrix",
        only={"CRASH_MATRIX": "apikey gate"},
        says="is refused, but nobody recorded that it would be",
    ),
    Mutation(
        name="key-made-twice",
        takes_away="A CreateKey without an answer is repeated at once. Nobody looks for the key that it may have left.",
        harm="The first key stays, can sign, and is in no record.",
        test="crash_matrix::crash_matrix",
        only={"CRASH_MATRIX": "kms standby"},
        says="is in no record and no open intent",
    ),
    Mutation(
        name="act-without-claim",
        takes_away="Whoever finds an intent whose time is over acts on it without claiming it first.",
        harm="A late process moves AWSCURRENT to a version that was given up and suspended meanwhile.",
        test="actors::two_actors",
        only={"TWO_ACTORS": "RepairAndRotation(Finish)"},
        says="generation 3 is suspended and holds AWSCURRENT",
    ),
    Mutation(
        name="label-not-compared",
        takes_away="AWSCURRENT is taken from whoever has it now, not from the holder that the records name.",
        harm="A rotation overrides what a person made current meanwhile, and the records never learn of that version.",
        test="stories::holds::label_moved_while_the_candidate_was_made",
        says="consumers read what somebody chose",
    ),
    Mutation(
        name="probe-not-awaited",
        takes_away="A new key counts as proved although the requests with it were refused.",
        harm="Consumers are given a key that the API does not know yet, and are turned away.",
        test="stories::rotation::nothing_is_promoted_before_the_stage_has_heard_of_the_key",
        # When it was admitted and when it was proved: at the same time.
        says="2026-03-02 10:30:",
    ),
    Mutation(
        name="suspended-blindly",
        takes_away="A suspended key that somebody enabled is suspended again. Nobody looks whether consumers read it.",
        harm="Whoever brought an old key back by hand, because the new one leaked, has it refused: an outage.",
        test="stories::reconcile::a_key_that_consumers_read_is_never_refused_by_a_cure",
        says='left: ["LabelMoved", "KeyEnabled"]',
    ),
]

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDER = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "mutations"
TREE = FOLDER / "tree"
CARGO = ["cargo", "test", "--locked", "-p", "tests", "--test", "all"]
# A sign of life at least so often, and no command for longer, in seconds.
BEAT = 8
LONGEST = 3600


class Failed(Exception):
    """It could not be tried, and why."""


def main():
    arguments = parse()
    wanted = [mutation for mutation in MUTATIONS if mutation.name in (arguments.names or names())]
    is_json = arguments.output == "json"
    if arguments.list:
        if is_json:
            print(json.dumps({"mutations": [described(mutation) for mutation in wanted]}, indent=2))
        else:
            print("\n\n".join(in_words(mutation) for mutation in wanted))
        return 0

    # So that what was begun is ended and put back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        copy()
        control(wanted)
    except Failed as failed:
        print(json.dumps({"control": str(failed), "mutations": []}, indent=2) if is_json else f"ERROR  {failed}")
        return 1
    results = [attempt(mutation) for mutation in wanted]

    caught = sum(1 for result in results if result["outcome"] == "caught")
    if is_json:
        print(json.dumps({"control": "passed", "mutations": results}, indent=2))
    else:
        for result in results:
            shown = "caught" if result["outcome"] == "caught" else result["outcome"].upper()
            print(f"{shown:<10}  {result['name']}: {result['said']}")
        print(f"{caught} of {len(results)} caught")
    return 0 if caught == len(results) else 1


def parse():
    first, *rest = __doc__.split("\n\n")
    parser = argparse.ArgumentParser(
        description=first, epilog="\n\n".join(rest[1:]), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="only these mutations; all without any")
    parser.add_argument("--list", action="store_true", help="say what there is, and do nothing")
    parser.add_argument("--output", choices=["text", "json"], default="text", help="the form of the result")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in names()]
    if unknown:
        parser.error(f"there is no mutation {', '.join(unknown)}: write one of {', '.join(names())}")
    return arguments


def copy():
    """Makes the copy what the work tree is. Whatever was left there by a run that was ended is gone."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    tracked = [pathlib.Path(os.fsdecode(name)) for name in listed.split(b"\0") if name]
    files = {path for path in tracked if (ROOT / path).is_file()}
    changed = 0
    for path in sorted(files):
        if not (TREE / path).is_file() or not filecmp.cmp(ROOT / path, TREE / path, shallow=False):
            (TREE / path).parent.mkdir(parents=True, exist_ok=True)
            # With a new date: Cargo builds again what is younger than its last build.
            shutil.copy(ROOT / path, TREE / path)
            changed += 1
    for path in [path for path in TREE.rglob("*") if path.is_file() and path.relative_to(TREE) not in files]:
        path.unlink()
        changed += 1
    say(f"{TREE}: {len(files)} files, {changed} of them changed since the last run")


def control(wanted):
    """Sees the same tests pass without a mutation. A test that is not found, or has no case, would pass, too."""
    build("control")
    done = []
    for mutation in wanted:
        if (mutation.test, mutation.only) in done:
            continue
        done.append((mutation.test, mutation.only))
        code, output, _ = test("control", mutation)
        if code != 0 or "\ntest result: ok. 1 passed" not in output or ": 0 of 0\n" in output:
            raise Failed(f"{in_shell(mutation)} does not pass without a mutation; see {log('control-test')}")


def attempt(mutation):
    """Tries one mutation, and puts back what it changed."""
    result = {**described(mutation), "outcome": "error", "seconds": None}
    try:
        with applied(mutation):
            build(mutation.name)
            code, output, seconds = test(mutation.name, mutation)
        result["seconds"] = round(seconds, 1)
        if code == 0:
            result["outcome"] = "not caught"
            result["said"] = f"{in_shell(mutation)} passes"
        elif f"\n    {mutation.test}\n" in output and mutation.says in output:
            result["outcome"] = "caught"
            result["said"] = f"by {mutation.test}, after {seconds:.1f} s"
        else:
            raise Failed(f"the test failed otherwise than by {mutation.says!r}; see {log(mutation.name + '-test')}")
    except Failed as failed:
        result["said"] = str(failed)
    say(f"{mutation.name}: {result['outcome']}")
    return result


@contextlib.contextmanager
def applied(mutation):
    patch = HERE / f"{mutation.name}.patch"
    try:
        lines = patch.read_text().splitlines()
        files = [TREE / line.removeprefix("+++ b/") for line in lines if line.startswith("+++ b/")]
        before = [file.read_bytes() for file in files]
    except OSError as error:
        raise Failed(f"the patch can't be applied: {error}") from error
    # Not as a part of the repository that the copy lies in: there Git may apply nothing, and not say so.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_CEILING_DIRECTORIES"] = str(FOLDER)
    try:
        done = subprocess.run(["git", "apply", patch], cwd=TREE, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"the patch can't be applied: {' '.join(done.stderr.split())}")
        unchanged = [file for file, was in zip(files, before, strict=True) if file.read_bytes() == was]
        if unchanged or not files:
            raise Failed(f"the patch changes nothing in {', '.join(str(file) for file in unchanged) or 'any file'}")
        yield
    finally:
        for file, was in zip(files, before, strict=True):
            file.write_bytes(was)


def build(name):
    code, _, _ = run(f"{name}: building", [*CARGO, "--no-run"], {}, log(f"{name}-build"))
    if code != 0:
        raise Failed(f"{name} does not compile; see {log(f'{name}-build')}")


def test(name, mutation):
    return run(f"{name}: {in_shell(mutation)}", command(mutation), mutation.only, log(f"{name}-test"))


def run(title, words, variables, into):
    """Runs a command in the copy: its status, what it wrote, and for how many seconds it ran."""
    say(title)
    # The caller's own choice of cases is none of these tests'.
    environment = {name: value for name, value in os.environ.items() if name not in ("CRASH_MATRIX", "TWO_ACTORS")}
    environment |= {
        "CARGO_TARGET_DIR": str(FOLDER / "build"),
        "CARGO_TERM_COLOR": "never",
        "CARGO_TERM_PROGRESS_WHEN": "never",
        "INSTA_UPDATE": "no",
        "RUST_BACKTRACE": "0",
        **variables,
    }
    begun = time.monotonic()
    with into.open("wb") as written:
        process = subprocess.Popen(
            words, cwd=TREE, env=environment, stdout=written, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while True:
                try:
                    code = process.wait(timeout=BEAT)
                    break
                except subprocess.TimeoutExpired:
                    lasts = time.monotonic() - begun
                    say(f"    {lasts:.0f} s  {last_line(into)}")
                    if lasts > LONGEST:
                        raise Failed(f"{title}: no end after {lasts:.0f} s; see {into}") from None
        finally:
            # With the test that it may have begun.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return code, into.read_text(errors="replace"), time.monotonic() - begun


def last_line(file):
    with file.open("rb") as written:
        written.seek(max(0, file.stat().st_size - 1_000))
        lines = written.read().decode(errors="replace").split("\n")
    return next((line.strip()[:100] for line in reversed(lines) if line.strip()), "")


def log(name):
    return FOLDER / f"{name}.log"


def names():
    return [mutation.name for mutation in MUTATIONS]


def command(mutation):
    return [*CARGO, "--", "--exact", mutation.test]


def in_shell(mutation):
    variables = [f"{name}={shlex.quote(value)}" for name, value in mutation.only.items()]
    return " ".join([*variables, shlex.join(command(mutation))])


def in_words(mutation):
    lines = [mutation.takes_away, mutation.harm, f"must fail: {in_shell(mutation)}", f"must say: {mutation.says}"]
    return "\n".join([mutation.name, *(f"    {line}" for line in lines)])


def described(mutation):
    return {
        "name": mutation.name,
        "takesAway": mutation.takes_away,
        "harm": mutation.harm,
        "patch": f"{mutation.name}.patch",
        "test": mutation.test,
        "command": in_shell(mutation),
        "says": mutation.says,
    }


def say(line):
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
