//! The kinds, one file each.

pub mod api_gateway_key;
