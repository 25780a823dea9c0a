//! Configuration of the functions and the command line: one place.

use std::env::VarError;

use state::period::Period;

/// Where things are. Everything else is the ordinary AWS configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `ROTATOR_TABLE`: the DynamoDB table of the records. Default `rotator`.
    pub table: String,
    /// `ROTATOR_FINGERPRINT_KEY`: the ARN of the KMS HMAC key by which a leaked value is found. Without it no
    /// fingerprints are kept.
    pub fingerprint_key: Option<String>,
    /// `ROTATOR_EXECUTE_API`: where an API answers, with `{api}` and `{region}` in it.
    pub execute_api: String,
    /// `ROTATOR_KEY_PREFIX`: what a new API key begins with, so that scanners recognise it. Default `krt1`.
    pub key_prefix: String,
    /// `ROTATOR_FUNCTION_ARN`: the rotation function, for adoption.
    pub function_arn: Option<String>,
    /// `ROTATOR_JWKS_URL`: where the function `jwks` answers, to which a credential's name is added, for instance
    /// `https://ID.execute-api.REGION.amazonaws.com/v1/jwks`. Needed for signing keys only.
    pub jwks_url: Option<String>,
    /// `ROTATOR_CONTROL_PLANE_SHARE`: how much of API Gateway's 10 calls a second retirement, and a look at everything,
    /// may use, in percent.
    /// Default 20; the rest is for rotations and for everybody else in the account.
    pub control_plane_share: u32,
    /// `ROTATOR_USAGE_LAG`: how long AWS may take to tell of a key's use, as an ISO 8601 duration. Default `PT1H`:
    /// nobody says how late `GetUsage` is, and `GetKeyLastUsage` is about an hour late.
    pub usage_lag: Period,
    /// `ROTATOR_SIGNER_ACCOUNTS`: the accounts besides the secret's own whose roles `rotator:signers` may name.
    pub signer_accounts: Vec<String>,
    /// `ROTATOR_KEY_ROLES`: the ARNs of the functions' roles. The policy of each KMS key that they make names them: what
    /// a role may do by a key's tags it may do minutes after the key was made, and a new key is proved at once.
    pub key_roles: Vec<String>,
}

/// A setting that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} = {found:?} is not usable: {rule}")]
pub struct BadConfig {
    name: &'static str,
    found: String,
    rule: &'static str,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            table: "rotator".into(),
            fingerprint_key: None,
            execute_api: "https://{api}.execute-api.{region}.amazonaws.com".into(),
            key_prefix: "krt1".into(),
            function_arn: None,
            jwks_url: None,
            control_plane_share: 20,
            usage_lag: Period::hours(1),
            signer_accounts: Vec::new(),
            key_roles: Vec::new(),
        }
    }
}

impl Config {
    /// Reads the environment.
    pub fn from_env() -> Result<Self, BadConfig> {
        Self::from(|name| match std::env::var(name) {
            Ok(value) => Some(value),
            Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(raw)) => Some(raw.to_string_lossy().into_owned()),
        })
    }

    /// Reads settings from wherever they are; empty ones count as not set.
    pub fn from(read: impl Fn(&str) -> Option<String>) -> Result<Self, BadConfig> {
        let read = |name: &str| read(name).filter(|value| !value.is_empty());
        let defaults = Self::default();
        let config = Self {
            table: read("ROTATOR_TABLE").unwrap_or(defaults.table),
            fingerprint_key: read("ROTATOR_FINGERPRINT_KEY"),
            execute_api: read("ROTATOR_EXECUTE_API").unwrap_or(defaults.execute_api),
            key_prefix: read("ROTATOR_KEY_PREFIX").unwrap_or(defaults.key_prefix),
            function_arn: read("ROTATOR_FUNCTION_ARN"),
            jwks_url: read("ROTATOR_JWKS_URL").map(|url| url.trim_end_matches('/').to_owned()),
            control_plane_share: match read("ROTATOR_CONTROL_PLANE_SHARE") {
                None => defaults.control_plane_share,
                Some(raw) => raw.parse().ok().filter(|share| (1..=100).contains(share)).ok_or(BadConfig {
                    name: "ROTATOR_CONTROL_PLANE_SHARE",
                    found: raw,
                    rule: "write a whole number of percent, 1 to 100",
                })?,
            },
            usage_lag: match read("ROTATOR_USAGE_LAG") {
                None => defaults.usage_lag,
                Some(raw) => Period::parse(&raw).map_err(|_| BadConfig {
                    name: "ROTATOR_USAGE_LAG",
                    found: raw,
                    rule: "write an ISO 8601 duration, for instance PT1H",
                })?,
            },
            signer_accounts: read("ROTATOR_SIGNER_ACCOUNTS").map(listed).unwrap_or_default(),
            key_roles: read("ROTATOR_KEY_ROLES").map(listed).unwrap_or_default(),
        };
        let bad = |name, found: &str, rule| Err(BadConfig { name, found: found.to_owned(), rule });
        let prefix = &config.key_prefix;
        if !(1..=8).contains(&prefix.len()) || !prefix.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return bad("ROTATOR_KEY_PREFIX", prefix, "write 1 to 8 letters and digits: API Gateway takes no others");
        }
        if !config.execute_api.contains("{api}") || !is_safe(&config.execute_api) {
            let rule = "write an https URL with {api} in it; http only for this machine";
            return bad("ROTATOR_EXECUTE_API", &config.execute_api, rule);
        }
        if let Some(url) = config.jwks_url.as_ref().filter(|url| !is_safe(url)) {
            let rule = "write the URL below which key sets are, https://..../v1/jwks; http only for this machine";
            return bad("ROTATOR_JWKS_URL", url, rule);
        }
        let is_account = |account: &&String| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        if let Some(account) = config.signer_accounts.iter().find(|account| !is_account(account)) {
            return bad("ROTATOR_SIGNER_ACCOUNTS", account, "write account ids of 12 digits, separated by spaces");
        }
        if let Some(role) = config.key_roles.iter().find(|role| !is_role(role)) {
            let rule = "write the ARNs of roles, arn:aws:iam::ACCOUNT:role/NAME, separated by spaces";
            return bad("ROTATOR_KEY_ROLES", role, rule);
        }
        let name = &config.table;
        if !(3..=255).contains(&name.len()) || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
            return bad("ROTATOR_TABLE", name, "write a DynamoDB table name: 3 to 255 of A-Z a-z 0-9 _ . -");
        }
        Ok(config)
    }
}

fn listed(raw: String) -> Vec<String> {
    raw.split_whitespace().map(str::to_owned).collect()
}

/// Whether that is the ARN of a role.
pub fn is_role(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts.as_slice() else { return false };
    partition.starts_with("aws")
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty())
}

/// Whether nobody on the way sees what is sent there: over TLS, or to this machine.
fn is_safe(url: &str) -> bool {
    let host = url.strip_prefix("http://").map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    let is_here = |host: &str| {
        let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
        ["127.0.0.1", "localhost", "[::1]"].contains(&name)
    };
    url.starts_with("https://") || host.is_some_and(is_here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_is_the_default_and_empty_is_not_set() {
        assert_eq!(Config::from(|_| None).unwrap(), Config::default());
        assert_eq!(Config::from(|_| Some(String::new())).unwrap(), Config::default());
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        for url in ["http://127.0.0.1:4566/{api}", "http://localhost/{api}", "http://[::1]:80/{api}", "https://{api}.x"]
        {
            assert!(Config::from(|asked| (asked == "ROTATOR_EXECUTE_API").then(|| url.to_owned())).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_bad_setting_is_named() {
        for (name, value) in [
            ("ROTATOR_KEY_PREFIX", "krt_1"),
            ("ROTATOR_EXECUTE_API", "https://x"),
            ("ROTATOR_TABLE", "a b"),
            ("ROTATOR_JWKS_URL", "keys.example"),
            ("ROTATOR_JWKS_URL", "http://keys.example/v1"),
            ("ROTATOR_JWKS_URL", "http://localhost.example/v1"),
            ("ROTATOR_EXECUTE_API", "http://{api}.example"),
            ("ROTATOR_EXECUTE_API", "http://127.0.0.1.example/{api}"),
            ("ROTATOR_SIGNER_ACCOUNTS", "123456789012 12345"),
            ("ROTATOR_KEY_ROLES", "arn:aws:iam::123456789012:user/x"),
            ("ROTATOR_CONTROL_PLANE_SHARE", "0"),
            ("ROTATOR_USAGE_LAG", "an hour"),
        ] {
            let error = Config::from(|asked| (asked == name).then(|| value.to_owned())).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }

    #[test]
    fn only_roles_are_roles() {
        assert!(is_role("arn:aws:iam::123456789012:role/issuer") && is_role("arn:aws-cn:iam::123456789012:role/a/b"));
        for bad in
            ["*", "arn:aws:iam::123456789012:user/x", "arn:aws:iam::12:role/x", "arn:aws:iam::123456789012:role/"]
        {
            assert!(!is_role(bad), "{bad}");
        }
    }
}
