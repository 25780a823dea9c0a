"""What AWS's documentation leaves open and this service meets: what is documented, what the service assumes.

Nothing here is measured: that is what the other files are for. `readme` is the row of the list "What is not verified
against live AWS" in this project's README.md that a fact settles; a test holds the two lists together.
"""

import dataclasses

AWS = "https://docs.aws.amazon.com/"
GUIDE = AWS + "apigateway/latest/developerguide/"
API = AWS + "apigateway/latest/api/"
SECRETS = AWS + "secretsmanager/latest/userguide/"
KMS = AWS + "kms/latest/"

DELAYS = "How long a new, attached, disabled or deleted key takes to reach a stage"
RETRY = "Whether Secrets Manager retries a failed rotation with the same token, and how often"
USAGE = "How far `GetUsage` lags, how long it remembers, and whether an old key's quota carries over exactly"
IN_FORCE = "How long `DisableKey` and a key policy take to be in force everywhere"
NEW_KMS_KEY = "How long a new KMS key takes to show up in `ListKeys` and its tags"
PERIODS = "At which hour a quota's period begins, and on which day with an `offset`"
AUTHORIZER = (
    "Whether API Gateway's JWT authorizer fetches a key set again on an unknown `kid`, and which `Cache-Control` it "
    "honours"
)


@dataclasses.dataclass(frozen=True)
class Fact:
    """One thing to settle."""

    name: str
    question: str
    documented: str
    source: str
    assumed: str
    readme: str = ""


FACTS = [
    # ---- API keys and their stages ----
    Fact(
        "key-new",
        "How long does a key that was just created and attached take to be accepted?",
        "Adding a key to a usage plan may take a few minutes; of creating it nothing is said",
        GUIDE + "api-gateway-create-usage-plans.html",
        "Any time: the stage itself is asked until it knows the key, within the function's timeout, and again later",
        DELAYS,
    ),
    Fact(
        "key-attached",
        "How long does a key that was there already take to be accepted once it is attached?",
        "May take a few minutes",
        GUIDE + "api-gateway-create-usage-plans.html",
        "Any time: as for a new key",
        DELAYS,
    ),
    Fact(
        "key-disabled",
        "How long is a key accepted after it was disabled?",
        "Nothing is said",
        API + "API_UpdateApiKey.html",
        "Any time: a request must be refused before a key counts as refused; 5 minutes until that was seen once",
        DELAYS,
    ),
    Fact(
        "key-enabled",
        "How long does a key take to be accepted once it is enabled again?",
        "Nothing is said",
        API + "API_UpdateApiKey.html",
        "Any time: after a brownout, and in a rollback, it is proved like a new one",
        DELAYS,
    ),
    Fact(
        "key-deleted",
        "How long is a key accepted after it was deleted?",
        "Nothing is said",
        API + "API_DeleteApiKey.html",
        "Nobody notices: it was disabled for its whole soak before",
        DELAYS,
    ),
    Fact(
        "several-requests",
        "Once requests get through, do others still meet a server that does not know?",
        "Nothing is said",
        GUIDE + "api-gateway-create-usage-plans.html",
        "Three in a row, each on a new connection, prove a key; one refusal proves that it is refused",
        "Whether several requests that get through mean that all of a stage's servers know the key",
    ),
    Fact(
        "refusal",
        "How is a key refused that is made up, missing, disabled?",
        "403 (INVALID_API_KEY); the header x-amzn-errortype is not described",
        GUIDE + "supported-gateway-response-types.html",
        "403 with x-amzn-errortype ForbiddenException, which firewalls answer as well: it counts only beside a key "
        "that gets through",
    ),
    Fact(
        "duplicate-value",
        "What does CreateApiKey answer to a value that another key has?",
        "Values must be unique; two keys with one value are considered the same key. CreateApiKey lists "
        "ConflictException (409) without saying for what",
        GUIDE + "api-gateway-api-usage-plans.html",
        "409 ConflictException, and no second key: a lost answer to CreateApiKey is found again by it",
    ),
    Fact(
        "name-query",
        "How does nameQuery of GetApiKeys match?",
        "'The name of queried API keys', and no more",
        API + "API_GetApiKeys.html",
        "At least every key whose name begins with it; names and tags are compared again",
    ),
    Fact(
        "import-overwrites",
        "What does ImportApiKeys overwrite of a key whose value it meets again?",
        "'The most recent version overwriting the previous one'; which members is not said",
        GUIDE + "api-key-file-format.html",
        "The service never imports; `rotator local` keeps id, plans, tags and customer id and overwrites the rest",
    ),
    # ---- usage and quotas ----
    Fact(
        "usage-names",
        "Does GetUsage name a key by its id or by its value?",
        "By value (GetUsage); by id (UpdateUsage)",
        API + "API_GetUsage.html",
        "Either: one key is asked for, and the only answer is its",
        "Whether `GetUsage` names a key by its id or by its value",
    ),
    Fact(
        "usage-lag",
        "How late does GetUsage tell of requests?",
        "Nothing is said",
        API + "API_GetUsage.html",
        "At most ROTATOR_USAGE_LAG, an hour unless set",
        USAGE,
    ),
    Fact(
        "usage-unused",
        "Is a key that nobody used absent from GetUsage, or told with zeros?",
        "An example shows zeros",
        GUIDE + "api-gateway-usage-plan-manage-usage.html",
        "Either: an empty answer is no evidence",
        "Whether a key that nobody used is absent from `GetUsage` or told with zeros",
    ),
    Fact(
        "usage-without-quota",
        "Does GetUsage tell anything of a plan without a quota?",
        "Nothing is said",
        API + "API_GetUsage.html",
        "Either: without figures the owner's policy decides (rotator:no-evidence)",
        "Whether a plan without a quota tells any usage",
    ),
    Fact(
        "usage-carried",
        "Does UpdateUsage set exactly what GetUsage shows then, and when is it enforced?",
        "'Grants a temporary extension to the remaining quota'; best effort",
        API + "API_UpdateUsage.html",
        "Exactly; it is read again after writing, and what was shown is kept as evidence",
        USAGE,
    ),
    Fact(
        "usage-memory",
        "How far back may GetUsage be asked, and how far back does it tell?",
        "Nothing is said",
        API + "API_GetUsage.html",
        "As far as a deactivated key waits; a figure that is missing is not zero",
        USAGE,
    ),
    Fact(
        "weekly-reset",
        "On which day does a weekly quota begin anew?",
        "Nothing is said",
        GUIDE + "api-gateway-api-usage-plans.html",
        "Unknown: a Sunday is counted for itself, too little rather than twice",
        "On which day a weekly quota begins anew",
    ),
    Fact(
        "quota-begins",
        "At which hour does a quota's period begin?",
        "Nothing is said",
        GUIDE + "api-gateway-api-usage-plans.html",
        "A daily one at midnight in UTC; nothing is settled within a day of where a week or a month may begin",
        PERIODS,
    ),
    Fact(
        "quota-offset",
        "On which day does a weekly quota with an offset begin?",
        "'The number of requests subtracted from the given limit in the initial time period'; what AWS refuses says that "
        "it is a day",
        API + "API_QuotaSettings.html",
        "Unknown: with an offset nothing is settled",
        PERIODS,
    ),
    Fact(
        "log-disabled",
        "What has an access log as apiKeyId for a disabled key, and for a made-up one?",
        "'The key ID associated with an API request that requires an API key'",
        GUIDE + "api-gateway-variables-for-access-logging.html",
        "Perhaps nothing: requests refused in a brownout are told as 'at least'",
        "What an access log has as `apiKeyId` for a key that is disabled",
    ),
    Fact(
        "trail-values",
        "Does CloudTrail redact the values of API keys?",
        "All calls are logged; values are not mentioned",
        GUIDE + "cloudtrail.html",
        "It does not: whoever reads the trail counts as a reader of keys",
        "Whether CloudTrail redacts values in `CreateApiKey` and `GetApiKey`",
    ),
    # ---- Secrets Manager ----
    Fact(
        "placeholder",
        "What does the pending version hold before createSecret?",
        "AWSPENDING might be attached to an empty version",
        AWS + "secretsmanager/latest/apireference/API_RotateSecret.html",
        "Nothing: reading it by its id is ResourceNotFoundException",
    ),
    Fact(
        "retry-token",
        "Does a retried rotation carry the same token?",
        "Implied: the pending version stays",
        SECRETS + "rotate-secrets_lambda.html",
        "Either: right with the same token, a new one, and no retry at all",
        RETRY,
    ),
    Fact(
        "retry-count",
        "How often, and after how long, is a failed rotation retried?",
        "Several times within the rotation window; no number, no back-off",
        SECRETS + "rotate-secrets_lambda.html",
        "Perhaps never: retirement finishes what nobody comes back for",
        RETRY,
    ),
    Fact(
        "preflight-value",
        "What does the throw-away version of RotateImmediately=false hold?",
        "testSecret runs on an AWSPENDING version that is removed afterwards; what it holds is not said",
        AWS + "secretsmanager/latest/apireference/API_RotateSecret.html",
        "The current value or none: testSecret passes with both and leaves no trace",
        "What the throw-away version of `RotateImmediately=false` holds",
    ),
    Fact(
        "rotation-without-rules",
        "Does RotateSecret take a function without RotationRules?",
        "RotationRules is not required",
        AWS + "secretsmanager/latest/apireference/API_RotateSecret.html",
        "Yes; where it does not, the error says so, and adopt goes on with a schedule",
        "Whether `RotateSecret` takes a function without `RotationRules` (`adopt --schedule none`)",
    ),
    Fact(
        "pending-label",
        "Does moving AWSCURRENT with UpdateSecretVersionStage take AWSPENDING off another version?",
        "Nothing is said; a value put by hand does it",
        AWS + "secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html",
        "Either: a label that is left behind comes off before the next rotation begins",
        "Whether moving `AWSCURRENT` with `UpdateSecretVersionStage` takes `AWSPENDING` off another version",
    ),
    Fact(
        "label-event",
        "When does the event 'Secret Label Updated' arrive, and is it ever lost or doubled?",
        "Sent when a label moves; times are not said",
        SECRETS + "event-detail-secret-label-updated-secretsmanager.html",
        "Whenever: it only hurries retirement up, which looks every minute anyway",
        'When the event "Secret Label Updated" arrives, and whether it may be lost or doubled',
    ),
    Fact(
        "replica-lag",
        "How far does a replica lag, and may it be told InSync while it has the old value?",
        "'InSync, which indicates that the replica was created'; times are not said",
        AWS + "secretsmanager/latest/apireference/API_DescribeSecret.html",
        "No old key is refused while a replica is not InSync (ReplicaBehind)",
        "How far replicas of a secret lag",
    ),
    # ---- KMS ----
    Fact(
        "kms-ed25519",
        "Does KMS have Ed25519 in this Region?",
        "The key spec exists; Regions are not listed beside it",
        KMS + "developerguide/symm-asymm-choose-key-spec.html",
        "Perhaps not: KMS is asked, and the rotation is held as AlgorithmUnsupported",
        "In which Regions KMS has Ed25519",
    ),
    Fact(
        "kms-listed",
        "How long does a new key take to show up in ListKeys, and with its tags?",
        "Usually seconds, sometimes minutes",
        KMS + "developerguide/accessing-kms.html#programming-eventual-consistency",
        "At most 5 minutes; searched again half a day later",
        NEW_KMS_KEY,
    ),
    Fact(
        "kms-policy",
        "How long does a changed key policy take to be in force?",
        "Usually seconds, sometimes minutes",
        KMS + "developerguide/accessing-kms.html#programming-eventual-consistency",
        "Any time: the new key itself signs before it is promoted",
        IN_FORCE,
    ),
    Fact(
        "kms-new-policy",
        "How soon does the policy that a key was made with let a role use it?",
        "Usually seconds, sometimes minutes",
        KMS + "developerguide/accessing-kms.html#programming-eventual-consistency",
        "Any time: until then the key is waited for, as for one that KMS does not know yet",
        "How soon the policy that a KMS key was made with lets the roles in it use the key",
    ),
    Fact(
        "kms-disabled",
        "How long does a disabled key still sign?",
        "Usually seconds, sometimes minutes",
        KMS + "developerguide/accessing-kms.html#programming-eventual-consistency",
        "Less than rotator:slack, a quarter of an hour unless set; withdrawn is only what left the key set",
        IN_FORCE,
    ),
    Fact(
        "kms-last-use",
        "How late does GetKeyLastUsage tell of a signature?",
        "Up to about an hour",
        KMS + "APIReference/API_GetKeyLastUsage.html",
        "At most ROTATOR_USAGE_LAG, an hour unless set",
        USAGE,
    ),
    # ---- what else AWS does with keys ----
    Fact(
        "jwt-refetch",
        "Does an HTTP API's JWT authorizer fetch the key set again when it meets an unknown kid?",
        "For HTTP APIs nothing is said; for REST APIs: it retrieves the key set again",
        GUIDE + "rest-api-jwt-authorizer-keys.html",
        "No: a key is published for longer than any cache before it signs",
        AUTHORIZER,
    ),
    Fact(
        "jwt-cache-control",
        "Does it honour Cache-Control, and how long does it accept a key that was withdrawn?",
        "HTTP APIs: keys can be cached for two hours; REST APIs: up to one hour, best effort; Cache-Control is not "
        "mentioned",
        GUIDE + "http-api-jwt-authorizer.html",
        "No, and for two hours (rotator:verifier-cache)",
        AUTHORIZER,
    ),
    Fact(
        "endpoints",
        "Which of the interface endpoints that a private network needs are there in this Region?",
        "A list of services, not of Regions",
        AWS + "vpc/latest/privatelink/aws-services-privatelink-support.html",
        "All: the network stack asks for each of them",
    ),
    Fact(
        "config-type",
        "May a Config rule report AWS::ApiGateway::ApiKey, which Config does not record?",
        "Contradictory: any type up to 256 characters; only recorded types are listed",
        AWS + "config/latest/APIReference/API_PutEvaluations.html",
        "Nothing yet: no rule of the service reports to Config",
    ),
]

NAMES = [fact.name for fact in FACTS]


def markdown():
    """The list, as infra/live-probe/README.md shows it."""
    lines = ["| Fact | Question | Documented | Assumed |", "|---|---|---|---|"]
    for fact in FACTS:
        lines.append(f"| `{fact.name}` | {fact.question} | [{fact.documented}]({fact.source}) | {fact.assumed} |")
    return "\n".join(lines)
