"""An HTTP API's JWT authorizer, with an issuer of our own: when does it fetch the key set again?

The issuer is the probe's function behind a public route of the same API, and notes every fetch. Tokens are signed by
two RSA keys in KMS. A token says nothing but its issuer and lives for three hours.
"""

import base64
import json
import time

from botocore.exceptions import ClientError

import rotation_function
from place import Elsewhere, code_of
from session import Experiment, seconds

AUDIENCE = "live-probe"
# How long the new key may take to be accepted before that counts as "not by a new fetch".
PROMPT = 30
WATCHED = 5 * 60
# What the key set's Cache-Control says.
MAX_AGE = 60


class Issuer:
    """Keys, tokens, and the key set that is published."""

    def __init__(self, run, url):
        self.run, self.url = run, url
        self.kms, self.manager = run.where.client("kms"), run.where.client("secretsmanager")
        self.name = run.secret("key-set")
        self.keys = {}

    def make_key(self, kid):
        made = self.kms.create_key(
            KeySpec="RSA_2048",
            KeyUsage="SIGN_VERIFY",
            Description=self.run.named(kid),
            Tags=self.run.tag_list("TagKey", "TagValue"),
        )["KeyMetadata"]["KeyId"]
        self.run.note_made("KMS key", made)
        modulus, exponent = rsa_numbers(self.kms.get_public_key(KeyId=made)["PublicKey"])
        jwk = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": number(modulus), "e": number(exponent)}
        self.keys[kid] = (made, jwk)

    def key_set(self, *kids):
        return json.dumps({"keys": [self.keys[kid][1] for kid in kids]})

    def publish(self, *kids):
        self.manager.put_secret_value(SecretId=self.name, SecretString=self.key_set(*kids))

    def token(self, kid):
        now = int(time.time())
        header = {"alg": "RS256", "typ": "JWT", "kid": kid}
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "live-probe", "iat": now - 5, "exp": now + 3 * 3600}
        signed = f"{encoded(header)}.{encoded(claims)}"
        signature = self.kms.sign(
            KeyId=self.keys[kid][0],
            Message=signed.encode(),
            MessageType="RAW",
            SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256",
        )["Signature"]
        return self.run.hide(f"{signed}.{base64url(signature)}")

    def fetches(self):
        """When the key set was fetched: as many times as the journal has room for, at most."""
        described = self.manager.describe_secret(SecretId=self.name)
        return [at for at, words in rotation_function.entries(described) if words == ["jwks"]]


def authorizer(run):
    """One key, then two, then only the second."""
    if run.options.rotation_function:
        raise Elsewhere("it needs a function of the run's own, not --rotation-function")
    api, made = build(run)
    issuer = Issuer(run, f"{made}/issuer")
    issuer.make_key("first")
    issuer.make_key("second")
    run.where.client("secretsmanager").create_secret(
        Name=issuer.name, SecretString=issuer.key_set("first"), Tags=run.tag_list()
    )
    run.note_made("secret", issuer.name)
    yield from guard(run, api, issuer)

    guarded = f"{made}/guarded"
    first = issuer.token("first")
    yield from until(run, guarded, first, 300)
    issuer.publish("first", "second")
    yield 2
    second, before, since = issuer.token("second"), len(issuer.fetches()), time.monotonic()
    while not run.where.ask(guarded, token=second).accepted:
        if run.seconds_left() <= 0:
            run.holds("jwt-refetch", f"no: an unknown kid is refused, still {seconds(time.monotonic() - since)} later")
            return
        yield 2
    waited, fetched = time.monotonic() - since, len(issuer.fetches()) - before
    if waited <= PROMPT:
        text = f"yes: the unknown kid was accepted after {seconds(waited)}, with {fetched} fetches"
    else:
        text = f"not at once: the unknown kid was refused for {seconds(waited)}, then accepted; {fetched} fetches"
    run.holds("jwt-refetch", text, seconds=round(waited, 1), fetches=fetched)

    before, since = len(issuer.fetches()), time.monotonic()
    watched = run.at_most(WATCHED)
    while time.monotonic() - since < watched:
        run.where.ask(guarded, token=first)
        yield 20
    fetched = len(issuer.fetches()) - before
    text = f"max-age={MAX_AGE}: {fetched} fetches in {seconds(watched)} of requests"
    run.open("jwt-cache-control", text)
    issuer.publish("second")
    since = time.monotonic()
    while run.where.ask(guarded, token=first).accepted is not False:
        waited = time.monotonic() - since
        if run.seconds_left() <= 0:
            run.open("jwt-cache-control", f"{text}; a withdrawn key is accepted for more than {seconds(waited)}")
            return
        yield 15
    waited = time.monotonic() - since
    text += f"; a withdrawn key was refused after {seconds(waited)}"
    run.settles(waited <= 2 * 3600 + 60, "jwt-cache-control", text, seconds=round(waited), fetches=fetched)


def until(run, url, token, longest):
    since = time.monotonic()
    while not run.where.ask(url, token=token).accepted:
        if time.monotonic() - since > longest:
            raise TimeoutError(f"the authorizer takes no token within {seconds(longest)}")
        yield 2


def build(run):
    """The API and its public routes: `(id, URL)`."""
    gateway, name = run.where.client("apigatewayv2"), run.named("tokens")
    made = gateway.create_api(Name=name, ProtocolType="HTTP", Tags=run.tags())
    api = made["ApiId"]
    run.note_made("HTTP API", f"{name} ({api})")
    source = f"arn:{run.where.partition}:execute-api:{run.where.region}:{run.where.account}:{api}/*"
    run.where.client("lambda").add_permission(
        FunctionName=run.function,
        StatementId="http-api",
        Action="lambda:InvokeFunction",
        Principal="apigateway.amazonaws.com",
        SourceArn=source,
    )
    integration = gateway.create_integration(
        ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=run.function, PayloadFormatVersion="2.0"
    )["IntegrationId"]
    gateway.create_route(ApiId=api, RouteKey="GET /issuer/{proxy+}", Target=f"integrations/{integration}")
    gateway.create_stage(ApiId=api, StageName="$default", AutoDeploy=True, Tags=run.tags())
    return (api, integration), made["ApiEndpoint"]


def guard(run, api, issuer):
    """A route that asks for a token of the issuer, which must answer before AWS takes it as one."""
    gateway = run.where.client("apigatewayv2")
    (api, integration), since = api, time.monotonic()
    while True:
        try:
            made = gateway.create_authorizer(
                ApiId=api,
                Name="tokens",
                AuthorizerType="JWT",
                IdentitySource=["$request.header.Authorization"],
                JwtConfiguration={"Issuer": issuer.url, "Audience": [AUDIENCE]},
            )["AuthorizerId"]
            break
        except ClientError as error:
            if code_of(error) != "BadRequestException" or time.monotonic() - since > 180:
                raise
        yield 5
    gateway.create_route(
        ApiId=api,
        RouteKey="GET /guarded",
        AuthorizationType="JWT",
        AuthorizerId=made,
        Target=f"integrations/{integration}",
    )


def rsa_numbers(der):
    """Modulus and exponent of a SubjectPublicKeyInfo (RFC 5280) that holds an RSA key (RFC 8017)."""

    def element(at):
        length, at = der[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        return at, at + length

    outer, _ = element(0)
    _, after_algorithm = element(outer)
    bits, _ = element(after_algorithm)
    # The first byte of a bit string tells how many bits of its last are unused: none.
    pair, _ = element(bits + 1)
    begin, end = element(pair)
    modulus = int.from_bytes(der[begin:end], "big")
    begin, end = element(end)
    return modulus, int.from_bytes(der[begin:end], "big")


def number(value):
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def encoded(members):
    return base64url(json.dumps(members, separators=(",", ":")).encode())


def base64url(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


AUTHORIZER = Experiment("authorizer", ("jwt-refetch", "jwt-cache-control"), ("aws", "function"), authorizer)
