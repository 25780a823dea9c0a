"""Sends webhooks that are signed with a secret that rotates, by the specification of Standard Webhooks.

SECRET_ID is the secret's name, WEBHOOK_URL the receiver, CALLS how many webhooks to send. Prints the status of each.
"""

import datetime
import json
import os
import time
import urllib.error
import urllib.request
import uuid

import boto3
from standardwebhooks import Webhook


class Sender:
    """Signs with every secret that the value names, so that it does not matter what a receiver has read."""

    def __init__(self, secret_id, max_age=300):
        self._secret_id = secret_id
        self._max_age = max_age  # seconds; well below the secret's rotator:consumer-cache
        self._client = boto3.client("secretsmanager")
        self._value, self._read_at = None, 0.0

    def send(self, url, payload):
        """POSTs the payload as JSON; returns the status."""
        body, id = json.dumps(payload), f"msg_{uuid.uuid4().hex}"
        if self._value is None or time.monotonic() - self._read_at > self._max_age:
            self._refresh()
        signed_with = self._value
        status = post(url, body, self._headers(id, body))
        if status == 401:
            # In an emergency the old secret is worth nothing at once. Once: it may be refused for another reason.
            self._refresh()
            if self._value != signed_with:
                status = post(url, body, self._headers(id, body))
        return status

    def _headers(self, id, body):
        now = datetime.datetime.now(datetime.timezone.utc)
        secrets = [self._value["signing"]]
        if "alsoSigning" in self._value and now < datetime.datetime.fromisoformat(self._value["until"]):
            secrets.append(self._value["alsoSigning"])
        return {
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(Webhook(secret).sign(id, now, body) for secret in secrets),
        }

    def _refresh(self):
        found = self._client.get_secret_value(SecretId=self._secret_id)
        self._value, self._read_at = json.loads(found["SecretString"]), time.monotonic()


def post(url, body, headers):
    request = urllib.request.Request(url, data=body.encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refusal:
        return refusal.code


def main():
    sender = Sender(os.environ["SECRET_ID"])
    for number in range(int(os.environ.get("CALLS", "3"))):
        print(sender.send(os.environ["WEBHOOK_URL"], {"type": "order.paid", "number": number}), flush=True)


if __name__ == "__main__":
    main()
