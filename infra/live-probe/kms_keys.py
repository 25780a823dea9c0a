"""KMS: how long it takes until what was done to a key is so, and is told."""

import json
import time

from botocore.exceptions import ClientError

from place import Elsewhere, code_of
from resources import make_role
from session import Experiment, seconds

LONGEST = 15 * 60
# As the service trusts a look-up that finds nothing.
TRUSTED = 5 * 60
SLACK = 15 * 60
SPECS = {"ECC_NIST_EDWARDS25519": "ED25519_SHA_512", "ECC_NIST_P256": "ECDSA_SHA_256"}
REFUSED = {"AccessDeniedException", "DisabledException", "KMSInvalidStateException"}


def create(run, spec, **more):
    """A signing key of this run; answers its metadata."""
    kms = run.where.client("kms")
    made = kms.create_key(
        KeySpec=spec,
        KeyUsage="SIGN_VERIFY",
        Description=run.named("key"),
        Tags=run.tag_list("TagKey", "TagValue"),
        **more,
    )["KeyMetadata"]
    run.note_made("KMS key", made["KeyId"])
    return made


def keys(run):
    """One key, from its creation to the last that is told of it."""
    kms = run.where.client("kms")
    made, spec = None, "ECC_NIST_EDWARDS25519"
    try:
        made = create(run, spec)
        run.holds("kms-ed25519", "yes", there=True)
    except ClientError as error:
        if code_of(error) not in ("UnsupportedOperationException", "ValidationException"):
            raise
        run.settles(
            code_of(error) == "UnsupportedOperationException", "kms-ed25519", f"no: {code_of(error)}", there=False
        )
    if made is None:
        spec = "ECC_NIST_P256"
        made = create(run, spec)
    key, since = made["KeyId"], time.monotonic()
    yield from until_listed(run, kms, key, since)

    def signs():
        try:
            kms.sign(KeyId=key, Message=b"live probe", MessageType="RAW", SigningAlgorithm=SPECS[spec])
            return True
        except ClientError as error:
            if code_of(error) in REFUSED:
                return False
            raise

    yield from until_signs(signs)
    yield from change_policy(run, kms, key, signs)
    signed_at = time.time()
    yield from until_signs(signs)
    kms.disable_key(KeyId=key)
    yield from refused(run, "kms-disabled", signs, SLACK)
    yield from last_use(run, kms, key, signed_at)


def until_listed(run, kms, key, since):
    """Its id in ListKeys, then its tags."""
    listed = None
    longest = run.at_most(LONGEST)
    while time.monotonic() - since < longest:
        if listed is None and any(item["KeyId"] == key for item in all_keys(kms)):
            listed = time.monotonic() - since
        if listed is not None and has_tags(run, kms, key):
            tagged = time.monotonic() - since
            text = f"listed after {seconds(listed)}, with its tags after {seconds(tagged)}"
            run.settles(tagged <= TRUSTED, "kms-listed", text, seconds=round(tagged, 1))
            return
        yield 0.5
    run.differs("kms-listed", f"not within {seconds(longest)}" if listed is None else "listed, but without its tags")


def all_keys(kms):
    return [item for page in kms.get_paginator("list_keys").paginate() for item in page["Keys"]]


def has_tags(run, kms, key):
    told = {tag["TagKey"]: tag["TagValue"] for tag in kms.list_resource_tags(KeyId=key)["Tags"]}
    return run.tags().items() <= told.items()


def until_signs(signs):
    """Waits until the key signs."""
    since = time.monotonic()
    while not signs():
        if time.monotonic() - since > LONGEST:
            raise Elsewhere("the caller may not sign with the key that it made")
        yield 1


def change_policy(run, kms, key, signs):
    """A policy that denies signing, and the old one back."""
    if not run.where.is_aws:
        run.elsewhere("kms-policy", "only Amazon's own AWS can show it: others keep policies and don't enforce them")
        return
    allow = {"Effect": "Allow", "Principal": {"AWS": run.where.root}, "Action": "kms:*", "Resource": "*"}
    deny = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "kms:Sign", "Resource": "*"}
    put = lambda *statements: kms.put_key_policy(
        KeyId=key, PolicyName="default", Policy=json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    )
    put(allow, deny)
    yield from refused(run, "kms-policy", signs, LONGEST)
    put(allow)
    yield from until_signs(signs)


def refused(run, name, signs, allowed):
    """Signs until that is refused for a while."""
    since, first, last, longest = time.monotonic(), None, 0.0, run.at_most(LONGEST)
    while True:
        at = time.monotonic() - since
        if signs():
            last = at
        elif first is None:
            first = at
        if first is not None and at - max(first, last) >= run.options.calm:
            break
        if at > longest:
            break
        yield 0.5
    if first is None:
        (run.differs if longest == LONGEST else run.open)(name, f"it still signs after {seconds(longest)}")
        return
    text = f"first refused after {seconds(first)}"
    if last > first:
        text += f", signed for the last time after {seconds(last)}"
    run.settles(max(first, last) <= allowed, name, text, seconds=round(max(first, last), 1))


def last_use(run, kms, key, signed_at):
    """How late the last signature is told."""
    if not hasattr(kms, "get_key_last_usage"):
        run.elsewhere("kms-last-use", "this boto3 does not know GetKeyLastUsage: install a newer one")
        return
    while True:
        told = kms.get_key_last_usage(KeyId=key).get("KeyLastUsage", {}).get("Timestamp")
        waited = time.time() - signed_at
        # KMS tells whole seconds.
        if told is not None and told.timestamp() >= int(signed_at):
            as_assumed = waited <= 3600 + 300
            run.settles(as_assumed, "kms-last-use", f"told after {seconds(waited)}", seconds=round(waited, 1))
            return
        if run.seconds_left() <= 0:
            run.open("kms-last-use", f"not told {seconds(waited)} after the last signature")
            return
        yield 30


def new_policy(run):
    """A key whose policy lets a role sign that may nothing else, and how soon it does."""
    trust = {"Effect": "Allow", "Principal": {"AWS": run.where.root}, "Action": "sts:AssumeRole"}
    role = make_role(run, "signer", {"Version": "2012-10-17", "Statement": [trust]})
    assume = lambda: run.where.client("sts").assume_role(RoleArn=role, RoleSessionName="live-probe")["Credentials"]
    credentials = yield from patiently(assume, "AccessDenied")
    signer = run.where.client_of("kms", credentials)
    allow = {"Effect": "Allow", "Principal": {"AWS": run.where.root}, "Action": "kms:*", "Resource": "*"}
    may = {"Effect": "Allow", "Principal": {"AWS": role}, "Action": "kms:Sign", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow, may]})
    spec = "ECC_NIST_P256"
    made = yield from patiently(lambda: create(run, spec, Policy=policy), "MalformedPolicyDocumentException")
    key, since, longest = made["KeyId"], time.monotonic(), run.at_most(LONGEST)
    while True:
        waited = time.monotonic() - since
        try:
            signer.sign(KeyId=key, Message=b"live probe", MessageType="RAW", SigningAlgorithm=SPECS[spec])
            break
        except ClientError as error:
            if code_of(error) not in REFUSED | {"NotFoundException"}:
                raise
        if waited > longest:
            (run.differs if longest == LONGEST else run.open)("kms-new-policy", f"not within {seconds(longest)}")
            return
        yield 0.5
    run.holds("kms-new-policy", f"after {seconds(waited)}", seconds=round(waited, 1))


def patiently(call, not_yet, longest=120):
    """Makes a call until a role that was just made is known to it."""
    since = time.monotonic()
    while True:
        try:
            return call()
        except ClientError as error:
            if code_of(error) != not_yet or time.monotonic() - since > longest:
                raise
        yield 3


NEW_POLICY = Experiment("kms-role", ("kms-new-policy",), ("aws",), new_policy)
KEYS = Experiment("kms", ("kms-ed25519", "kms-listed", "kms-policy", "kms-disabled", "kms-last-use"), (), keys)
