"""Calls an API with an API key that rotates, and prints the status of each call.

SECRET_ID is the secret's name, API_URL what to call, CALLS how many calls to make.
"""

import json
import os
import time
import urllib.error
import urllib.request

import boto3


class ApiKey:
    """An API key in Secrets Manager, read in a way that survives its rotations."""

    def __init__(self, secret_id, max_age=300):
        self._secret_id = secret_id
        self._max_age = max_age  # seconds; well below the secret's rotator:consumer-cache
        self._client = boto3.client("secretsmanager")
        self._key, self._read_at = None, 0.0

    def call(self, url):
        """GET the URL with the key; returns the status."""
        if self._key is None or time.monotonic() - self._read_at > self._max_age:
            self._refresh()
        tried = self._key
        status, refused = send(url, tried)
        if refused:
            self._refresh()
            if self._key != tried:
                tried = self._key
                status, refused = send(url, tried)
        if refused:
            # Once, and not kept: the next call begins with AWSCURRENT again.
            previous = self._read("AWSPREVIOUS")
            if previous and previous != tried:
                status, refused = send(url, previous)
        return status

    def _refresh(self):
        self._key, self._read_at = self._read("AWSCURRENT"), time.monotonic()

    def _read(self, label):
        try:
            found = self._client.get_secret_value(SecretId=self._secret_id, VersionStage=label)
        except self._client.exceptions.ResourceNotFoundException:
            return None
        return json.loads(found["SecretString"]).get("apiKey")


def send(url, key):
    """The status, and whether API Gateway refused the key (any other 403 is the API's own affair)."""
    request = urllib.request.Request(url, headers={"x-api-key": key or ""})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, False
    except urllib.error.HTTPError as answer:
        said = answer.headers.get("x-amzn-errortype", "")
        return answer.code, answer.code == 403 and said.startswith("ForbiddenException")


def main():
    key = ApiKey(os.environ["SECRET_ID"])
    for _ in range(int(os.environ.get("CALLS", "3"))):
        print(key.call(os.environ["API_URL"]), flush=True)


if __name__ == "__main__":
    main()
