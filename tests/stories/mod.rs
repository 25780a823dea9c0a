//! Stories that read like the runbook.

mod rotation;
