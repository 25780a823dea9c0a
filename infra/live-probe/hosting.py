"""The probe's function in this process, behind Lambda's Invoke API on a port of the loopback.

For an AWS that runs no functions itself but calls them there: `rotator local --lambda-endpoint http://127.0.0.1:PORT`.
"""

import http.server
import json
import threading

import rotation_function


class Host:
    """Serves as long as the `with` block runs. Other functions than the run's own are not found."""

    def __init__(self, port, name, client):
        handler = type("Bound", (_Handler,), {"function": name, "client": client})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.server.daemon_threads = True

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    function = client = None

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        match self.path.strip("/").split("/"):
            case ["2015-03-31", "functions", name, "invocations"] if name.rsplit(":", 1)[-1] == self.function:
                self.invoke(json.loads(body))
            case _:
                self.reply(404, {"Type": "User", "Message": "Function not found"})

    def invoke(self, event):
        try:
            self.reply(200, rotation_function.rotate(event, self.client))
        except Exception as error:  # as Lambda does: whatever a function raises is its answer
            failed = {"errorType": type(error).__name__, "errorMessage": str(error)}
            self.reply(200, failed, {"X-Amz-Function-Error": "Unhandled"})

    def reply(self, status, body, headers=None):
        raw = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": str(len(raw)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        """Quiet."""
