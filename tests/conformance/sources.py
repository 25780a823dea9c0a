#!/usr/bin/env python3
"""Counts what the conformance tests stand on, and lists those that do not say. Fails if there is one.

The last line of a test's comment says it: "Source: WHOSE: WHAT[, DATE]." for a recording of live AWS or a page of AWS's;
"Assumed: WHY." where nothing public states it; "Embedded: WHAT." for what only the embedded AWS has, switches among it.
"""

import collections
import pathlib
import re
import sys

TEST = re.compile(r"((?:^///.*\n|^//[^/].*\n|^#\[.*\n)*)^(?:async )?fn (\w+)", re.MULTILINE)
STANDS_ON = re.compile(r"^/// (Source: [^:]+|Assumed|Embedded): .+\.$", re.MULTILINE)


def main() -> int:
    folder = pathlib.Path(__file__).parent
    counted, bare = collections.Counter(), []
    for file in sorted(folder.rglob("*.rs")):
        for head, name in TEST.findall(file.read_text()):
            if "#[tokio::test" not in head and "#[test]" not in head:
                continue
            if said := STANDS_ON.search(head):
                counted[said.group(1).split(":")[0]] += 1
            else:
                bare.append(f"{file.relative_to(folder).with_suffix('')}: {name}")
    print(*bare, sep="\n", end="\n" if bare else "")
    print(f"{counted['Source']} tests name a source, {counted['Assumed']} an assumption, {counted['Embedded']} are of the")
    print(f"embedded AWS alone, {len(bare)} say nothing")
    return 1 if bare else 0


if __name__ == "__main__":
    sys.exit(main())
