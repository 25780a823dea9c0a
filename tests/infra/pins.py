"""Holds what the gate, the pipeline and the documentation install to what was looked at when it was chosen: Python
packages by their hashes, with all that they depend on; Rust by its version."""

import re

from templates import REPO

# Where somebody is told, or a program tells itself, to install something.
PLACES = (".ci/run", "README.md", "CONTRIBUTING.md", "docs/*.md", "infra/*.md", "infra/buildspecs/*", "tests/**/*.py")


def check():
    """Yields what was found, a line each; raises AssertionError with sentences."""
    folders = (REPO / ".ci", REPO / "infra" / "buildspecs", REPO / "tests" / "infra")
    locked = sorted(path for folder in folders for path in folder.glob("*.txt"))
    defects = [f"{path.relative_to(REPO)}: {loose}" for path in locked for loose in loose_in(path.read_text())]
    for wanted in sorted(path for folder in folders for path in folder.glob("*.in")):
        missing = names(wanted.read_text()) - names(wanted.with_suffix(".txt").read_text())
        defects += [
            f"{wanted.relative_to(REPO)} wants {each}, which is not locked: .ci/lock" for each in sorted(missing)
        ]
    crates = [(path, line) for place in PLACES for path in REPO.glob(place) for line in installs(path, "cargo")]
    defects += [
        f"{path.relative_to(REPO)} installs whatever is newest: {line}"
        for path, line in crates
        if not re.search(r"--locked --version [0-9.]+ ", line)
    ]
    commands = [(path, line) for place in PLACES for path in REPO.glob(place) for line in installs(path, "pip3?|_pip")]
    defects += [
        f"{path.relative_to(REPO)} installs without hashes: {line}" for path, line in commands if "hashes" not in line
    ]
    channel = re.search(r'^channel = "(.*)"$', (REPO / "rust-toolchain.toml").read_text(), re.MULTILINE)[1]
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", channel):
        defects.append(f"rust-toolchain.toml names {channel}, which is another Rust tomorrow")
    assert not defects, "\n".join(defects)
    assert loose_in("a==1\n") and loose_in("a>=1 --hash=sha256:0\n") and not loose_in("a==1 \\\n  --hash=sha256:0\n")
    yield f"{len(locked)} files lock {len(set().union(*(names(path.read_text()) for path in locked)))} packages"
    yield f"{len(commands)} places install by hash, and {len(crates)} by version and lock; Rust is {channel}"


def loose_in(text):
    """The requirements that could be something else tomorrow."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [line for line in lines if not re.match(r"\S+==\S+ .*--hash=sha256:[0-9a-f]+", line)]


def names(text):
    """The packages, each with its version."""
    return {each.lower().replace("_", "-") for each in re.findall(r"^([A-Za-z0-9][\w.-]*==[\w.]+)", text, re.MULTILINE)}


def installs(path, program):
    """The lines by which that program installs something."""
    text = path.read_text() if path.is_file() else ""
    return [line.strip() for line in text.splitlines() if re.search(rf"\b({program})\b.*\binstall\b", line)]
