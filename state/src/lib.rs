//! What is true of a credential and what may happen next.
//!
//! This crate decides; it never acts. It knows no clock, no randomness, no async and no AWS: whatever it needs to
//! know is an argument, so every decision can be replayed from the records.
//!
//! The law, from which every ordering here follows: **accept before use; stop using before reject.**
//!
//! Read it in this order: [`lifecycle`] (the states and what joins them), [`policy`] (the owner's wishes, checked
//! against one another), [`credential`] (the records and how a [`ledger::Change`] changes them), [`decide`](mod@decide)
//! (what to do next), [`standby`] (keys that are made ahead of their use), [`evidence`] (what is seen of a key's use, and
//! what follows from it), [`rollback`] (back to an earlier version), [`drift`] (where the outside and the records
//! disagree), [`concern`] (what somebody should hear of), [`summary`] (a credential in a few words), [`ledger`] (the chained history), [`invariants`] (what must never
//! be false).

pub mod concern;
pub mod credential;
pub mod decide;
pub mod drift;
pub mod evidence;
pub mod hold;
pub mod invariants;
pub mod ledger;
pub mod lifecycle;
pub mod name;
pub mod period;
pub mod policy;
mod retire;
pub mod rollback;
pub mod standby;
pub mod summary;
pub mod trigger;

/// Wall-clock time, always UTC.
pub type Time = chrono::DateTime<chrono::Utc>;
