"""Lambda's two HTTP interfaces: Invoke, for who calls a function, and the Runtime API, for who runs one.

`cargo lambda watch` has both, but names a deadline in 1970, so that a function that minds its deadline stops at once,
and it answers a function's error with HTTP 500 where Lambda answers 200 with `X-Amz-Function-Error`. So here they are,
as AWS documents them: each instance of a function, which is a process that polls, runs one invocation at a time, and
together they take invocations in the order in which they came.
"""

import dataclasses
import http.server
import json
import queue
import socket
import sys
import threading
import time
import uuid

# In seconds, as the stack sets them.
TIMEOUTS = {"rotation": 300, "retirement": 600, "jwks": 10}
REGION = "eu-west-1"
ACCOUNT = "123456789012"


@dataclasses.dataclass
class Invocation:
    """One call of a function, and what came of it."""

    payload: bytes
    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    # An instance has it. How long it waits for one is no part of the function's time.
    taken: threading.Event = dataclasses.field(default_factory=threading.Event)
    done: threading.Event = dataclasses.field(default_factory=threading.Event)
    answer: bytes = b""
    failed: bool = False
    begun: float = 0.0
    # In seconds, as Lambda counts them: from when the function has it until it has answered.
    took: float = 0.0


class Lambda:
    """Both interfaces on one free port of the loopback, as long as the `with` block runs.

    A function's Runtime API is at `/NAME/2018-06-01/..`; `runtime_api(NAME)` is its `AWS_LAMBDA_RUNTIME_API`.
    """

    def __init__(self, *functions):
        self.waiting = {name: queue.Queue() for name in functions}
        self.running = {}
        self.invocations = {name: [] for name in functions}
        self.init_errors = []
        self.server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"world": self}))
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def runtime_api(self, name):
        return f"{self.endpoint}/{name}"

    def take(self, name, is_gone):
        """The next invocation; none if whoever wants it goes away first."""
        while not is_gone():
            try:
                invocation = self.waiting[name].get(timeout=0.5)
            except queue.Empty:
                continue
            if not is_gone():
                return invocation
            self.waiting[name].put(invocation)
        return None

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # How many may knock at the same moment: a hundred secrets that are due together do.
    request_queue_size = 1024

    def handle_error(self, request, client_address):
        """A function that was killed hangs up in the middle of its poll: that is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world = None

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        match self.path.strip("/").split("/"):
            case ["2015-03-31", "functions", name, "invocations"]:
                self.invoke(name.rsplit(":", 1)[-1], body)
            case [_, "2018-06-01", "runtime", "init", "error"]:
                self.world.init_errors.append(body.decode())
                self.reply(202, b'{"status":"OK"}')
            case [_, "2018-06-01", "runtime", "invocation", id, ("response" | "error") as outcome]:
                self.complete(id, body, failed=outcome == "error")
            case _:
                self.reply(404, b'{"errorType":"NotFound"}')

    def do_GET(self):
        match self.path.strip("/").split("/"):
            case [name, "2018-06-01", "runtime", "invocation", "next"] if name in self.world.waiting:
                self.next(name)
            case _:
                self.reply(404, b'{"errorType":"NotFound"}')

    def invoke(self, name, payload):
        if name not in self.world.waiting:
            return self.reply(404, b'{"Type":"User","Message":"Function not found"}')
        invocation = Invocation(payload)
        self.world.invocations[name].append(invocation)
        self.world.waiting[name].put(invocation)
        invocation.taken.wait()
        if not invocation.done.wait(TIMEOUTS[name]):
            said = f"Task timed out after {TIMEOUTS[name]} seconds"
            timed_out = {"errorType": "Sandbox.Timedout", "errorMessage": said}
            return self.reply(200, json.dumps(timed_out).encode(), {"X-Amz-Function-Error": "Unhandled"})
        self.reply(200, invocation.answer, {"X-Amz-Function-Error": "Unhandled"} if invocation.failed else {})

    def next(self, name):
        invocation = self.world.take(name, self.is_gone)
        if invocation is None:
            self.close_connection = True
            return
        self.world.running[invocation.id] = invocation
        invocation.begun = time.monotonic()
        invocation.taken.set()
        self.reply(200, invocation.payload, {
            "Lambda-Runtime-Aws-Request-Id": invocation.id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + TIMEOUTS[name]) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}",
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}",
        })

    def is_gone(self):
        """Whether whoever polls has hung up, as an instance that was ended does: it must take no invocation along."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    def complete(self, id, answer, failed):
        invocation = self.world.running.pop(id, None)
        if invocation is None:
            return self.reply(400, b'{"errorType":"InvalidRequestID"}')
        invocation.answer, invocation.failed, invocation.took = answer, failed, time.monotonic() - invocation.begun
        invocation.done.set()
        self.reply(202, b'{"status":"OK"}')

    def reply(self, status, body, headers=None):
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Quiet."""
