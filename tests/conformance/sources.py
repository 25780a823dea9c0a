#!/usr/bin/env python3
"""Lists the conformance tests that name no source.

A source is a line of a test's comment: "Source: WHOSE: WHAT[, DATE]." Not every test needs one: switches, and what only
the embedded AWS has, are nobody's recording.
"""

import pathlib
import re
import sys

TEST = re.compile(r"((?:^///.*\n|^//[^/].*\n|^#\[.*\n)*)^(?:async )?fn (\w+)", re.MULTILINE)
SOURCE = re.compile(r"^/// Source: ([^:]+): (.+)$", re.MULTILINE)


def main() -> int:
    folder = pathlib.Path(__file__).parent
    sourced, bare = 0, []
    for file in sorted(folder.rglob("*.rs")):
        for head, name in TEST.findall(file.read_text()):
            if "#[tokio::test" not in head and "#[test]" not in head:
                continue
            if SOURCE.search(head):
                sourced += 1
            else:
                bare.append(f"{file.relative_to(folder).with_suffix('')}: {name}")
    print(*bare, sep="\n")
    print(f"{len(bare)} tests name no source, {sourced} do")
    return 0


if __name__ == "__main__":
    sys.exit(main())
