//! Makes happen what [`state`] decides.
//!
//! One [`engine`], used by every entrance: the functions in [`functions`], and the command line. Each entrance only
//! says which goal to reach. What differs between kinds of credentials is behind one trait, [`kind::Kind`]; what
//! differs between the world and a test (time, randomness, the wire) is in [`ports`]. AWS is called from [`aws`] and
//! from nowhere else.

pub mod adoption;
pub mod aws;
pub mod config;
pub mod doctor;
pub mod engine;
pub mod failure;
pub mod functions;
pub mod jose;
pub mod key_sets;
pub mod kind;
pub mod kinds;
pub mod member;
pub mod mend;
pub mod patience;
pub mod ports;
pub mod rotate;
pub mod secret;
pub mod visible;

pub use state;
