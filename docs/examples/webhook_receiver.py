"""Receives webhooks that are signed with a secret that rotates, by the specification of Standard Webhooks.

SECRET_ID is the secret's name, PORT where to listen on this machine. Answers 204, or 401 to what it can't trust.
"""

import datetime
import http.server
import json
import os
import threading
import time

import boto3
from standardwebhooks import Webhook, WebhookVerificationError


class Receiver:
    """Accepts what is signed with any secret that the value names."""

    def __init__(self, secret_id, max_age=300, at_most_every=60):
        self._secret_id = secret_id
        self._max_age = max_age  # seconds; well below the secret's rotator:consumer-cache
        self._at_most_every = at_most_every  # seconds between two readings because of a signature that doesn't fit
        self._client = boto3.client("secretsmanager")
        self._value, self._read_at, self._doubted_at = None, 0.0, float("-inf")
        self._lock = threading.Lock()

    def accepts(self, headers, body):
        """Whether a sender who knows the secret signed this body, less than five minutes ago."""
        with self._lock:
            now = time.monotonic()
            if self._value is None or now - self._read_at > self._max_age:
                self._refresh()
            if self._fits(headers, body):
                return True
            # The secret may have been replaced in an emergency. Or somebody sends rubbish: then this is not repeated.
            if now - self._doubted_at < self._at_most_every:
                return False
            self._doubted_at = now
            self._refresh()
            return self._fits(headers, body)

    def _fits(self, headers, body):
        secrets = [self._value["signing"]]
        if "alsoSigning" in self._value:
            if datetime.datetime.now(datetime.timezone.utc) < datetime.datetime.fromisoformat(self._value["until"]):
                secrets.append(self._value["alsoSigning"])
        return any(fits(secret, headers, body) for secret in secrets)

    def _refresh(self):
        found = self._client.get_secret_value(SecretId=self._secret_id)
        self._value, self._read_at = json.loads(found["SecretString"]), time.monotonic()


def fits(secret, headers, body):
    try:
        Webhook(secret).verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):  # the latter: not even of the form of a signature
        return False
    return True


class Handler(http.server.BaseHTTPRequestHandler):
    receiver = None

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(204 if self.receiver.accepts(dict(self.headers), body) else 401)
        self.end_headers()


if __name__ == "__main__":
    Handler.receiver = Receiver(os.environ["SECRET_ID"])
    http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
