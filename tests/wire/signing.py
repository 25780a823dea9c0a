"""The examples for signers and verifiers go through a rotation, and through an emergency; key sets over HTTP."""

import contextlib
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import jwt

from examples import configured, load, run
from world import ROOT, Local, bare_environment, wait_until

AUDIENCE = "orders"
SIGNERS = {"kms-signing-key": "kms_signer", "jwt-signing-key": "jwk_signer"}
ALGORITHMS = ["ES256", "ES384", "EdDSA", "RS256", "PS256"]
# In seconds, on real time. The overlap is what they need at the least.
LEAD, CACHE, VERIFIER_CACHE, TOKEN_LIFE, SLACK = 4, 1, 2, 2, 1
OVERLAP = CACHE + VERIFIER_CACHE + TOKEN_LIFE + SLACK
TAGS = {
    "publish_lead": f"PT{LEAD}S",
    "consumer_cache": f"PT{CACHE}S",
    "verifier_cache": f"PT{VERIFIER_CACHE}S",
    "token_life": f"PT{TOKEN_LIFE}S",
    "slack": f"PT{SLACK}S",
    # Nobody waits for evidence of disuse: it is told an hour late.
    "idle_before_suspend": "PT0S",
}


def the_examples_for_tokens_run_as_they_stand():
    with Local() as local:
        for kind, signer in SIGNERS.items():
            # As docs/consumers.md says to try them.
            adopted = local.rotator("adopt", "--kind", kind, kind, "--yes")
            assert adopted["adopted"] == 1, adopted
            assert local.rotator("rotate", kind)["generation"] == 1
            issuer = f"{local.environment['ROTATOR_JWKS_URL']}/{kind}"
            printed = lambda: local.rotator("jwks", kind)["keys"]
            wait_until("what is printed is what is served", lambda: printed() == key_set(issuer))
            tokens = run(local, signer, SECRET_ID=kind, AUDIENCE=AUDIENCE, CALLS="3")
            given = "\n".join([*tokens, tokens[0][:-8] + "AAAAAAAA", "rubbish"])
            lines = run(local, "verifier", given, ISSUER=issuer, AUDIENCE=AUDIENCE)
            assert [json.loads(line)["sub"] for line in lines[:3]] == ["order-0", "order-1", "order-2"], lines
            assert len(lines) == 5 and all(line.startswith("refused: ") for line in lines[3:]), lines


def signers_and_verifiers_agree_in_every_algorithm():
    with Local() as local, configured(local):
        for kind, signer in SIGNERS.items():
            for algorithm in ALGORITHMS:
                secret = f"{kind}/{algorithm}"
                issuer = local.declare(kind, secret, algorithm=algorithm)["jwksUri"]
                token = load(signer).Signer(secret).sign({"aud": AUDIENCE, "sub": algorithm})
                assert jwt.get_unverified_header(token)["alg"] == algorithm
                assert verifier(issuer, algorithm).verify(token)["sub"] == algorithm
                # PyJWT's own client, which shares nothing with the example but the library.
                key = jwt.PyJWKClient(issuer).get_signing_key_from_jwt(token)
                assert jwt.decode(token, key, [algorithm], audience=AUDIENCE, issuer=issuer)["sub"] == algorithm
                others = [other for other in ALGORITHMS if other != algorithm]
                assert all(refuses(verifier(issuer, other), token) for other in others), "the token does not choose"
                assert refuses(load("verifier").Verifier(issuer, "others", algorithm), token)


def tokens_go_through_a_rotation():
    with Local() as local, configured(local):
        parties = [Party(local, kind) for kind in SIGNERS]
        everybody = lambda: all(party.round() for party in parties)

        for party in parties:
            wait_until("the standby is published", lambda: everybody() and len(party.published()) == 2)
        ready = time.monotonic() + LEAD + 0.5
        wait_until("it is published for its lead", lambda: everybody() and time.monotonic() > ready)
        for party in parties:
            local.rotate(party.secret)
        wait_until("everybody signs with it", lambda: everybody() and all(party.is_new() for party in parties))
        for party in parties:
            party.verifier().verify(party.long_lived)
        old_keys = {party.first["signer"]["kid"] for party in parties}
        withdrawn = lambda: old_keys.isdisjoint(kid for party in parties for kid in party.published())
        wait_until("no old key is published", lambda: everybody() and withdrawn())
        for party in parties:
            kept = time.time() - party.promoted()
            assert kept >= OVERLAP, f"{party.secret}: published for {kept:.1f} s of its {OVERLAP} s after the promotion"
            assert refuses(party.verifier(), party.long_lived), "withdrawn"

        kms = local.boto3("kms")
        old = parties[0].first["signer"]["keyArn"]
        state = lambda: kms.describe_key(KeyId=old)["KeyMetadata"]["KeyState"]
        wait_until("the old key signs nothing any more", lambda: everybody() and state() == "Disabled")
        for party in parties:
            print(f"    {party.secret}: {party.tokens} tokens through a rotation, each accepted by all verifiers")


def tokens_go_through_an_emergency():
    with Local() as local, configured(local):
        for kind, signer in SIGNERS.items():
            issuer = local.declare(kind, kind)["jwksUri"]
            wait_until("the standby is published", lambda: len(key_set(issuer)) == 2)
            signer, known = load(signer).Signer(kind), verifier(issuer)
            old = signer.sign({"aud": AUDIENCE})
            known.verify(old)
            standby = next(key["kid"] for key in key_set(issuer) if key["kid"] != kid(old))

            value = local.emergency(kind)
            assert value["signer"]["kid"] == standby, "the key that verifiers know already"
            # The signer has cached the old one. KMS tells it so, Secrets Manager does not.
            if kind == "jwt-signing-key":
                signer.refresh()
            new = signer.sign({"aud": AUDIENCE})
            assert kid(new) == standby
            fetches = counted(known)
            known.verify(new)
            assert not fetches, "nothing had to be fetched to accept what the new key signs"
            assert kid(old) not in [key["kid"] for key in key_set(issuer)], "withdrawn at once"
            assert refuses(verifier(issuer), old), "and refused by whoever asks"
            known.verify(old)  # as it is: until its key set is too old
            assert refuses(known, made_up(issuer)), "a stranger is refused"
            assert len(fetches) <= 1, "and is no reason to fetch time and again"


def a_key_set_is_served_over_http():
    with Local() as local:
        check_served(local, "jwt-signing-key")


def the_key_sets_are_as_openapi_says():
    """Schemathesis, as the pipeline runs it against staging."""
    program = pathlib.Path(sys.executable).parent / "schemathesis"
    phases = ["--phases", "examples,coverage,fuzzing", "--max-examples", "50"]
    # A method that is no route is not found, says API Gateway, where Schemathesis expects 405.
    checks = ["--checks", "all", "--exclude-checks", "unsupported_method", "--no-color"]
    # It keeps what it found in the folder where it runs.
    with Local() as local, tempfile.TemporaryDirectory() as folder:
        issuer = local.declare("kms-signing-key", "orders/issuer")["jwksUri"]
        url = issuer.removesuffix("/jwks/orders/issuer")
        command = [sys.executable, program, "run", ROOT / "infra/openapi.yaml", "--url", url, *phases, *checks]
        done = subprocess.run(command, cwd=folder, env=bare_environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        _, _, counted = done.stdout.partition("Test cases:\n")
        print(f"    {counted.splitlines()[0].strip()}")


def check_served(local, kind):
    """What `curl` would show of a key set, of its validator, and of the discovery document beside it."""
    secret = f"issuers/{kind}"
    issuer = local.declare(kind, secret)["jwksUri"]
    wait_until("the standby is published", lambda: len(key_set(issuer)) == 2)
    status, headers, body = get(issuer)
    assert (status, headers["content-type"]) == (200, "application/jwk-set+json"), headers
    assert headers["cache-control"] == "public, max-age=300, stale-if-error=6900", headers
    public = {"kty", "crv", "x", "y", "use", "alg", "kid"}
    assert all(set(key) == public for key in json.loads(body)["keys"]), "nothing private is in it"

    status, known, body = get(issuer, {"If-None-Match": headers["etag"]})
    assert (status, body, known["etag"]) == (304, b"", headers["etag"])
    assert known["cache-control"] == headers["cache-control"], "a cache keeps it for as long again"
    assert get(issuer, {"If-None-Match": '"another"'})[0] == 200

    status, headers, body = get(f"{issuer}/.well-known/openid-configuration")
    said = json.loads(body)
    assert (status, headers["content-type"]) == (200, "application/json"), headers
    assert (said["issuer"], said["jwks_uri"]) == (issuer, issuer), said
    assert said["id_token_signing_alg_values_supported"] == ["ES256"], said
    assert get(f"{issuer}-of-somebody-else")[0] == 404

    local.emergency(secret)
    assert get(issuer, {"If-None-Match": known["etag"]})[0] == 200, "another key set has another validator"


class Party:
    """Those who have to do with one issuer."""

    def __init__(self, local, kind):
        self.local, self.secret = local, kind
        self.first = local.declare(kind, kind, **TAGS)
        self.issuer = self.first["jwksUri"]
        # One of each that asks again as soon as it may, and one that keeps what it has for as long as it may.
        self.signers = [load(SIGNERS[kind]).Signer(kind, max_age) for max_age in (0, CACHE)]
        lazy = jwt.PyJWKClient(self.issuer, lifespan=VERIFIER_CACHE, cooldown_duration=3600)
        self.verifiers = [self.verifier().verify, lambda token: verify_by(lazy, token, self.issuer)]
        # Longer lived than its owner said: it shows when its key is withdrawn.
        self.long_lived = self.signers[0].sign({"aud": AUDIENCE}, life=3600)
        self.last, self.tokens = [], 0

    def verifier(self):
        return load("verifier").Verifier(self.issuer, AUDIENCE, "ES256", at_most_every=0.2)

    def round(self):
        """Every signer signs, and every verifier accepts it; as well as what was signed one token's life ago."""
        fresh = [signer.sign({"aud": AUDIENCE}, life=TOKEN_LIFE) for signer in self.signers]
        self.last = [(token, at) for token, at in self.last if time.monotonic() - at < TOKEN_LIFE - 1]
        self.last += [(token, time.monotonic()) for token in fresh]
        for verify in self.verifiers:
            for token, _ in self.last:
                # One that expires while a busy machine looks at it was accepted: its signature comes first.
                with contextlib.suppress(jwt.ExpiredSignatureError):
                    verify(token)
        self.tokens += len(fresh)
        return True

    def promoted(self):
        """When the second key became current, in seconds."""
        events = self.local.rotator("history", self.secret)["events"]
        at = next(event["at"] for event in events if (event["what"], event["generation"]) == ("promoted", 2))
        return datetime.datetime.fromisoformat(at).timestamp()

    def published(self):
        return [key["kid"] for key in key_set(self.issuer)]

    def is_new(self):
        old = self.first["signer"]["kid"]
        return all(kid(token) != old for token, _ in self.last[-len(self.signers):])


def verifier(issuer, algorithm="ES256"):
    return load("verifier").Verifier(issuer, AUDIENCE, algorithm)


def verify_by(client, token, issuer):
    return jwt.decode(token, client.get_signing_key_from_jwt(token), ["ES256"], audience=AUDIENCE, issuer=issuer)


def refuses(verifier, token):
    try:
        verifier.verify(token)
    except jwt.InvalidTokenError:
        return True
    return False


def counted(verifier):
    """Grows by one with each request of that verifier for the key set."""
    fetches, fetch = [], verifier._fetch

    def noted(now):
        fetches.append(now)
        fetch(now)

    verifier._fetch = noted
    return fetches


def made_up(issuer):
    """A token that is as it should be, but for the key."""
    now = int(time.time())
    key = jwt.algorithms.ECAlgorithm.from_jwk({
        # RFC 7515, A.3.1.
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
    })
    claims = {"iss": issuer, "aud": AUDIENCE, "iat": now, "exp": now + 60}
    return jwt.encode(claims, key, "ES256", headers={"kid": "made-up"})


def kid(token):
    return jwt.get_unverified_header(token)["kid"]


def key_set(url):
    return json.loads(get(url)[2])["keys"]


def get(url, headers=None):
    """Status, headers and body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as other:
        with other:
            return other.code, other.headers, other.read()


TESTS = [
    the_examples_for_tokens_run_as_they_stand,
    signers_and_verifiers_agree_in_every_algorithm,
    a_key_set_is_served_over_http,
    the_key_sets_are_as_openapi_says,
    tokens_go_through_a_rotation,
    tokens_go_through_an_emergency,
]
