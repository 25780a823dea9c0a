"""Where a run takes place: the account and Region, its AWS clients, and requests to a stage as callers send them.

Nothing here knows of any fact.
"""

import dataclasses
import os
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.config
import botocore.exceptions
import botocore.parsers

AGENT = "rotator-live-probe"
# A call that this AWS does not model, by the codes that emulators answer with.
NOT_MODELLED = {
    "InternalFailure",
    "InvalidAction",
    "NotImplemented",
    "NotImplementedException",
    "UnknownOperation",
    "UnknownOperationException",
    "UnsupportedOperation",
    "404",
    "405",
    "501",
}
DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "OptInRequired",
    "SubscriptionRequiredException",
    "UnauthorizedException",
    "UnauthorizedOperation",
}


class Elsewhere(Exception):
    """A fact can't be settled here; the message says why."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a stage answered; status 0: nobody did."""

    status: int
    error_type: str = ""

    @property
    def accepted(self):
        """True, False, or None if it tells nothing about the key."""
        if self.status == 200:
            return True
        return False if self.status in (401, 403) else None

    def __str__(self):
        return f"{self.status} {self.error_type}".strip()


class Place:
    """An account and Region."""

    def __init__(self, region=None, profile=None, endpoint_url=None, execute_api=None):
        self.session = boto3.session.Session(region_name=region, profile_name=profile)
        self.region = self.session.region_name
        self.endpoint_url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL") or None
        default = f"https://{{api}}.execute-api.{{region}}.{self._suffix()}"
        self.execute_api = execute_api or os.environ.get("ROTATOR_EXECUTE_API") or default
        self._clients = {}
        self.account = self.arn = None

    def find_out(self):
        """Who calls. The first call of a run: it shows whether there is an AWS at all."""
        who = self.client("sts").get_caller_identity()
        self.account, self.arn = who["Account"], who["Arn"]

    @property
    def is_aws(self):
        """Whether this is Amazon's own, as far as names can tell."""
        if not self.endpoint_url:
            return True
        host = urllib.parse.urlsplit(self.endpoint_url).hostname or ""
        return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))

    @property
    def partition(self):
        return self.arn.split(":")[1] if self.arn else "aws"

    @property
    def root(self):
        """The account itself, as policies name it."""
        return f"arn:{self.partition}:iam::{self.account}:root"

    def name(self):
        """As a person would say it."""
        where = self.region if self.is_aws else f"{self.region} at {self.endpoint_url}"
        return f"account {self.account}, {where}"

    def client(self, service, region=None):
        """A client of a service. What is throttled is repeated: a call is measured from its answer on."""
        key = (service, region or self.region)
        if key not in self._clients:
            config = botocore.config.Config(
                retries={"mode": "standard", "total_max_attempts": 8},
                user_agent_extra=AGENT,
                connect_timeout=10,
                read_timeout=30,
            )
            self._clients[key] = self.session.client(
                service, region_name=key[1], endpoint_url=self.endpoint_url, config=config
            )
        return self._clients[key]

    def client_of(self, service, credentials):
        """A client with the credentials that `AssumeRole` gave."""
        return boto3.client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials["SessionToken"],
        )

    def url(self, api, stage, path):
        """Where a stage's method answers."""
        base = self.execute_api.replace("{api}", api).replace("{region}", self.region)
        return f"{base}/{stage}/{path}"

    def ask(self, url, key=None, agent=AGENT, token=None):
        """One GET on a connection of its own. Redirects are not followed: a key must not be carried elsewhere."""
        headers = {"user-agent": agent}
        if key is not None:
            headers["x-api-key"] = key
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        request = urllib.request.Request(url, headers=headers)
        try:
            with _OPENER.open(request, timeout=10) as answer:
                return Answer(answer.status)
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, refused.headers.get("x-amzn-errortype", "").split(":")[0])
        except (OSError, ValueError):
            return Answer(0)

    def why_not_here(self, error):
        """A reason, if that error means that this place can't settle the matter; otherwise `None`."""
        if isinstance(error, Elsewhere):
            return str(error)
        if isinstance(error, botocore.exceptions.ClientError):
            code, call = code_of(error), error.operation_name
            if code in DENIED:
                return f"the caller may not {call}"
            status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
            if not self.is_aws and (code in NOT_MODELLED or status == "501" or "not model" in message_of(error)):
                return f"this AWS has no {call}"
            return None
        if isinstance(error, botocore.exceptions.EndpointConnectionError):
            return "the service does not answer in this Region"
        if isinstance(error, (botocore.exceptions.UnknownServiceError, botocore.exceptions.UnknownRegionError)):
            return str(error)
        if isinstance(error, botocore.parsers.ResponseParserError) and not self.is_aws:
            return "this AWS does not model the call"
        return None

    def _suffix(self):
        return "amazonaws.com.cn" if (self.region or "").startswith("cn-") else "amazonaws.com"


def code_of(error):
    """A ClientError's code."""
    return error.response.get("Error", {}).get("Code", "")


def message_of(error):
    """A ClientError's message."""
    return error.response.get("Error", {}).get("Message") or ""


def described(error):
    """An error for people, in one line, without what a request held."""
    if isinstance(error, botocore.exceptions.ClientError):
        return f"{error.operation_name}: {code_of(error)}: {message_of(error)}"
    return f"{type(error).__name__}: {error}"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)
