"""Signs JSON Web Tokens with a KMS key that rotates.

SECRET_ID is the secret's name, AUDIENCE for whom the tokens are, CALLS how many to sign. Prints each.
"""

import base64
import hashlib
import json
import os
import time

import boto3
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

# As KMS calls it, its hash, and for ECDSA the length of r and of s.
ALGORITHMS = {
    "ES256": ("ECDSA_SHA_256", hashlib.sha256, 32),
    "ES384": ("ECDSA_SHA_384", hashlib.sha384, 48),
    "RS256": ("RSASSA_PKCS1_V1_5_SHA_256", hashlib.sha256, None),
    "PS256": ("RSASSA_PSS_SHA_256", hashlib.sha256, None),
    "EdDSA": ("ED25519_SHA_512", None, None),
}


class Signer:
    """Signs with the key that the secret names now."""

    def __init__(self, secret_id, max_age=300):
        self._secret_id = secret_id
        self._max_age = max_age  # seconds; well below the secret's rotator:consumer-cache
        self._secrets, self._kms = boto3.client("secretsmanager"), boto3.client("kms")
        self._value, self._read_at = None, 0.0

    def sign(self, claims, life=600):
        """A token that lives for so many seconds: no more than the secret's rotator:token-life."""
        if self._value is None or time.monotonic() - self._read_at > self._max_age:
            self._refresh()
        gone = self._kms.exceptions
        try:
            return self._sign(claims, life)
        except (gone.DisabledException, gone.KMSInvalidStateException, gone.NotFoundException):
            # Another key signs by now. Once: if this one is meant to sign, reading again won't help.
            self._refresh()
            return self._sign(claims, life)

    def _sign(self, claims, life):
        key, now = self._value["signer"], int(time.time())
        header = {"alg": key["algorithm"], "kid": key["kid"], "typ": "JWT"}
        payload = claims | {"iss": self._value["jwksUri"], "iat": now, "exp": now + life}
        signed = b".".join(encoded(json.dumps(part).encode()) for part in (header, payload))
        name, hashed, length = ALGORITHMS[key["algorithm"]]
        # A hash is short, whatever the token's length. Ed25519 takes the whole message, 4,096 bytes at the most.
        message = {"Message": hashed(signed).digest(), "MessageType": "DIGEST"} if hashed else {"Message": signed}
        # By the key's ARN, never by an alias: that could move between the `kid` and the signature.
        signature = self._kms.sign(KeyId=key["keyArn"], SigningAlgorithm=name, **message)["Signature"]
        if length:
            # KMS answers in DER; a token holds r and s, one after the other.
            signature = b"".join(number.to_bytes(length, "big") for number in decode_dss_signature(signature))
        return b".".join((signed, encoded(signature))).decode()

    def _refresh(self):
        found = self._secrets.get_secret_value(SecretId=self._secret_id)
        self._value, self._read_at = json.loads(found["SecretString"]), time.monotonic()


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


if __name__ == "__main__":
    signer = Signer(os.environ["SECRET_ID"])
    for number in range(int(os.environ.get("CALLS", "3"))):
        print(signer.sign({"aud": os.environ["AUDIENCE"], "sub": f"order-{number}"}), flush=True)
