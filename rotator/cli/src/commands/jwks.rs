//! `rotator jwks`

use rotator::key_sets::{discovery, render};
use serde::Serialize;
use serde_json::Value;
use state::name::CredentialName;

use crate::context::Context;
use crate::output::{Look, Out, View, json};
use crate::trouble::{Outcome, Trouble};

/// Print the key set that verifiers are served now
///
/// The JSON Web Key Set (RFC 7517) of a signing credential, from the records: what the function `jwks` answers, without
/// any cache in between.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The credential: its secret's name
    pub name: String,
    /// Print the OpenID discovery document beside it instead
    #[arg(long)]
    pub discovery: bool,
}

/// Runs the command.
pub async fn run(context: &Context, args: Args, out: &mut Out<'_>) -> Result<Outcome, Trouble> {
    let name = CredentialName::parse(&args.name)?;
    out.wait_for("reading the records");
    let about = format!("could not read the history of {name}");
    let records = context.read(about, async || context.engine.records.stated(&name).await).await?;
    let Some(keys) = records.as_ref().and_then(|credential| render(credential, context.now())) else {
        let kind = records.map(|credential| credential.head.kind).filter(|kind| !kind.is_empty());
        return Err(no_keys(context, name, kind).await?);
    };
    let document = if args.discovery {
        let issuer = context.engine.key_sets.location(&name);
        discovery(&issuer.map_err(Trouble::failure(format!("could not say where {name} is published")))?, &keys)
    } else {
        serde_json::from_str(&keys.body).map_err(|error| Trouble::Other {
            what: format!("the key set of {name} is no JSON"),
            next: "this is a defect: report it".into(),
            source: Some(error.into()),
        })?
    };
    out.show(&JwksView(document))?;
    Ok(Outcome::Done)
}

/// Why there is no key set, for whoever asked for one.
async fn no_keys(context: &Context, name: CredentialName, recorded: Option<String>) -> Result<Trouble, Trouble> {
    let wished = context.secret(name.as_str()).await?.and_then(|secret| Some(secret.wishes.ok()?.kind));
    let Some(kind) = recorded.or(wished) else { return Ok(Trouble::NoCredential(name)) };
    let publishes = context.engine.kind(&kind).is_ok_and(|kind| kind.publishes());
    Ok(if publishes {
        Trouble::Other {
            what: format!("{name} has no key to publish yet"),
            next: format!("`rotator rotate {name}` makes the first one, `rotator show {name}` tells what is under way"),
            source: None,
        }
    } else {
        Trouble::Other {
            what: format!("{name} is of kind {kind}: nobody fetches such keys, so it has no key set"),
            next: "name a kms-signing-key or a jwt-signing-key: `rotator list` shows the kinds".into(),
            source: None,
        }
    })
}

/// What `rotator jwks` prints, as JSON in either format.
///
/// ```json
/// {"keys": [{"kty": "EC", "kid": "...", "use": "sig", "alg": "ES256", "crv": "P-256", "x": "...", "y": "..."}]}
/// ```
///
/// With `--discovery`:
///
/// ```json
/// {"issuer": "https://...", "jwks_uri": "https://...", "response_types_supported": ["id_token"],
///  "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"]}
/// ```
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct JwksView(Value);

impl View for JwksView {
    fn page(&self, _: &Look) -> String {
        json(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specimens;

    #[test]
    fn the_document_is_the_same_in_either_format() {
        let credential = specimens::signing();
        let keys = render(&credential, specimens::at(7_200)).unwrap();
        let view = JwksView(serde_json::from_str(&keys.body).unwrap());
        assert_eq!(view.page(&Look::PLAIN), json(&view));
        insta::assert_snapshot!(json(&view));
    }
}
