//! What the RFCs say the answer is, and what is refused.

use super::*;
use jsonwebtoken::jwk::ThumbprintHash;

/// RFC 7515, appendix A.1: HS256.
const HS256_KEY: &str =
    r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;
const HS256_TOKEN: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
    eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
    dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// RFC 7515, appendix A.2: RS256. The `alg` is ours, for the key has none there.
const RS256_KEY: &str = r#"{"kty":"RSA","alg":"RS256",
    "n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "e":"AQAB",
    "d":"Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ",
    "p":"4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc",
    "q":"uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc",
    "dp":"BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0",
    "dq":"h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU",
    "qi":"IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U"}"#;
const RS256_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.\
    eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
    cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

/// RFC 7515, appendix A.3: ES256.
const ES256_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
const ES256_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.\
    eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
    DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

/// RFC 7517, appendix A.1: the RSA key; RFC 7638, section 3.1, has its thumbprint. `use` is ours.
const PUBLIC_RSA: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e":"AQAB","alg":"RS256","kid":"2011-04-29","use":"sig"}"#;
/// RFC 7517, appendix A.1: the EC key, as one to sign with.
const PUBLIC_EC: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"sig","kid":"1","alg":"ES256"}"#;

/// RFC 8037, appendices A.1, A.3 and A.4: Ed25519.
const ED25519_KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const ED25519_THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
const ED25519_TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
    hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

fn private(json: &str) -> PrivateJwk {
    PrivateJwk::parse(&SecretValue::new(json)).unwrap()
}

fn told(public: &PublicJwk) -> Jwk {
    serde_json::from_str(&public.to_json()).unwrap()
}

fn set(public: &PublicJwk) -> JwkSet {
    JwkSet { keys: vec![told(public)] }
}

#[test]
fn the_tokens_of_rfc_7515_and_8037_verify_and_a_changed_one_does_not() {
    let claims = br#"{"iss":"joe","#;
    for (key, token, payload) in [
        (serde_json::from_str(HS256_KEY).unwrap(), HS256_TOKEN, claims.as_slice()),
        (told(private(RS256_KEY).public()), RS256_TOKEN, claims),
        (told(private(ES256_KEY).public()), ES256_TOKEN, claims),
        (told(private(ED25519_KEY).public()), ED25519_TOKEN, b"Example of Ed25519 signing"),
    ] {
        assert!(signed_by(&key, token).unwrap().starts_with(payload), "{token}");
        // The last character of a signature can hold bits that mean nothing: change the one before the middle of it.
        let at = token.rfind('.').unwrap() + 20;
        let other = if &token[at..=at] == "A" { "B" } else { "A" };
        let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        assert_eq!(signed_by(&key, &changed).unwrap_err(), Unverified::WrongSignature);
    }
}

#[test]
fn what_is_signed_without_chance_is_what_the_rfcs_say() {
    for (key, token) in [(RS256_KEY, RS256_TOKEN), (ED25519_KEY, ED25519_TOKEN)] {
        let (input, _) = token.rsplit_once('.').unwrap();
        assert_eq!(compact(input, &private(key).sign(input.as_bytes()).unwrap()), token);
    }
}

#[test]
fn a_thumbprint_is_that_of_rfc_7638_and_8037_and_of_a_library() {
    let rsa = PublicJwk::parse(PUBLIC_RSA).unwrap();
    assert_eq!((rsa.kid(), rsa.algorithm()), ("2011-04-29", Algorithm::Rs256));
    assert_eq!(rsa.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let ed25519 = private(ED25519_KEY);
    assert_eq!(
        (ed25519.public().kid(), ed25519.public().thumbprint().as_str()),
        (ED25519_THUMBPRINT, ED25519_THUMBPRINT)
    );
    for key in [rsa, PublicJwk::parse(PUBLIC_EC).unwrap(), ed25519.public().clone()] {
        assert_eq!(key.thumbprint(), told(&key).thumbprint(ThumbprintHash::SHA256).unwrap());
    }
}

#[test]
fn a_key_of_each_algorithm_is_made_written_read_and_signs_what_a_library_verifies() {
    for algorithm in Algorithm::ALL {
        let made = PrivateJwk::generate(algorithm, 2_048).unwrap();
        let key = private(made.to_json().expose());
        assert_eq!(key.public(), made.public());
        assert!(key.secret().same_as(made.secret()));
        assert_eq!(key.public().kid(), key.public().thumbprint());
        let payload = json!({ "iss": "joe" });
        let input = signing_input(algorithm, key.public().kid(), &payload);
        let token = compact(&input, &key.sign(input.as_bytes()).unwrap());
        let keys = set(key.public());
        assert_eq!(verify(&token, &keys).unwrap(), payload);
        assert_eq!(verify(&token, &JwkSet::default()), Err(Unverified::UnknownKid(key.public().kid().to_owned())));
        let made_up = PrivateJwk::generate(algorithm, 2_048).unwrap().sign(input.as_bytes()).unwrap();
        assert_eq!(verify(&compact(&input, &made_up), &keys), Err(Unverified::WrongSignature));
        // A verifier that trusts the header would take an RSA key's text for a shared secret.
        let other = signing_input("HS256", key.public().kid(), &payload);
        assert_eq!(verify(&compact(&other, b"x"), &keys), Err(Unverified::OtherAlgorithm));
        assert_eq!(format!("{key:?}"), format!("PrivateJwk({})", key.public().kid()));
    }
}

#[test]
fn a_public_key_is_read_as_the_key_service_gives_it() {
    for algorithm in Algorithm::ALL {
        let key = PrivateJwk::generate(algorithm, 2_048).unwrap();
        let der = match &key.pair {
            Pair::Ec(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Pair::Rsa(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
        };
        assert_eq!(PublicJwk::from_spki(&der, algorithm).unwrap(), *key.public());
        for other in Algorithm::ALL.into_iter().filter(|other| other.fits() != algorithm.fits()) {
            assert_eq!(PublicJwk::from_spki(&der, other), Err(BadKey::Misfit(other)));
        }
        assert_eq!(PublicJwk::from_spki(&der[1..], algorithm), Err(BadKey::Unreadable));
    }
}

#[test]
fn an_ecdsa_signature_in_der_becomes_the_one_in_a_token() {
    use aws_lc_rs::signature::ECDSA_P384_SHA384_ASN1_SIGNING;
    let made = PrivateJwk::generate(Algorithm::Es384, 0).unwrap();
    let d = decode(made.secret().expose()).unwrap();
    let Pair::Ec(fixed) = &made.pair else { unreachable!() };
    let public = fixed.public_key().as_ref();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P384_SHA384_ASN1_SIGNING, &d, public).unwrap();
    let input = signing_input(Algorithm::Es384, made.public().kid(), &json!({}));
    let der = pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
    let raw = raw_signature(Algorithm::Es384, der.as_ref()).unwrap();
    assert_eq!(raw.len(), 96);
    assert!(verify(&compact(&input, &raw), &set(made.public())).is_ok());
    assert_eq!(raw_signature(Algorithm::Rs256, b"as it is").unwrap(), b"as it is");
    assert!(raw_signature(Algorithm::Es256, &raw).is_err());
}

#[test]
fn a_public_key_holds_nothing_private() {
    for key in [RS256_KEY, ES256_KEY, ED25519_KEY] {
        let shown = private(key).public().to_json();
        let members: BTreeMap<String, String> = serde_json::from_str(&shown).unwrap();
        assert!(members.keys().all(|name| !RSA_SECRETS.contains(&name.as_str())), "{shown}");
        assert_eq!(PublicJwk::parse(&shown).unwrap().to_json(), shown);
        let mut members = members;
        members.insert("d".into(), "x".into());
        assert_eq!(PublicJwk::parse(&json!(members).to_string()), Err(BadKey::Unreadable));
    }
}

#[test]
fn the_owners_name_for_a_key_stays() {
    let mut key: Value = serde_json::from_str(ES256_KEY).unwrap();
    key["kid"] = "2026-a".into();
    key["x5c"] = "of no use here".into();
    let key = PrivateJwk::read(&key).unwrap();
    assert_eq!((key.public().kid(), key.public().algorithm()), ("2026-a", Algorithm::Es256));
    assert_ne!(key.public().thumbprint(), "2026-a");
    assert!(!key.to_json().expose().contains("x5c"));
}

#[test]
fn an_unfit_private_key_is_refused_by_what_is_wrong_and_never_quoted() {
    let changed = |key: &str, name: &str, value: Value| {
        let mut key: Value = serde_json::from_str(key).unwrap();
        key[name] = value;
        key.to_string()
    };
    let without = |key: &str, name: &str| {
        let mut key: BTreeMap<String, Value> = serde_json::from_str(key).unwrap();
        key.remove(name);
        json!(key).to_string()
    };
    let other_ec = PrivateJwk::generate(Algorithm::Es256, 0).unwrap();
    for (json, named) in [
        ("marked".to_owned(), "object"),
        ("[\"marked\"]".to_owned(), "object"),
        (changed(ES256_KEY, "kty", "marked".into()), "kty"),
        (changed(ES256_KEY, "kty", "oct".into()), "kty"),
        (changed(ES256_KEY, "crv", "P-521".into()), "P-384"),
        (changed(ES256_KEY, "crv", "P-384".into()), "full length"),
        (changed(ES256_KEY, "alg", "marked".into()), "ES256"),
        (changed(ES256_KEY, "alg", "ES384".into()), "alg does not fit"),
        (changed(ES256_KEY, "alg", "RS256".into()), "alg does not fit"),
        (changed(ES256_KEY, "d", "marked".into()), "x, y and d"),
        (changed(ES256_KEY, "d", other_ec.secret().expose().into()), "not one key"),
        (changed(ES256_KEY, "use", "enc".into()), "use"),
        (changed(ES256_KEY, "kid", "".into()), "kid"),
        (changed(ES256_KEY, "kid", 7.into()), "kid"),
        (without(ES256_KEY, "d"), "x, y and d"),
        (changed(ED25519_KEY, "crv", "X25519".into()), "Ed25519"),
        (changed(ED25519_KEY, "d", "marked".into()), "x and d"),
        (changed(ED25519_KEY, "alg", "ES256".into()), "alg does not fit"),
        (without(RS256_KEY, "alg"), "write RS256 or PS256"),
        (without(RS256_KEY, "qi"), "dq, qi"),
        (changed(RS256_KEY, "oth", json!([])), "two primes"),
        (changed(RS256_KEY, "d", "AQAB".into()), "not one key"),
        (changed(RS256_KEY, "n", encode(&[255; 128]).into()), "2048"),
        (changed(RS256_KEY, "alg", "EdDSA".into()), "alg does not fit"),
    ] {
        let said = PrivateJwk::parse(&SecretValue::new(json.as_str())).unwrap_err().to_string();
        assert!(said.contains(named), "{named}: {said}");
        let secrets = ["marked", "jpsQ", "nWGx", "Eq5x", "4Bz", other_ec.secret().expose()];
        assert!(!secrets.iter().any(|secret| said.contains(secret)), "{said}");
    }
}

#[test]
fn a_wish_that_means_nothing_is_refused_by_name() {
    let wishes = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(wished(&wishes(&[]), None), Ok((Algorithm::Es256, 2_048)));
    assert_eq!(wished(&wishes(&[("algorithm", "PS256"), ("rsa-bits", "3072")]), None), Ok((Algorithm::Ps256, 3_072)));
    for (pairs, tag, remedy) in [
        (wishes(&[("algorithm", "HS256")]), "rotator:algorithm", "write one of ES256"),
        (wishes(&[("algorithm", "es256")]), "rotator:algorithm", "write one of ES256"),
        (wishes(&[("rsa-bits", "2048")]), "rotator:rsa-bits", "remove it"),
        (wishes(&[("algorithm", "RS256"), ("rsa-bits", "1024")]), "rotator:rsa-bits", "write 2048"),
        (wishes(&[("algorithm", "RS256"), ("rsa-bits", "many")]), "rotator:rsa-bits", "write 2048"),
    ] {
        let said = wished(&pairs, None).unwrap_err().to_string();
        assert!(said.contains(tag) && said.contains(remedy), "{said}");
    }
    assert!(PrivateJwk::generate(Algorithm::Rs256, 1_024).unwrap_err().to_string().contains("rsa-bits"));
}

#[test]
fn a_token_that_names_no_key_or_is_none_is_refused() {
    let keys = set(private(ES256_KEY).public());
    assert_eq!(verify(ES256_TOKEN, &keys), Err(Unverified::NoKid));
    for bad in ["", "a.b", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(verify(bad, &keys), Err(Unverified::Malformed), "{bad}");
    }
}
