//! What only a person at the command line asks AWS: the functions' own settings, and what IAM allows. The functions
//! never link these services.

pub mod iam;
pub mod kms;
pub mod lambda;
