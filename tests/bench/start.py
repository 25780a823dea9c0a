"""Measures the functions as Lambda meets them: how fast they start, what memory they take, what their zip weighs.

    cargo lambda build --release --x86-64 --output-format zip -p rotator && python3 tests/bench/start.py

Start: from before the process is created to its first poll of the Runtime API, median of 20, one after the other.
Memory: the most that was resident up to that poll, the largest of the 20. Zip: the one that is deployed.
Exits with 1 if a figure is above its limit.
"""

import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
ZIPS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "lambda"
RUNS = 20
LIMITS = {"start, ms": 30.0, "memory, MiB": 30.0, "zipped, MiB": 8.0}
MIB = 1024 * 1024


def main():
    within = True
    print(f"| function | {' | '.join(f'{name} (at most {limit:.0f})' for name, limit in LIMITS.items())} |")
    print("|---|---:|---:|---:|")
    for name in ("rotation", "retirement", "jwks"):
        packed = ZIPS / name / "bootstrap.zip"
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed) as archive:
            binary = pathlib.Path(archive.extract("bootstrap", folder))
            binary.chmod(0o755)
            start(name, binary)  # The first run reads the file from the disk, which Lambda does elsewhere.
            runs = [start(name, binary) for _ in range(RUNS)]
        figures = [
            statistics.median(seconds for seconds, _ in runs) * 1000,
            max(memory for _, memory in runs) / MIB,
            packed.stat().st_size / MIB,
        ]
        within &= all(figure <= limit for figure, limit in zip(figures, LIMITS.values(), strict=True))
        print(f"| `{name}` | {' | '.join(f'{figure:.1f}' for figure in figures)} |")
    return 0 if within else 1


def start(name, binary):
    """Seconds to the first poll, and the peak of resident bytes by then."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        environment = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.getsockname()[1]}",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "PATH": os.environ["PATH"],
        }
        begun = time.perf_counter()
        process = subprocess.Popen([binary], env=environment, stdout=subprocess.DEVNULL)
        connection = None
        try:
            connection, _ = server.accept()
            request = connection.recv(4096)
            seconds = time.perf_counter() - begun
            assert request.startswith(b"GET /2018-06-01/runtime/invocation/next "), request
            return seconds, peak(process.pid)
        finally:
            process.kill()
            process.wait()
            # Not before: a function that loses its Runtime API says so.
            if connection:
                connection.close()


def peak(pid):
    """The most bytes that the process ever had resident."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())
