"""Verifies JSON Web Tokens whose keys rotate, wherever their private halves are kept.

ISSUER is the `jwksUri` in the signers' secret, AUDIENCE for whom the tokens must be, ALGORITHM how they must be signed.
Reads tokens from standard input, one a line, and prints the claims of each, or why it is refused.
"""

import json
import os
import re
import sys
import threading
import time
import urllib.request

import jwt


class Verifier:
    """Knows the issuer's key set, as fresh as its `Cache-Control` asks for."""

    def __init__(self, issuer, audience, algorithm, at_most_every=10):
        self._issuer, self._audience, self._algorithm = issuer, audience, algorithm
        self._at_most_every = at_most_every  # seconds between two requests for the key set, whatever comes in
        self._keys, self._asked_at, self._fresh_until, self._useful_until = {}, float("-inf"), 0.0, 0.0
        self._lock = threading.Lock()

    def verify(self, token):
        """The token's claims; raises `jwt.InvalidTokenError` if it must not be trusted."""
        key = self._key(jwt.get_unverified_header(token).get("kid"))
        # How it must be signed is for the verifier to say, never for the token.
        algorithms, needed = [self._algorithm], {"require": ["exp", "iat"]}
        return jwt.decode(token, key, algorithms, needed, audience=self._audience, issuer=self._issuer)

    def _key(self, kid):
        with self._lock:
            now = time.monotonic()
            # An unknown key is a reason to ask once more. Anybody can make one up, so not for each.
            if (now > self._fresh_until or kid not in self._keys) and now - self._asked_at >= self._at_most_every:
                self._asked_at = now
                self._fetch(now)
            # Without an answer the old keys do for a while, and no longer: a withdrawn one may be among them.
            if now > self._useful_until or kid not in self._keys:
                raise jwt.InvalidTokenError(f"no key {kid!r} at {self._issuer}")
            return self._keys[kid]

    def _fetch(self, now):
        try:
            with urllib.request.urlopen(self._issuer, timeout=3) as answer:
                keys, headers = jwt.PyJWKSet.from_dict(json.load(answer)).keys, answer.headers
        except (OSError, ValueError, jwt.PyJWTError):
            return  # nobody answers, or with no key set
        self._keys = {key.key_id: key for key in keys}
        said = dict(re.findall(r"(max-age|stale-if-error)=(\d+)", headers.get("cache-control", "")))
        self._fresh_until = now + int(said.get("max-age", 300)) - int(headers.get("age", 0))
        self._useful_until = self._fresh_until + int(said.get("stale-if-error", 0))


def main():
    verifier = Verifier(os.environ["ISSUER"], os.environ["AUDIENCE"], os.environ.get("ALGORITHM", "ES256"))
    for token in sys.stdin:
        try:
            print(json.dumps(verifier.verify(token.strip())), flush=True)
        except jwt.InvalidTokenError as refusal:
            print(f"refused: {refusal}", flush=True)


if __name__ == "__main__":
    main()
