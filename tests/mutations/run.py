"""Proves that the tests can fail: takes one safeguard at a time out of the product's code, and sees a test fail for it.

    python3 tests/mutations/run.py [NAME ...]

A test that passes whatever the code does shows nothing. Each patch beside this file removes one safeguard. The test
that the table names for it must fail then, and say what it is to say: that something else broke does not count. Without
a patch the same tests must pass, which is seen first. Many are taken out for one build, because building is most of the
time, and each test runs by itself. One that is not caught beside many is tried again beside few, and then alone.

Works on a copy of the tracked files, as they lie in the work tree, and leaves these alone. Copy and build stay under
target/mutations: the first run builds every dependency, later ones only what changed. Needs the toolchain and Git.
Progress goes to standard error, the result to standard output. Exits with 0 if every mutation was caught, with 1 if one
was not or could not be tried, and with 2 if there is none of that name.

To add one: a line in the table, and NAME.patch, made with `git diff`, with as little in it as removes the safeguard.
"""

import argparse
import contextlib
import dataclasses
import filecmp
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One safeguard less. The patch is NAME.patch."""

    name: str
    # What it takes away, and why that would harm.
    takes_away: str
    harm: str
    # The test that must fail, and what its output must contain then.
    test: str
    says: str
    # Which of its cases are enough.
    only: dict = dataclasses.field(default_factory=dict)
    # Where Cargo finds it.
    suite: str = "-p tests --test all"


MUTATIONS = [
    Mutation(
        name="act-before-intent",
        takes_away="A key is suspended before the intent to suspend it is written.",
        harm="If the process dies in between, a key is refused and no record says that anybody meant it to be.",
        test="crash_matrix::crash_matrix",
        only={"CRASH_MATRIX": "apikey gate"},
        says="is refused, but nobody recorded that it would be",
    ),
    Mutation(
        name="key-made-twice",
        takes_away="A CreateKey without an answer is repeated at once. Nobody looks for the key that it may have left.",
        harm="The first key stays, can sign, and is in no record.",
        test="crash_matrix::crash_matrix",
        only={"CRASH_MATRIX": "kms standby"},
        says="is in no record and no open intent",
    ),
    Mutation(
        name="act-without-claim",
        takes_away="Whoever finds an intent whose time is over acts on it without claiming it first.",
        harm="A late process moves AWSCURRENT to a version that was given up and suspended meanwhile.",
        test="actors::two_actors",
        only={"TWO_ACTORS": "RepairAndRotation(Finish)"},
        says="generation 3 is suspended and holds AWSCURRENT",
    ),
    Mutation(
        name="label-not-compared",
        takes_away="AWSCURRENT is taken from whoever has it now, not from the holder that the records name.",
        harm="A rotation overrides what a person made current meanwhile, and the records never learn of that version.",
        test="stories::holds::label_moved_while_the_candidate_was_made",
        says="consumers read what somebody chose",
    ),
    Mutation(
        name="probe-not-awaited",
        takes_away="A new key counts as proved although the requests with it were refused.",
        harm="Consumers are given a key that the API does not know yet, and are turned away.",
        test="stories::rotation::nothing_is_promoted_before_the_stage_has_heard_of_the_key",
        # When it was admitted and when it was proved: at the same time.
        says="2026-03-02 10:30:",
    ),
    Mutation(
        name="suspended-blindly",
        takes_away="A suspended key that somebody enabled is suspended again. Nobody looks whether consumers read it.",
        harm="Whoever brought an old key back by hand, because the new one leaked, has it refused: an outage.",
        test="stories::reconcile::a_key_that_consumers_read_is_never_refused_by_a_cure",
        says='left: ["LabelMoved", "KeyEnabled"]',
    ),
    # What is found is ours only if it proves that.
    Mutation(
        name="name-foreseen",
        takes_away="The name of a standby's secret follows from the secret's ARN and the generation.",
        harm="Whoever may create secrets makes it first, with a private key of their own.",
        test="stories::signing::strangers::nobody_can_derive_the_name_of_a_standbys_secret",
        says="nobody is in the way of the standby",
    ),
    Mutation(
        name="drawn-not-compared",
        takes_away="A value that was found counts as drawn for the version, whatever it is.",
        harm="The key of a stranger is published, and verifiers trust what they sign.",
        test="stories::signing::strangers::a_standbys_secret_that_a_reader_of_the_records_made_first_is_not_published",
        says="kids().contains(&theirs)",
    ),
    Mutation(
        name="tag-believed",
        takes_away="A KMS key with our tag counts as made by us, whoever else its policy lets sign.",
        harm="A stranger signs with the key that verifiers trust, and every later key copies that policy.",
        test="stories::signing::strangers::a_kms_key_with_our_tag_and_another_policy_is_not_taken_for_the_one_that_was_made",
        says="it is not ours",
    ),
    Mutation(
        name="stranger-swept",
        takes_away="What a sweep finds by the tag alone is deleted as well.",
        harm="Whoever may tag keys has anybody's key deleted.",
        test="stories::signing::lost_answers::a_strangers_key_with_the_same_tag_is_not_swept",
        says="the key of a stranger",
    ),
    Mutation(
        name="secret-not-compared",
        takes_away="A secret that has the name of an adoption's is adopted, whatever is in it.",
        harm="Consumers are sent to where a stranger wants them, with the customer's key.",
        test="stories::adoption::a_secret_that_somebody_made_first_is_adopted_only_if_it_is_the_same_in_everything",
        says="a stranger's",
    ),
    Mutation(
        name="record-published",
        takes_away="The key set publishes what the records say, without a look at the history.",
        harm="Whoever writes one item into the table is trusted by every verifier.",
        test="stories::records::a_record_that_no_history_states_publishes_no_key",
        says="a stranger's tokens verify nowhere",
    ),
    Mutation(
        name="record-acted-on",
        takes_away="A key is refused or deleted because a record says so, without a look at the history.",
        harm="Whoever writes one item into the table deletes keys that are in use.",
        test="stories::records::a_record_that_is_made_due_is_not_deleted_before_its_time",
        says="it has its overlap",
    ),
    Mutation(
        name="key-not-compared",
        takes_away="A key is refused or deleted without a look at whether it is the recorded one.",
        harm="Whoever writes a history that holds together deletes any key of the account.",
        test="stories::records::a_forged_history_refuses_and_deletes_no_other_key",
        says="nobody refuses a key that is not the recorded one",
    ),
    Mutation(
        name="records-not-compared",
        takes_away="What is recorded is not compared with the history, neither daily nor on demand.",
        harm="A table that somebody wrote into looks healthy.",
        test="stories::records::a_record_that_no_history_states_publishes_no_key",
        says="a comparison tells of it: []",
    ),
    Mutation(
        name="signer-of-any-account",
        takes_away="The tag that names who signs may name a role of any account.",
        harm="Whoever may tag a secret lets a stranger sign.",
        test="stories::signing::strangers::a_role_of_an_account_that_nobody_named_does_not_sign",
        says="the last attempt failed",
    ),
    # What is said was seen.
    Mutation(
        name="refused-without-control",
        takes_away="One refused request counts as the end of a key. No key that must get through is tried beside it.",
        harm="A firewall answers, and somebody is told that a leaked key is dead while it is accepted.",
        test="stories::emergency::a_firewall_says_nothing_about_the_old_key",
        says="nobody can tell",
    ),
    Mutation(
        name="young-key-given-up",
        takes_away="A key that KMS does not know everywhere yet counts as gone.",
        harm="Somebody is asked who deleted a key that nobody deleted, and the rotation waits for the answer.",
        test="stories::signing::lost_answers::a_key_that_kms_does_not_know_everywhere_yet_is_waited_for_without_a_hold",
        says="KeyVanished",
    ),
    Mutation(
        name="young-key-by-its-tags",
        takes_away="The policy of a new key does not name the functions: they may use it by its tags alone.",
        harm="Tags count minutes later, and so long nobody can make a key.",
        test="privilege::every_call_is_allowed_and_nothing_else_is",
        says="kms:GetPublicKey",
    ),
    Mutation(
        name="offset-dropped",
        takes_away="A quota with an offset is settled as if its period began on the first.",
        harm="What was used in the period before is taken off again: customers are turned away too early.",
        test="stories::settlement::a_quota_that_begins_on_a_day_of_its_own_is_not_settled",
        says="nobody's allowance is lowered on a guess",
    ),
    Mutation(
        name="edge-believed",
        takes_away="A week or a month begins at midnight UTC and no other moment.",
        harm="Around that moment, use is counted into the wrong period.",
        suite="-p state --lib",
        test="evidence::tests::missing_figures_lower_nothing_and_a_period_is_not_left",
        says="which month is it?",
    ),
    Mutation(
        name="id-told-that-is-a-key",
        takes_away="An id that may be the key itself is told like any other.",
        harm="The key stands in plans, errors, and a history that nobody can erase.",
        test="stories::adoption::a_key_whose_id_may_be_its_value_is_refused_and_never_shown",
        says="none of the keys is in a usage plan",
    ),
    Mutation(
        name="disabled-by-nobody",
        takes_away="Every kind's keys are said to be disabled, also where nobody can do that.",
        harm="The history states what never happened.",
        test="stories::signing::schedule::a_key_that_nobody_can_disable_is_withdrawn_and_its_history_does_not_say_disabled",
        says='"disabling"',
    ),
    # What a person is told.
    Mutation(
        name="hold-waited-for",
        takes_away="A hold under which nothing moves does not end the command.",
        harm="Whoever waits for a rotation hears nothing for half an hour.",
        test="stories::waiting::a_rotation_that_is_held_ends_the_command_within_a_minute",
        says="[Holding",
    ),
    Mutation(
        name="hold-met-too-late",
        takes_away="Nobody looks for what would hold a rotation before it begins.",
        harm="It stops half way, and what it has begun blocks the next one.",
        test="stories::waiting::what_would_hold_the_first_rotation_is_found_before_it_begins",
        says="nothing was begun",
    ),
    Mutation(
        name="room-not-looked-for",
        takes_away="Nobody looks whether another version would be one too many before a rotation begins.",
        harm="It stops half way, and what it has begun blocks the next one.",
        test="stories::waiting::one_version_too_many_is_found_before_the_rotation_begins",
        says="no AWSPENDING is left",
    ),
    Mutation(
        name="emergency-held-by-a-wait",
        takes_away="An emergency waits like any rotation until its standby was published for long enough.",
        harm="A stranger signs for a day longer.",
        test="stories::signing::emergency::a_second_emergency_goes_ahead_with_a_young_standby_and_says_until_when",
        says="StandbyTooYoung",
    ),
    Mutation(
        name="old-hold-reported",
        takes_away="What held a rotation before still stands when an emergency is ordered, and counts as met by it.",
        harm="The command reports it and ends, while the leaked key is accepted.",
        test="stories::signing::emergency::a_rotation_that_waits_for_its_standby_is_taken_over",
        says="StandbyTooYoung",
    ),
    Mutation(
        name="nobody-asked",
        takes_away="Whatever is answered, what was asked about is done.",
        harm="A key is refused for good by a slip.",
        test="stories::plans::at_a_terminal_nothing_is_changed_without_a_yes",
        says="partner/acme: an emergency rotation",
    ),
    Mutation(
        name="reason-dropped",
        takes_away="Who asked for a rotation and why is not written down.",
        harm="Nobody can tell later why a key was replaced.",
        test="stories::plans::an_ordinary_rotation_has_its_reason_in_the_history",
        says=": told",
    ),
    Mutation(
        name="leaked-key-enabled",
        takes_away="A leaked key that was disabled is to be enabled, says the line about it.",
        harm="Whoever does what it says lets the stranger in again.",
        test="stories::doctor::provider::a_leaked_key_that_is_disabled_stays_so",
        says="leave it disabled",
    ),
    Mutation(
        name="probe-dropped",
        takes_away="A probe that fits none of the keys that are adopted is dropped without a word.",
        harm="New keys go into use that nothing has tried.",
        test="stories::adoption::a_probe_that_fits_no_key_is_refused",
        says="it fits nothing",
    ),
    Mutation(
        name="unproven-not-told",
        takes_away="A key that nothing has tried is reported like one that was proved.",
        harm="Nobody knows that its consumers are the first to try it.",
        test="stories::plans::a_key_that_nothing_tried_is_called_unproven_at_the_end",
        says="left: false",
    ),
    Mutation(
        name="ceiling-imposed",
        takes_away="An adopted key that is still in use is refused at a ceiling that nobody chose.",
        harm="Consumers are turned away whom nobody has warned.",
        test="stories::adoption::an_adopted_key_that_is_still_used_is_not_refused_by_a_ceiling_that_nobody_chose",
        says="right: true",
    ),
    Mutation(
        name="rotated-twice",
        takes_away="A pending rotation that ends between two looks is followed by another.",
        harm="One command replaces two keys.",
        test="stories::waiting::a_rotation_that_ends_between_two_looks_is_the_one_that_was_asked_for",
        says="left: 3",
    ),
    Mutation(
        name="trigger-not-told",
        takes_away="The history does not say what began a rotation.",
        harm="A rotation that somebody ordered looks like one that was due.",
        test="stories::rotation::the_history_says_what_began_each_rotation",
        says='String("schedule")',
    ),
    Mutation(
        name="age-since-adoption",
        takes_away="The age of a key counts from its adoption.",
        harm="A key of many years looks new, and its greatest age says nothing.",
        test="stories::adoption::the_age_of_an_adopted_key_counts_from_when_it_was_made",
        says="its rotator:max-age is nearly over",
    ),
    Mutation(
        name="invisible-printed",
        takes_away="Of what can't be seen, only control characters are kept out of what people read.",
        harm="The name of a key turns the text around it into another one.",
        test="stories::bad_input::control_characters_and_markup_in_a_name",
        says="rotated by rotator",
    ),
    Mutation(
        name="arguments-repeated-raw",
        takes_away="Arguments that are not understood are repeated as they are.",
        harm="What was pasted into a command line writes onto the terminal what it likes.",
        suite="-p rotator-cli --lib",
        test="commands::tests::arguments_that_are_not_understood_are_repeated_as_they_can_be_seen",
        says="a\\nerror: fine",
    ),
    Mutation(
        name="same-look-told-again",
        takes_away="Every look at the use of a key stands in the history, also when it shows nothing new.",
        harm="The history of an unused key grows every hour.",
        test="stories::evidence::looks_that_show_the_same_are_counted_and_not_told_again",
        says="looks stand in the history",
    ),
    # What people met elsewhere.
    Mutation(
        name="cut-off-key-replaced",
        takes_away="A key that somebody disabled gets a successor like any other.",
        harm="A customer who was cut off on purpose gets a key that works.",
        test="stories::holds::key_disabled",
        says="the last attempt failed",
    ),
    Mutation(
        name="cut-off-key-enabled",
        takes_away="A live key that somebody disabled is for the service to put right.",
        harm="A customer who was cut off on purpose is let in again.",
        test="stories::reconcile::a_live_key_that_somebody_disabled_is_only_told",
        says="a customer may be cut off on purpose",
    ),
    Mutation(
        name="plan-lost-for-good",
        takes_away="The next key gets the plans that the incumbent is in, not those that the records know of.",
        harm="A customer is refused for good where the old key was missing from a plan for a moment.",
        test="stories::holds::plan_lost_by_the_incumbent",
        says='right: "Held.PlanLost"',
    ),
    Mutation(
        name="shared-key-adopted",
        takes_away="Nobody looks by its fingerprint whether another credential has a key already.",
        harm="The rotation of one is the outage of the other.",
        test="stories::signing::strangers::a_signing_key_of_one_credential_is_not_taken_by_another",
        says="has the tag rotator:credential",
    ),
    Mutation(
        name="claim-not-seen",
        takes_away="Nobody looks by its tag whether another credential has a key already.",
        harm="Two stacks, which have no records in common, take each other's keys away.",
        test="stories::signing::strangers::a_signing_key_of_one_credential_is_not_taken_by_another",
        says="Held.ForeignValue",
    ),
    Mutation(
        name="key-not-marked",
        takes_away="A key that a first rotation takes over is not marked.",
        harm="Another stack, which has no records in common with this one, takes it as well.",
        test="stories::adoption::a_key_that_a_rotation_takes_under_management_is_marked",
        says="left: (None, None)",
    ),
    Mutation(
        name="unread-key-taken-for-none",
        takes_away="A value whose key is not where the kind has it counts as one without a key.",
        harm="A second key is made beside the one in use, which never rotates.",
        test="stories::waiting::a_value_whose_key_is_not_understood_gets_no_second_one",
        says="PlanMissing: no usage plan is declared",
    ),
    Mutation(
        name="other-members-dropped",
        takes_away="A new value has the key, and none of what its owner had put beside it.",
        harm="Consumers don't find the other members any more.",
        test="stories::members::a_key_is_replaced_where_it_stands_and_the_other_members_are_kept",
        says="members.rs",
    ),
    Mutation(
        name="first-key-in-no-plan",
        takes_away="A first key is made although no usage plan is declared for it.",
        harm="Consumers get a key that opens nothing.",
        test="stories::waiting::a_first_key_that_would_open_nothing_is_not_made",
        says="Ok(Rotated",
    ),
    Mutation(
        name="refusal-not-recorded",
        takes_away="What AWS refuses each time stands in no record, only in the function's log.",
        harm="Whoever waits hears nothing, and every list says that nothing is wrong.",
        test="stories::waiting::a_first_rotation_that_aws_refuses_each_time_says_so_within_a_minute",
        says="Begun {",
    ),
    Mutation(
        name="algorithm-changed",
        takes_away="The successor of an adopted key has our usual algorithm, not its own.",
        harm="Verifiers that take only the old algorithm refuse what it signs.",
        test="stories::signing::trouble::the_algorithm_of_an_adopted_key_is_its_successors_unless_the_owner_says_otherwise",
        says='String("ES256")',
    ),
    Mutation(
        name="rotation-off-unseen",
        takes_away="A credential whose rotation is switched off counts as sound.",
        harm="Nobody learns that its key is never replaced any more.",
        test="stories::adoption::adoption_goes_on_where_rotation_was_not_switched_on_or_is_off_again",
        says='right: ["RotationOff"]',
    ),
    Mutation(
        name="emergency-refused-while-off",
        takes_away="An emergency is refused where rotation is switched off.",
        harm="A leaked key stays, because somebody had stopped its schedule.",
        test="stories::emergency::an_emergency_switches_rotation_on_again",
        says="rotation is switched off",
    ),
    Mutation(
        name="name-not-checked",
        takes_away="A signing key is made for any name, also for one that clients make another URL of.",
        harm="Verifiers fetch another credential's key set, and refuse every token.",
        test="stories::signing::trouble::a_name_that_clients_make_another_url_of_gets_no_key",
        says="tested",
    ),
    Mutation(
        name="url-taken-as-written",
        takes_away="A proof fetches the key set from the URL as it is written.",
        harm="It succeeds where verifiers, who simplify a URL, fetch something else.",
        test="stories::signing::trouble::a_key_set_is_fetched_from_where_a_url_parser_finds_it",
        says="another's key set",
    ),
    Mutation(
        name="success-over-nothing",
        takes_away="A key counts as getting through where there is no stage that could let it.",
        harm="What nobody can use is reported as sound.",
        test="stories::doctor::provider::a_key_in_no_stage_gets_through_nowhere",
        says="in no stage, so nobody can use it",
    ),
    Mutation(
        name="empty-lines-not-counted",
        takes_away="Empty lines are left out before the lines of a key file are counted.",
        harm="What is wrong is told of another line, and another customer's key is corrected.",
        suite="-p local-aws --lib",
        test="api_gateway::key_file::tests::the_line_that_is_named_is_the_line_that_is_meant",
        says="line 2, column 2",
    ),
    # What fails around it.
    Mutation(
        name="record-taken-for-work-done",
        takes_away="What is recorded counts as under management, whether or not it rotates.",
        harm="An adoption that stopped half way is never completed, and the key never replaced.",
        test="stories::adoption::adoption_goes_on_where_rotation_was_not_switched_on_or_is_off_again",
        says="it goes on",
    ),
    Mutation(
        name="fingerprint-waited-for",
        takes_away="Without the key for fingerprints nothing goes on.",
        harm="What only helps to search for leaks holds up the emergency after one.",
        test="stories::emergency::a_disabled_key_for_fingerprints_holds_up_neither_a_rotation_nor_an_emergency",
        says="kms:GenerateMac",
    ),
    Mutation(
        name="dead-writer-waited-for",
        takes_away="Whoever finds a leaked key half refused waits until the time of the one who began is over.",
        harm="A process that died leaves it accepted for ten minutes more.",
        test="stories::emergency::wherever_retirement_dies_a_leaked_key_is_dead_within_two_minutes",
        says=" at call ",
    ),
    Mutation(
        name="refusal-told-by-status",
        takes_away="Only an answer with status 403 counts as a refusal.",
        harm="Where the owner of an API gave that answer another status, no rotation comes to its end.",
        test="stories::emergency::a_gateway_response_of_ones_own_is_a_refusal_as_well",
        says="the answer was 456",
    ),
    Mutation(
        name="proof-without-an-end",
        takes_away="A proof that does not succeed is tried again without an end.",
        harm="A rotation hangs, and no hold says why.",
        test="stories::holds::unproven",
        says="Held.Unproven",
    ),
    Mutation(
        name="words-of-aws-dropped",
        takes_away="What AWS says of a call that it refused is not repeated.",
        harm="Nobody can tell what to change.",
        test="stories::bad_input::what_aws_says_of_a_refusal_is_told",
        says="the reason is told",
    ),
    Mutation(
        name="expired-taken-for-denied",
        takes_away="Credentials that have expired count as a missing permission.",
        harm="An administrator looks for a policy that nobody has to change.",
        test="stories::bad_input::what_aws_says_of_a_refusal_is_told",
        says="is no missing permission",
    ),
    Mutation(
        name="key-set-read-once",
        takes_away="A key set is not read again when the table is busy.",
        harm="One busy moment is an outage for every verifier that asks then.",
        test="stories::signing::key_sets::a_table_that_cant_be_read_for_a_moment_is_no_outage_to_verifiers",
        says="it reads once more",
    ),
    Mutation(
        name="last-key-set-forgotten",
        takes_away="What was served last is of no use while the table can't be read.",
        harm="An outage of the table is one of every verifier at once.",
        test="stories::signing::key_sets::a_table_that_cant_be_read_for_a_moment_is_no_outage_to_verifiers",
        says="Throttled",
    ),
    Mutation(
        name="sts-asked-once",
        takes_away="Who gives a command is asked for once.",
        harm="One throttled call ends it.",
        test="stories::emergency::neither_a_rotation_nor_an_emergency_fails_for_want_of_a_name",
        says="one throttled call",
    ),
    Mutation(
        name="emergency-waits-for-sts",
        takes_away="An emergency needs to know who declares it.",
        harm="A leaked key stays because STS does not answer.",
        test="stories::emergency::neither_a_rotation_nor_an_emergency_fails_for_want_of_a_name",
        says="no answer at all",
    ),
    Mutation(
        name="index-read-once",
        takes_away="Retirement does not look at its index again when the table is busy.",
        harm="One busy moment, and nothing is retired by that tick.",
        test="stories::retirement::a_look_at_the_index_that_is_throttled_is_repeated",
        says="bucket 0",
    ),
    Mutation(
        name="words-of-the-library",
        takes_away="An event that can't be read is answered by the library that reads it.",
        harm="What it says names its own types, and nothing that a person could do.",
        suite="-p rotator --lib",
        test="functions::tests::what_can_not_be_read_and_what_panics_is_answered_in_our_own_words",
        says="never fails",
    ),
    Mutation(
        name="key-in-the-value-not-told",
        takes_away="A secret that was never rotated is said to have no key.",
        harm="Whoever put a key into it thinks that it was lost.",
        test="stories::rotation::a_secret_that_was_never_rotated_is_shown_as_what_it_is",
        says="no key yet",
    ),
]

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDER = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "mutations"
TREE = FOLDER / "tree"
CARGO = ["cargo", "test", "--locked"]
# So many are built together at the most, and so many of those that were not caught then.
MANY, FEW = 25, 5
# A sign of life at least so often, and no command for longer, in seconds.
BEAT = 8
LONGEST = 3600


class Failed(Exception):
    """It could not be tried, and why."""


def main():
    arguments = parse()
    wanted = [mutation for mutation in MUTATIONS if mutation.name in (arguments.names or names())]
    is_json = arguments.output == "json"
    if arguments.list:
        if is_json:
            print(json.dumps({"mutations": [described(mutation) for mutation in wanted]}, indent=2))
        else:
            print("\n\n".join(in_words(mutation) for mutation in wanted))
        return 0

    # So that what was begun is ended and put back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        copy()
        control(wanted)
    except Failed as failed:
        print(json.dumps({"control": str(failed), "mutations": []}, indent=2) if is_json else f"ERROR  {failed}")
        return 1
    results = attempts(wanted)

    caught = sum(1 for result in results if result["outcome"] == "caught")
    if is_json:
        print(json.dumps({"control": "passed", "mutations": results}, indent=2))
    else:
        for result in results:
            shown = "caught" if result["outcome"] == "caught" else result["outcome"].upper()
            print(f"{shown:<10}  {result['name']}: {result['said']}")
        print(f"{caught} of {len(results)} caught")
    return 0 if caught == len(results) else 1


def parse():
    first, *rest = __doc__.split("\n\n")
    parser = argparse.ArgumentParser(
        description=first, epilog="\n\n".join(rest[1:]), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="only these mutations; all without any")
    parser.add_argument("--list", action="store_true", help="say what there is, and do nothing")
    parser.add_argument("--output", choices=["text", "json"], default="text", help="the form of the result")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in names()]
    if unknown:
        parser.error(f"there is no mutation {', '.join(unknown)}: write one of {', '.join(names())}")
    return arguments


def copy():
    """Makes the copy what the work tree is. Whatever was left there by a run that was ended is gone."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    tracked = [pathlib.Path(os.fsdecode(name)) for name in listed.split(b"\0") if name]
    files = {path for path in tracked if (ROOT / path).is_file()}
    changed = 0
    for path in sorted(files):
        if not (TREE / path).is_file() or not filecmp.cmp(ROOT / path, TREE / path, shallow=False):
            (TREE / path).parent.mkdir(parents=True, exist_ok=True)
            # With a new date: Cargo builds again what is younger than its last build.
            shutil.copy(ROOT / path, TREE / path)
            changed += 1
    for path in [path for path in TREE.rglob("*") if path.is_file() and path.relative_to(TREE) not in files]:
        path.unlink()
        changed += 1
    say(f"{TREE}: {len(files)} files, {changed} of them changed since the last run")


def control(wanted):
    """Sees the same tests pass without a mutation. A test that is not found, or has no case, would pass, too."""
    for suite in sorted({mutation.suite for mutation in wanted}):
        build("control", suite)
    done = []
    for mutation in wanted:
        if (mutation.test, mutation.only) in done:
            continue
        done.append((mutation.test, mutation.only))
        code, output, _ = test("control", mutation)
        if code != 0 or "\ntest result: ok. 1 passed" not in output or ": 0 of 0\n" in output:
            raise Failed(f"{in_shell(mutation)} does not pass without a mutation; see {log('control-test')}")


def attempts(wanted):
    """Tries all of them, many to a build. What is not caught beside many is tried again beside few, and then alone."""
    results = {}
    for size in (MANY, FEW, 1):
        left = [mutation for mutation in wanted if results.get(mutation.name, {}).get("outcome") != "caught"]
        while left:
            # From all over the table: neighbours are about one thing, and would hide one another.
            now = together(left[:: -(-len(left) // size)])
            results |= now
            left = [mutation for mutation in left if mutation.name not in now]
    return [results[mutation.name] for mutation in wanted]


def together(mutations):
    """Tries them in one build, but those whose patches meet with one before, and puts back what they changed."""
    results, batch = {}, []
    with contextlib.ExitStack() as changes:
        for mutation in mutations:
            try:
                changes.enter_context(applied(mutation))
                batch.append(mutation)
            except Failed as failed:
                if not batch:
                    results[mutation.name] = error(mutation, failed)
        try:
            for suite in sorted({mutation.suite for mutation in batch}):
                build(f"{len(batch)} mutations, for {suite}", suite)
        except Failed as failed:
            return results | {mutation.name: error(mutation, failed) for mutation in batch}
        return results | {mutation.name: tried(mutation) for mutation in batch}


def error(mutation, failed):
    say(f"{mutation.name}: {failed}")
    return {**described(mutation), "outcome": "error", "seconds": None, "said": str(failed)}


def tried(mutation):
    """Runs its test in the copy as it is."""
    result = {**described(mutation), "outcome": "error", "seconds": None}
    try:
        code, output, seconds = test(mutation.name, mutation)
        result["seconds"] = round(seconds, 1)
        if code == 0:
            result["outcome"] = "not caught"
            result["said"] = f"{in_shell(mutation)} passes"
        elif f"\n    {mutation.test}\n" in output and mutation.says in output:
            result["outcome"] = "caught"
            result["said"] = f"by {mutation.test}, after {seconds:.1f} s"
        else:
            raise Failed(f"the test failed otherwise than by {mutation.says!r}; see {log(mutation.name + '-test')}")
    except Failed as failed:
        result["said"] = str(failed)
    say(f"{mutation.name}: {result['outcome']}")
    return result


@contextlib.contextmanager
def applied(mutation):
    patch = HERE / f"{mutation.name}.patch"
    try:
        lines = patch.read_text().splitlines()
        files = [TREE / line.removeprefix("+++ b/") for line in lines if line.startswith("+++ b/")]
        before = [file.read_bytes() for file in files]
    except OSError as error:
        raise Failed(f"the patch can't be applied: {error}") from error
    # Not as a part of the repository that the copy lies in: there Git may apply nothing, and not say so.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_CEILING_DIRECTORIES"] = str(FOLDER)
    try:
        done = subprocess.run(["git", "apply", patch], cwd=TREE, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"the patch can't be applied: {' '.join(done.stderr.split())}")
        unchanged = [file for file, was in zip(files, before, strict=True) if file.read_bytes() == was]
        if unchanged or not files:
            raise Failed(f"the patch changes nothing in {', '.join(str(file) for file in unchanged) or 'any file'}")
        yield
    finally:
        for file, was in zip(files, before, strict=True):
            file.write_bytes(was)


def build(name, suite):
    code, _, _ = run(f"{name}: building", [*CARGO, *suite.split(), "--no-run"], {}, log("build"))
    if code != 0:
        raise Failed(f"{name}: it does not compile; see {log('build')}")


def test(name, mutation):
    return run(f"{name}: {in_shell(mutation)}", command(mutation), mutation.only, log(f"{name}-test"))


def run(title, words, variables, into):
    """Runs a command in the copy: its status, what it wrote, and for how many seconds it ran."""
    say(title)
    # The caller's own choice of cases is none of these tests'.
    environment = {name: value for name, value in os.environ.items() if name not in ("CRASH_MATRIX", "TWO_ACTORS")}
    environment |= {
        "CARGO_TARGET_DIR": str(FOLDER / "build"),
        "CARGO_TERM_COLOR": "never",
        "CARGO_TERM_PROGRESS_WHEN": "never",
        "INSTA_UPDATE": "no",
        "RUST_BACKTRACE": "0",
        **variables,
    }
    begun = time.monotonic()
    with into.open("wb") as written:
        process = subprocess.Popen(
            words, cwd=TREE, env=environment, stdout=written, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while True:
                try:
                    code = process.wait(timeout=BEAT)
                    break
                except subprocess.TimeoutExpired:
                    lasts = time.monotonic() - begun
                    say(f"    {lasts:.0f} s  {last_line(into)}")
                    if lasts > LONGEST:
                        raise Failed(f"{title}: no end after {lasts:.0f} s; see {into}") from None
        finally:
            # With the test that it may have begun.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return code, into.read_text(errors="replace"), time.monotonic() - begun


def last_line(file):
    with file.open("rb") as written:
        written.seek(max(0, file.stat().st_size - 1_000))
        lines = written.read().decode(errors="replace").split("\n")
    return next((line.strip()[:100] for line in reversed(lines) if line.strip()), "")


def log(name):
    return FOLDER / f"{name}.log"


def names():
    return [mutation.name for mutation in MUTATIONS]


def command(mutation):
    return [*CARGO, *mutation.suite.split(), "--", "--exact", mutation.test]


def in_shell(mutation):
    variables = [f"{name}={shlex.quote(value)}" for name, value in mutation.only.items()]
    return " ".join([*variables, shlex.join(command(mutation))])


def in_words(mutation):
    lines = [mutation.takes_away, mutation.harm, f"must fail: {in_shell(mutation)}", f"must say: {mutation.says}"]
    return "\n".join([mutation.name, *(f"    {line}" for line in lines)])


def described(mutation):
    return {
        "name": mutation.name,
        "takesAway": mutation.takes_away,
        "harm": mutation.harm,
        "patch": f"{mutation.name}.patch",
        "test": mutation.test,
        "command": in_shell(mutation),
        "says": mutation.says,
    }


def say(line):
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
