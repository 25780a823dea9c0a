//! Credentials for the tests of views.

use std::collections::{BTreeMap, BTreeSet};

use rotator::aws::records::Told;
use state::Time;
use state::credential::Proof;
use state::credential::{Commit, Credential, Replaces, Stamp};
use state::decide::Secret;
use state::hold::{Hold, HoldReason};
use state::ledger::{Actor, Change, Note};
use state::name::{CredentialName, Token};
use state::policy::{Policy, Schedule};

/// So many seconds after the samples' beginning.
pub fn at(seconds: i64) -> Time {
    Time::from_timestamp(1_795_000_000 + seconds, 0).unwrap()
}

/// One rotation done: generation 2 is current, 1 in its overlap.
pub fn rotated() -> Credential {
    story("partner/acme").0
}

/// A third version that does not go on, and whose hold quotes a hostile name.
pub fn held() -> Credential {
    let (mut credential, _) = story("partner/globex");
    let policy = credential.versions[&2].policy.clone();
    let replaces = Replaces { generation: Some(2), carrier: Some(token(2)) };
    let hold = Hold::new(HoldReason::PlanConflict, "plans p1 and \u{1b}[31mp2 both want a1b2c3/prod");
    for change in [
        Change::Drafting { generation: 3, token: token(3), policy, replaces },
        Change::Drafted { generation: 3, provider: names("globex"), fingerprint: None },
        Change::Held { generation: Some(3), hold },
    ] {
        credential = credential.apply(change, &stamp(80_000, Actor::Rotation, None)).unwrap().credential;
    }
    credential
}

/// A credential with its history, as the table has it.
pub fn told() -> (Credential, Vec<Told>) {
    let (credential, commits) = story("partner/acme");
    (credential, commits.into_iter().map(|commit| Told { event: commit.event, note: commit.note }).collect())
}

/// The secret that goes with a credential.
pub fn secret(credential: &Credential) -> Secret {
    let mut labels: BTreeMap<Token, BTreeSet<String>> = BTreeMap::new();
    for (generation, label) in [(1, "AWSPREVIOUS"), (2, "AWSCURRENT"), (3, "AWSPENDING")] {
        if credential.versions.contains_key(&generation) {
            labels.entry(token(generation)).or_default().insert(label.into());
        }
    }
    Secret {
        arn: credential.head.arn.clone(),
        deleted: false,
        rotation_enabled: true,
        labels,
        wishes: Ok(credential.versions[&1].policy.clone()),
        schedule: Schedule { expression: Some("cron(0 8 1 * ? *)".into()), after_days: None },
        replicas_behind: Vec::new(),
    }
}

fn story(name: &str) -> (Credential, Vec<Commit>) {
    let arn = format!("arn:aws:secretsmanager:eu-west-1:111122223333:secret:{name}-AbCdEf");
    let mut credential = Credential::empty(CredentialName::parse(name).unwrap(), &arn);
    let tags = BTreeMap::from([("rotator:kind".to_owned(), "api-gateway-key".to_owned())]);
    let policy = Policy::from_tags(&tags, &[("api-gateway-key", &["usage-plans", "probe"])]).unwrap();
    let base = name.rsplit('/').next().unwrap();
    let note = Note {
        salt: "5a17".into(),
        who: "arn:aws:sts::111122223333:assumed-role/ops/ada".into(),
        reason: "first of the \u{1b}[1mbatch".into(),
    };
    let evidence = BTreeMap::from([("quota p1".to_owned(), "871 left".to_owned())]);
    let proof = Proof { proven: vec!["a1b2c3/prod/ping".into()], unproven: vec!["a1b2c3/beta".into()] };
    let replaces = Replaces { generation: Some(1), carrier: Some(token(1)) };
    let changes = [
        (
            0,
            Actor::Operator,
            Some(note),
            Change::Adopted {
                generation: 1,
                carrier: token(1),
                provider: key(base, "k1"),
                policy: policy.clone(),
                fingerprint: None,
            },
        ),
        (3_600, Actor::Rotation, None, Change::Drafting { generation: 2, token: token(2), policy, replaces }),
        (3_601, Actor::Rotation, None, Change::Drafted { generation: 2, provider: names(base), fingerprint: None }),
        (3_603, Actor::Rotation, None, Change::Admitted { generation: 2, provider: key(base, "k2"), evidence }),
        (3_607, Actor::Rotation, None, Change::Proved { generation: 2, proof }),
        (3_608, Actor::Rotation, None, Change::Promoted { generation: 2 }),
    ];
    let mut commits = Vec::new();
    for (seconds, actor, note, change) in changes {
        let commit = credential.apply(change, &stamp(seconds, actor, note)).unwrap();
        credential = commit.credential.clone();
        commits.push(commit);
    }
    (credential, commits)
}

fn stamp(seconds: i64, actor: Actor, note: Option<Note>) -> Stamp {
    Stamp { at: at(seconds), until: at(seconds + 300), actor, note }
}

fn token(generation: u32) -> Token {
    Token::parse(&format!("{generation:08}-0000-4000-8000-000000000000")).unwrap()
}

fn names(base: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("base".to_owned(), base.to_owned()), ("name".to_owned(), format!("{base}-00000002"))])
}

fn key(base: &str, id: &str) -> BTreeMap<String, String> {
    let mut provider = names(base);
    provider.insert("id".into(), id.into());
    provider
}
