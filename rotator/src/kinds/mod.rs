//! The kinds, one file each.

pub mod api_gateway_key;
pub mod jwt_signing_key;
pub mod kms_signing_key;
pub mod usage;
pub mod webhook_secret;
