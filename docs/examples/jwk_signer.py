"""Signs JSON Web Tokens with a private key that is kept in Secrets Manager and rotates.

SECRET_ID is the secret's name, AUDIENCE for whom the tokens are, CALLS how many to sign. Prints each.
"""

import json
import os
import time

import boto3
import jwt


class Signer:
    """Signs with the key that the secret holds now."""

    def __init__(self, secret_id, max_age=300):
        self._secret_id = secret_id
        self._max_age = max_age  # seconds; well below the secret's rotator:consumer-cache
        self._client = boto3.client("secretsmanager")
        self._issuer, self._key, self._read_at = None, None, 0.0

    def sign(self, claims, life=600):
        """A token that lives for so many seconds: no more than the secret's rotator:token-life."""
        if self._key is None or time.monotonic() - self._read_at > self._max_age:
            self.refresh()
        now = int(time.time())
        claims = claims | {"iss": self._issuer, "iat": now, "exp": now + life}
        return jwt.encode(claims, self._key, self._key.algorithm_name, headers={"kid": self._key.key_id})

    def refresh(self):
        """Reads the secret again: for when tokens are refused, by which alone a signer learns of an emergency."""
        found = json.loads(self._client.get_secret_value(SecretId=self._secret_id)["SecretString"])
        self._issuer, self._key, self._read_at = found["jwksUri"], jwt.PyJWK(found["signer"]), time.monotonic()


if __name__ == "__main__":
    signer = Signer(os.environ["SECRET_ID"])
    for number in range(int(os.environ.get("CALLS", "3"))):
        print(signer.sign({"aud": os.environ["AUDIENCE"], "sub": f"order-{number}"}), flush=True)
