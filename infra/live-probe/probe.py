#!/usr/bin/env python3
"""Settles, in a sandbox account, what AWS's documentation leaves open and the rotation service has to assume.

Creates what it needs, asks AWS, removes all of it again, and prints a table (documented, assumed, seen) and the
settings that follow. Run it once in each Region that you deploy to. Needs Python 3.10 and boto3.
"""

import argparse
import contextlib
import re
import signal
import sys

sys.dont_write_bytecode = True

from botocore.exceptions import BotoCoreError, ClientError

import api_keys
import facts
import hosting
import jwt_authorizer
import kms_keys
import lookups
import quotas
import report
import resources
import rotations
import trail
import usage
from place import Place, described
from session import RUN_ID, Run, begin, close, drive, missing

# Those that measure by the second come first. The rest waits for what AWS tells late.
EXPERIMENTS = (
    lookups.ENDPOINT_SERVICES,
    lookups.CONFIG_TYPE,
    api_keys.ANSWERS,
    rotations.PREFLIGHT,
    rotations.RETRIES,
    rotations.WITHOUT_RULES,
    rotations.LABELS,
    api_keys.DELAYS,
    kms_keys.KEYS,
    kms_keys.NEW_POLICY,
    usage.USAGE,
    usage.MEMORY,
    quotas.QUOTAS,
    trail.ACCESS_LOG,
    rotations.LABEL_EVENTS,
    rotations.REPLICA,
    jwt_authorizer.AUTHORIZER,
    trail.VALUES,
)
DONE, FAILED, BAD_USAGE, LOOK, STOPPED = 0, 1, 2, 3, 130


def main(arguments=None):
    options = parsed(arguments)
    if options.facts:
        print(facts.markdown())
        return DONE
    where = Place(options.region, options.profile, options.endpoint_url, options.execute_api)
    if not where.region:
        return bad_usage("there is no Region: name one with --region, or set AWS_REGION")
    try:
        where.find_out()
    except (ClientError, BotoCoreError) as error:
        print(f"could not find out who calls ({described(error)})", file=sys.stderr)
        return FAILED
    if options.clean:
        return clean(Run(where, options, options.clean))
    run = Run(where, options)
    planned = [experiment for experiment in EXPERIMENTS if not missing(run, experiment, before=True)]
    print(resources.plan_page(run, {experiment.name for experiment in planned}), file=sys.stderr)
    if not options.yes_this_is_a_sandbox:
        return bad_usage("nothing was done: if this account is a sandbox, say so with --yes-this-is-a-sandbox")
    return probe(run, {need for experiment in planned for need in experiment.needs})


def probe(run, needed):
    """Sets up, asks, removes, tells."""
    for polite in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # `nohup` means that a closed terminal is no reason to end. Ctrl-C is one, whoever started this.
        if polite is signal.SIGINT or signal.getsignal(polite) is not signal.SIG_IGN:
            signal.signal(polite, stop)
    run.say(f"run {run.id}; if it should die, remove what is left with: --clean {run.id}")
    ended = ""
    try:
        with hosted(run):
            resources.set_up(run, needed)
            drive(run, begin(run, EXPERIMENTS))
    except KeyboardInterrupt:
        ended = "stopped before it was seen"
    except Exception as error:  # whatever it is, what was made must go
        run.say(f"failed: {described(error)}")
        ended = f"the run failed before: {described(error)}"
    close(run, ended or "the run ended without it")
    removal = remove(run)
    print(report.printed(run, removal, run.options.output))
    if removal.left:
        return FAILED
    if ended:
        return STOPPED if ended.startswith("stopped") else FAILED
    return LOOK if any(row.verdict == "differs" for row in run.rows.values()) else DONE


def hosted(run):
    """This process as the function, if it is to be that."""
    port = run.options.serve_function
    if not port:
        return contextlib.nullcontext()
    return hosting.Host(port, run.named("function"), run.where.client("secretsmanager"))


def remove(run):
    """Takes everything away. Asked to stop once more, it says how to go on and ends."""
    run.say("removing; to stop again leaves things behind")
    removal = resources.Removal(run)
    try:
        removal.everything()
    except KeyboardInterrupt:
        removal.left.append({"kind": "run", "name": run.id, "why": "stopped while it was removed"})
    run.say(removal.tell())
    return removal


def clean(run):
    """Removes what an earlier run left."""
    removal = remove(run)
    return FAILED if removal.left else DONE


def stop(*_):
    """A polite end of the process is Ctrl-C."""
    raise KeyboardInterrupt


def bad_usage(why):
    print(f"\n{why}", file=sys.stderr)
    return BAD_USAGE


def parsed(arguments):
    names = [experiment.name for experiment in EXPERIMENTS]
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit codes: 0 done; 1 failed, or something is left; 2 bad usage, or no consent; 3 something is not as "
        "assumed; 130 stopped.",
    )
    add = parser.add_argument
    add("--yes-this-is-a-sandbox", action="store_true", help="without it, it says what it would do and does nothing")
    add("--clean", metavar="RUN", type=run_id, help="remove what that run left, and do nothing else")
    add("--facts", action="store_true", help="print the list of facts as Markdown, and do nothing else")
    add("--region", help="instead of the one that is configured")
    add("--profile", help="the profile of the AWS configuration")
    add("--endpoint-url", metavar="URL", help="another AWS, for instance `rotator local`'s; default AWS_ENDPOINT_URL")
    add("--execute-api", metavar="URL", help="where APIs answer, with {api} in it; default ROTATOR_EXECUTE_API")
    add("--wait", metavar="MINUTES", type=positive, default=90.0, help="how long to wait for what is told late (90)")
    add("--calm", metavar="SECONDS", type=positive, default=60.0, help="how long a change must stand (60)")
    add("--rounds", metavar="N", type=count, default=3, help="how often each delay of a key is measured (3)")
    add("--replica-region", metavar="REGION", help="replicate a secret to there, to see how far it lags")
    add("--account-log-role", action="store_true", help="let API Gateway write logs while the run lasts, if it may not")
    add("--plan-with-history", metavar="ID", help="a usage plan in use for weeks: what its figures tell; read only")
    add("--probe", metavar="API/STAGE/PATH", type=probed, help="an API of yours, for an AWS that makes none")
    add("--usage-plan", metavar="ID", help="with --probe: a plan with a quota that opens that stage")
    add(
        "--plan-without-quota", metavar="ID", help="with --probe: a plan without a quota that opens a stage of that API"
    )
    add("--rotation-function", metavar="ARN", help="a deployed rotation_function.py, if you may not make functions")
    add("--serve-function", metavar="PORT", type=int, help="be the function, on this port of 127.0.0.1")
    add("--only", metavar="EXPERIMENT", action="append", default=[], choices=names, help=f"one of {', '.join(names)}")
    add("--skip", metavar="EXPERIMENT", action="append", default=[], choices=names, help="the same, left out")
    add("--output", choices=("text", "json"), default="text", help="what is printed at the end; progress is on stderr")
    options = parser.parse_args(arguments)
    if bool(options.probe) != bool(options.usage_plan):
        parser.error("--probe and --usage-plan belong together: a key must be in a plan that opens the stage")
    if options.plan_without_quota and not options.probe:
        parser.error("--plan-without-quota goes with --probe")
    if options.serve_function and options.rotation_function:
        parser.error("--serve-function and --rotation-function exclude each other")
    return options


def run_id(raw):
    if not RUN_ID.fullmatch(raw):
        raise argparse.ArgumentTypeError("write a run as it was printed, for instance 261122-7f3a2c")
    return raw


def probed(raw):
    if not re.fullmatch(r"[a-z0-9]+/[A-Za-z0-9_-]+/[A-Za-z0-9_.=+:@/-]+", raw):
        raise argparse.ArgumentTypeError("write API/STAGE/PATH, with the API's id first")
    return raw


def count(raw):
    value = int(raw)
    if not 1 <= value <= 20:
        raise argparse.ArgumentTypeError("write a whole number, 1 to 20")
    return value


def positive(raw):
    value = float(raw)
    if not 0 < value <= 24 * 60:
        raise argparse.ArgumentTypeError("write a number greater than 0 and at most 1440")
    return value


if __name__ == "__main__":
    sys.exit(main())
