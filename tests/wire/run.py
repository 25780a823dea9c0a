"""Runs the wire tests: real clients and real functions, over real ports, against the built binaries.

Needs `cargo build`, for the functions `cargo lambda build --release --x86-64 --output-format zip -p rotator`, and a
Python with `.ci/requirements.txt`; `.ci/run` sees to all three.
Arguments name the tests to run: those whose name has one of them in it. Exits with 1 if any failed.
"""

import sys
import time
import traceback

sys.dont_write_bytecode = True

import clients
import consumers
import functions
import live_probe
import signing
import webhooks


def main():
    wanted = sys.argv[1:]
    tests = [test for module in (clients, consumers, signing, webhooks, functions, live_probe) for test in module.TESTS]
    if wanted:
        tests = [test for test in tests if any(part in test.__name__ for part in wanted)]
    failed = 0
    for test in tests:
        begun = time.monotonic()
        try:
            test()
            outcome = "passed"
        except Exception:
            traceback.print_exc()
            outcome = "FAILED"
            failed += 1
        name = test.__name__.replace("_", " ")
        print(f"{outcome} {name} ({time.monotonic() - begun:.1f} s)", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
