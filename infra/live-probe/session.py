"""One run: what it is called, what it knows, what it has seen, and how its experiments take turns.

An experiment is a generator: it yields for how many seconds it has nothing to do. All of them run in one thread, so
that Ctrl-C finds them between two calls, and none is hurried by another.
"""

import dataclasses
import datetime
import heapq
import itertools
import re
import secrets
import sys
import time

import facts
import place as places

RUN_ID = re.compile(r"[0-9]{6}-[0-9a-f]{6}")
RUN_TAG = "live-probe:run"
# Told anew with every request: only a change of its verdict is news.
CHATTY = {"several-requests"}


@dataclasses.dataclass
class Row:
    """What was seen of a fact. `holds`: as the service assumes. `differs`: not so, and somebody has to look. `open`:
    looked for, and not seen in time. `not here`: this place, or this run, can't settle it."""

    verdict: str
    seen: str
    figures: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Stage:
    """A method that asks for an API key, and the usage plans that open it."""

    api: str
    stage: str
    path: str
    plan: str
    # A plan without a quota, and the stage that it opens.
    free_plan: str = ""
    free_stage: str = ""
    made: bool = True


class Run:
    """Everything that experiments share."""

    def __init__(self, where, options, run_id=None):
        self.id = run_id or new_id()
        self.where = where
        self.options = options
        self.prefix = f"live-probe-{self.id}"
        self.rows = {}
        self.made = []
        self.begun = time.monotonic()
        self.begun_at = datetime.datetime.now(datetime.timezone.utc)
        self.stage = self.function = None
        # Why there is none.
        self.no_stage = self.no_function = "it was not set up"
        self._values = set()

    # ---- names ----

    def named(self, what):
        """A resource's name."""
        return f"{self.prefix}-{what}"

    def secret(self, what):
        """A secret's name."""
        return f"live-probe/{self.id}/{what}"

    def tags(self):
        """The tags of everything that can have any."""
        return {RUN_TAG: self.id, "live-probe:may-be-deleted": "yes"}

    def tag_list(self, key="Key", value="Value"):
        """The same as the list that most services want."""
        return [{key: name, value: text} for name, text in self.tags().items()]

    def new_value(self):
        """A value for an API key, of the kind that the service draws. It is never shown."""
        return self.hide("lp" + secrets.token_hex(20))

    def hide(self, value):
        """Keeps a value out of everything that is printed."""
        self._values.add(value)
        return value

    def is_hidden_in(self, text):
        """Whether one of the values is in that text."""
        return any(value in text for value in self._values)

    def harmless(self, text):
        """That text without values."""
        for value in self._values:
            text = text.replace(value, "(a value)")
        return text

    # ---- what is seen ----

    def holds(self, name, seen, **figures):
        self._settle(name, "holds", seen, figures)

    def differs(self, name, seen, **figures):
        self._settle(name, "differs", seen, figures)

    def open(self, name, seen, **figures):
        self._settle(name, "open", seen, figures)

    def elsewhere(self, name, why):
        self._settle(name, "not here", why, {})

    def settles(self, as_assumed, name, seen, **figures):
        """`holds` or `differs`."""
        self._settle(name, "holds" if as_assumed else "differs", seen, figures)

    def _settle(self, name, verdict, seen, figures):
        assert name in facts.NAMES, name
        before, row = self.rows.get(name), Row(verdict, self.harmless(seen), figures)
        self.rows[name] = row
        if before is None or before.verdict != verdict or (before.seen != row.seen and name not in CHATTY):
            self.say(f"{name}: {verdict}: {row.seen}")

    def say(self, text):
        """Progress, for whoever watches."""
        moment = datetime.datetime.now().strftime("%H:%M:%S")
        print(f"{moment}  {self.harmless(text)}", file=sys.stderr, flush=True)

    def note_made(self, kind, name):
        """Something exists from now on."""
        self.made.append({"kind": kind, "name": name})
        self.say(f"created {kind} {name}")

    # ---- time ----

    def seconds_left(self):
        """Of the time in which experiments may wait."""
        return self.begun + self.options.wait * 60 - time.monotonic()

    def at_most(self, limit):
        """That many seconds, or what is left of the run; a minute in any case."""
        return min(limit, max(60, self.seconds_left()))


def new_id():
    """Its day, and something that no other run has."""
    return f"{datetime.datetime.now(datetime.timezone.utc):%y%m%d}-{secrets.token_hex(3)}"


@dataclasses.dataclass
class Experiment:
    """A generator function, and the facts that it settles."""

    name: str
    facts: tuple
    # Of "stage", "function", "aws": what it can't do without.
    needs: tuple
    start: object


def begin(run, experiments):
    """Those that can be begun here, as generators; the facts of the others are told why not."""
    begun = []
    for experiment in experiments:
        why = missing(run, experiment)
        if why:
            for fact in experiment.facts:
                run.rows[fact] = Row("not here", why)
            run.say(f"{experiment.name}: not here: {why}")
        else:
            begun.append((experiment, experiment.start(run)))
    return begun


def missing(run, experiment, before=False):
    """Why an experiment can't be made here; empty if it can. `before` anything is set up, less is known."""
    options = run.options
    if experiment.name in options.skip or (options.only and experiment.name not in options.only):
        return "left out of this run"
    if "aws" in experiment.needs and not run.where.is_aws:
        return "only Amazon's own AWS can show it"
    if before:
        return ""
    if "stage" in experiment.needs and run.stage is None:
        return run.no_stage
    if "function" in experiment.needs and run.function is None:
        return run.no_function
    return ""


def drive(run, begun):
    """Lets experiments take turns until all are through."""
    order = itertools.count()
    waiting = [(time.monotonic(), next(order), experiment, steps) for experiment, steps in begun]
    heapq.heapify(waiting)
    while waiting:
        due, _, experiment, steps = heapq.heappop(waiting)
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            pause = next(steps)
        except StopIteration:
            conclude(run, experiment, "the experiment ended without it")
        except Exception as error:  # one experiment's failure must not end the others
            why = run.where.why_not_here(error)
            if why is None:
                run.say(f"{experiment.name} failed: {places.described(error)}")
            conclude(run, experiment, why or f"failed: {places.described(error)}", elsewhere=why is not None)
        else:
            # Nobody sleeps past the end: it is time for a last look.
            if run.seconds_left() > 0:
                pause = min(pause, run.seconds_left() + 0.1)
            heapq.heappush(waiting, (time.monotonic() + pause, next(order), experiment, steps))


def conclude(run, experiment, why, elsewhere=False):
    """Whatever that experiment has not told anything of is told so."""
    for fact in experiment.facts:
        if fact not in run.rows:
            (run.elsewhere if elsewhere else run.open)(fact, why)


def close(run, why):
    """The same for all that is left, when a run ends early."""
    for name in facts.NAMES:
        if name not in run.rows:
            run.rows[name] = Row("open", why)


def seconds(value):
    """A time for people."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min"
