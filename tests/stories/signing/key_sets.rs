//! What verifiers are served.

use std::sync::Arc;

use chrono::TimeDelta;
use rotator::functions::{Handle, Invocation, jwks::Jwks};
use rotator::ports::Clock;
use serde_json::{Value, json};

use super::kid;
use crate::harness::faults::{Fault, When};
use crate::harness::signing::{Traffic, assert_public};
use crate::harness::{ACME, Stage, Terms};

#[tokio::test(start_paused = true)]
async fn a_key_set_is_cached_validated_and_open_to_everybody() {
    let stage = Stage::new().await;
    stage.signing(&Terms::kms()).await;
    let url = stage.key_set_url(ACME);
    let answer = stage.get(&url, &[]).await;
    assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, "application/jwk-set+json"));
    assert_eq!(answer.headers["cache-control"], "public, max-age=300, stale-if-error=6900");
    assert_eq!(answer.headers["access-control-allow-origin"], "*");

    let etag = answer.headers["etag"].clone();
    for known in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".into()] {
        let again = stage.get(&url, &[("if-none-match", &known)]).await;
        assert_eq!((again.status, again.body.as_str(), &again.headers["etag"]), (304, "", &etag), "{known}");
        assert_eq!(again.headers["cache-control"], answer.headers["cache-control"]);
    }
    assert_eq!(stage.get(&url, &[("if-none-match", "\"other\"")]).await.status, 200);
    stage.rotate(ACME).await;
    stage.assert_rotated();
    let after = stage.get(&url, &[("if-none-match", &etag)]).await;
    assert_eq!(after.status, 200, "the signer is another one");
    assert_eq!(after.kids()[0], kid(&stage).await);
}

#[tokio::test(start_paused = true)]
async fn the_discovery_document_is_what_an_authorizer_asks_for() {
    for (algorithm, word) in [("ES384", "ES384"), ("EdDSA", "EdDSA")] {
        let stage = Stage::new().await;
        let arn = stage.secret(ACME, "{}", &Terms::kms().with("algorithm", algorithm)).await;
        stage.rotate(&arn).await;
        let issuer = stage.key_set_url(ACME);
        let found = stage.get(&format!("{issuer}/.well-known/openid-configuration"), &[]).await;
        assert_eq!(found.status, 200);
        let document = found.json();
        assert_eq!((&document["issuer"], &document["jwks_uri"]), (&Value::from(issuer.as_str()), &Value::from(issuer)));
        assert_eq!(document["id_token_signing_alg_values_supported"], Value::from(vec![word]));
        assert_eq!(Traffic::usual().round(&stage).await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_no_key_set_is_not_found_and_not_cached() {
    let stage = Stage::new().await;
    stage.credential(ACME, &Terms::default()).await;
    stage.rotate(ACME).await;
    stage.secret("partner/hooks", "{}", &Terms::webhook()).await;
    stage.rotate("partner/hooks").await;
    let base = stage.settings.jwks_url.clone().expect("set");
    let of_an_api_key = stage.key_set_url(ACME);
    let of_a_webhook = stage.key_set_url("partner/hooks");
    for url in [
        of_an_api_key.as_str(),
        &of_a_webhook,
        &format!("{base}/nobody"),
        &format!("{base}/nobody/.well-known/openid-configuration"),
        &format!("{base}/.well-known/openid-configuration"),
        &format!("{base}/%00"),
        &format!("{base}/a%20b"),
        &format!("{base}/%ff%fe"),
        &format!("{base}/partner%2F..%2Facme"),
        &format!("{base}/{}", "x".repeat(600)),
    ] {
        let answer = stage.get(url, &[]).await;
        assert_eq!(
            (answer.status, answer.headers["cache-control"].as_str()),
            (404, "no-store"),
            "{url}: {}",
            answer.body
        );
    }
}

#[tokio::test(start_paused = true)]
async fn names_with_slashes_and_odd_characters_have_a_key_set_at_the_url_that_their_value_names() {
    let stage = Stage::new().await;
    for name in
        ["issuer", "a/b/c", "x+y=z", "who@example.com", "dots..and--dashes__", "jwks/jwks/issuer", "tilde/.well"]
    {
        let arn = stage.secret(name, "{}", &Terms::jwt()).await;
        stage.rotate(&arn).await;
        stage.assert_rotated();
        let value = stage.document(name).await;
        let uri = value["jwksUri"].as_str().expect("a URL");
        let answer = stage.get(uri, &[]).await;
        assert_eq!(answer.status, 200, "{uri}: {}", answer.body);
        assert_eq!(answer.kids()[0], value["signer"]["kid"], "{uri}");
        let discovery = stage.get(&format!("{uri}/.well-known/openid-configuration"), &[]).await;
        assert_eq!((discovery.status, &discovery.json()["jwks_uri"]), (200, &Value::from(uri)));
        stage.assert_sound(name, "made").await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_algorithm_signs_and_verifies() {
    for algorithm in ["ES256", "ES384", "EdDSA", "RS256", "PS256"] {
        for terms in [Terms::kms(), Terms::jwt()] {
            let stage = Stage::new().await;
            let arn = stage.secret(ACME, "{}", &terms.with("algorithm", algorithm)).await;
            stage.rotate(&arn).await;
            stage.assert_rotated();
            assert_eq!(Traffic::usual().round(&stage).await, [], "{algorithm}");
            assert_eq!(stage.key_set(ACME).await.json()["keys"][0]["alg"], algorithm);
            stage.assert_sound(ACME, algorithm).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_cant_be_read_for_a_moment_is_no_outage_to_verifiers() {
    let stage = Stage::new().await;
    stage.signing(&Terms::kms()).await;
    let process = stage.faults.process();
    let jwks = Jwks::new(Arc::new(stage.engine(&process)));
    let status = async || {
        let deadline = stage.clock.now() + TimeDelta::seconds(10);
        let payload = json!({
            "rawPath": format!("/v1/jwks/{ACME}"), "headers": {}, "requestContext": {"http": {"method": "GET"}},
        });
        let answer =
            jwks.handle(Invocation { payload, request_id: "test".into(), deadline }).await.expect("it answers");
        assert!(stage.clock.now() < deadline, "in its time");
        answer["statusCode"].clone()
    };
    stage.faults.arm(When::Once(0), Fault::Throttled);
    assert_eq!((status().await, stage.faults.met()), (200.into(), 1), "it reads once more");
    // For as long as whoever asked then may keep the answer.
    for fault in [Fault::Throttled, Fault::ServerError, Fault::NoAnswerNotApplied] {
        stage.faults.arm(When::FromThenOn(0), fault);
        assert_eq!(status().await, 200, "{fault:?}");
        assert!(stage.faults.met() > 1);
    }
    stage.clock.sleep(TimeDelta::minutes(5)).await;
    assert_eq!(status().await, 503, "and no longer");
    stage.faults.disarm();
    assert_eq!(status().await, 200);
}

#[test]
fn the_walk_over_what_is_served_finds_a_private_member_however_deep() {
    for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        let body = format!(r#"{{"keys": [{{"kty": "EC", "inner": [{{"{private}": "x"}}]}}]}}"#);
        let answer = serde_json::json!({ "statusCode": 200, "body": body });
        assert!(std::panic::catch_unwind(|| assert_public(&answer)).is_err(), "{private}");
    }
}
