"""The function that the live probe puts into AWS: it rotates a throw-away secret and keeps a journal in its tags.

Three more things than rotating: it fails in the steps that the tag `live-probe:fail` names, it notes what it was called
with and what it found, and for the test of a JWT authorizer it serves the key set that a secret holds. Nothing it
writes down is a secret value. Needs the Lambda runtime's own boto3 and nothing else.
"""

import json
import os
import time
import uuid

JOURNAL = "live-probe:journal:"
FAIL = "live-probe:fail"
# A secret has 50 tags at most.
MOST_ENTRIES = 44


def handler(event, _context):
    """What Lambda calls."""
    import boto3

    client = boto3.client("secretsmanager")
    if "Step" in event:
        return rotate(event, client)
    return serve(event, client)


def rotate(event, client):
    """One step of a rotation, as Secrets Manager asks for it."""
    secret, token, step = event["SecretId"], event["ClientRequestToken"], event["Step"]
    described = client.describe_secret(SecretId=secret)
    tags = {tag["Key"]: tag["Value"] for tag in described.get("Tags", [])}
    labels = described.get("VersionIdsToStages", {})
    held = what_is_held(client, secret, token)
    note(client, secret, tags, [step, token, held, *labels.get(token, [])])
    if step in tags.get(FAIL, "").split():
        raise RuntimeError(f"told to fail in {step}")
    if step == "createSecret" and held != "current" and held != "other":
        put(client, event, secret, token)
    if step == "finishSecret":
        current = next(version for version, on in labels.items() if "AWSCURRENT" in on)
        if current != token:
            client.update_secret_version_stage(
                SecretId=secret, VersionStage="AWSCURRENT", MoveToVersionId=token, RemoveFromVersionId=current
            )
    return None


def what_is_held(client, secret, version):
    """Of the pending version: `current` for the current value, `other` for another one, or the error of reading it."""
    try:
        value = client.get_secret_value(SecretId=secret, VersionId=version)["SecretString"]
    except Exception as error:  # whichever it is, it is what is to be found out
        return getattr(error, "response", {}).get("Error", {}).get("Code") or type(error).__name__
    current = client.get_secret_value(SecretId=secret, VersionStage="AWSCURRENT")["SecretString"]
    return "current" if value == current else "other"


def put(client, event, secret, token):
    """A new value, which nobody uses."""
    arguments = {
        "SecretId": secret,
        "ClientRequestToken": token,
        "SecretString": json.dumps({"live-probe": uuid.uuid4().hex}),
        "VersionStages": ["AWSPENDING"],
    }
    known = client.meta.service_model.operation_model("PutSecretValue").input_shape.members
    if "RotationToken" in known and event.get("RotationToken"):
        arguments["RotationToken"] = event["RotationToken"]
    client.put_secret_value(**arguments)


def serve(event, client):
    """An HTTP API's request (payload format 2.0): discovery, the key set, or whatever else is behind an authorizer."""
    path = event.get("rawPath", "")
    issuer = f"https://{event['requestContext']['domainName']}/issuer"
    if path == "/issuer/.well-known/openid-configuration":
        return answer({"issuer": issuer, "jwks_uri": f"{issuer}/jwks"})
    if path == "/issuer/jwks":
        secret = os.environ["KEY_SET_SECRET"]
        tags = {tag["Key"]: tag["Value"] for tag in client.describe_secret(SecretId=secret).get("Tags", [])}
        note(client, secret, tags, ["jwks"])
        return answer(json.loads(client.get_secret_value(SecretId=secret)["SecretString"]), "max-age=60")
    return answer({"ok": True})


def answer(body, cache="no-store"):
    headers = {"content-type": "application/json", "cache-control": cache}
    return {"statusCode": 200, "headers": headers, "body": json.dumps(body)}


def note(client, secret, tags, words):
    """An entry of the journal, by the time at which it was made."""
    if sum(key.startswith(JOURNAL) for key in tags) < MOST_ENTRIES:
        entry = {"Key": f"{JOURNAL}{time.time_ns() // 1_000_000}", "Value": " ".join(words)[:256]}
        client.tag_resource(SecretId=secret, Tags=[entry])


def entries(described):
    """The journal in what DescribeSecret tells, oldest first: `(seconds since 1970, words)`."""
    found = []
    for tag in described.get("Tags", []):
        if tag["Key"].startswith(JOURNAL):
            found.append((int(tag["Key"][len(JOURNAL) :]) / 1000, tag["Value"].split()))
    return sorted(found)
