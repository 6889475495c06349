#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::{Authentication, AuthenticationSource, OidcFlags};

const OWN: &str = "https://kubernetes.default.svc";

fn fault(source: &AuthenticationSource) -> String {
    Authentication::new(source, &[OWN.to_owned(), "https://former".to_owned()])
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

#[test]
fn a_document_that_is_not_sound_is_told_with_its_field() {
    let issuer = json!({"url": "https://a.example", "audiences": ["k"]});
    let username = json!({"claim": "sub", "prefix": ""});
    let jwt = |members: Value| {
        let mut one = json!({"issuer": issuer, "claimMappings": {"username": username}});
        one.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        json!({"jwt": [one]})
    };
    let of = |url: &str| jwt(json!({"issuer": {"url": url, "audiences": ["k"]}}));
    let mapping = |name: &str, value: Value| {
        let mut mappings = json!({"username": username});
        mappings[name] = value;
        jwt(json!({"claimMappings": mappings}))
    };
    let extra = |key: &str| mapping("extra", json!([{"key": key, "valueExpression": "claims.a"}]));
    let claim_rule = |rule: Value| jwt(json!({"claimValidationRules": [rule]}));
    let user_rule = |text: &str| jwt(json!({"userValidationRules": [{"expression": text}]}));
    let one = jwt(json!({}))["jwt"][0].clone();
    let cases = [
        (json!({"kind": "Other"}), "it is no AuthenticationConfiguration of apiserver.config.k8s.io/v1, but \"Other\""),
        (json!({"surplus": 1}), "unknown field `surplus`"),
        (json!({"jwt": vec![one.clone(); 65]}), "jwt: must have at most 64 items"),
        (json!({"jwt": [one.clone(), one]}), "jwt[1].issuer.url: Duplicate value"),
        (of(""), "jwt[0].issuer.url: Required value"),
        (of("http://a.example"), "URL scheme must be https"),
        (of("https://u:p@a.example"), "must not contain a username or password"),
        (of("https://a.example?x=1"), "must not contain a query"),
        (of("https://a.example/#x"), "must not contain a fragment"),
        (of(OWN), "URL must not overlap with disallowed issuers: [https://kubernetes.default.svc https://former]"),
        (of("https://former"), "URL must not overlap with disallowed issuers"),
        (jwt(json!({"issuer": {"url": "https://a.example"}})), "jwt[0].issuer.audiences: at least one"),
        (
            jwt(json!({"issuer": {"url": "https://a.example", "audiences": ["a", "b"]}})),
            "audienceMatchPolicy must be MatchAny for multiple audiences",
        ),
        (
            jwt(
                json!({"issuer": {"url": "https://a.example", "audiences": ["a"], "discoveryURL": "https://a.example/"}}),
            ),
            "discoveryURL must be different from URL",
        ),
        (
            jwt(json!({"issuer": {"url": "https://a.example", "audiences": ["a"], "certificateAuthority": "none"}})),
            "jwt[0].issuer.certificateAuthority: data does not contain any valid",
        ),
        (mapping("username", json!({})), "jwt[0].claimMappings.username: claim or expression is required"),
        (mapping("username", json!({"claim": "sub"})), "username.prefix: prefix is required when claim is set"),
        (
            mapping("groups", json!({"claim": "g", "expression": "claims.g"})),
            "groups: claim and expression can't both be set",
        ),
        (mapping("groups", json!({"expression": "claims.g", "prefix": "x"})), "groups.prefix: may not be specified"),
        (mapping("groups", json!({"expression": "claims."})), "groups.expression: compilation failed"),
        (mapping("uid", json!({"expression": "nothing.a"})), "uid.expression: compilation failed"),
        (mapping("username", json!({"expression": "claims.email"})), "claims.email_verified must be used in"),
        (
            mapping("username", json!({"expression": "claims.?email.orValue('')"})),
            "claims.email_verified must be used in",
        ),
        (extra("tenant"), "extra[0].key: must be a domain-prefixed path"),
        (extra("example.org/Tenant"), "must be lowercase"),
        (extra("x.kubernetes.io/tenant"), "are reserved for Kubernetes use"),
        (claim_rule(json!({})), "jwt[0].claimValidationRules[0]: claim or expression is required"),
        (claim_rule(json!({"claim": "a", "message": "m"})), "may not be specified when claim is set"),
        (claim_rule(json!({"expression": "'a'"})), "claimValidationRules[0].expression: must evaluate to bool"),
        (user_rule(""), "jwt[0].userValidationRules[0].expression: Required value"),
        (user_rule("user.name == 'x'"), "compilation failed"),
        (
            json!({"anonymous": {"enabled": false, "conditions": [{"path": "/livez"}]}}),
            "anonymous.conditions: enabled should be set to true when conditions are defined",
        ),
    ];
    let told = |members: &Value| {
        let mut document = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"});
        document.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        fault(&AuthenticationSource::Document(document.to_string()))
    };
    for (members, expected) in cases {
        let told = told(&members);
        assert!(told.contains(expected), "{told:?} does not say {expected:?} of {members}");
    }
    let sound = [
        jwt(json!({})),
        mapping("username", json!({"expression": "claims.email_verified ? claims.email : ''"})),
        user_rule("user.extra.all(key, key != 'a') && user.uid == ''"),
        json!({}),
    ];
    for members in sound {
        assert_eq!(told(&members), "", "{members}");
    }
}

#[test]
fn flags_that_are_not_sound_are_told() {
    let flags = |url: &str, client: &str, algorithms: &[&str]| {
        AuthenticationSource::Flags(OidcFlags {
            issuer_url: url.to_owned(),
            client_id: client.to_owned(),
            signing_algs: algorithms.iter().map(|&one| one.to_owned()).collect(),
            ..OidcFlags::default()
        })
    };
    let cases = [
        (flags("https://a.example", "", &[]), "must be specified together"),
        (flags("http://a.example", "k", &[]), "URL scheme must be https"),
        (flags(OWN, "k", &[]), "service account tokens"),
        (flags("https://a.example", "k", &["RS256", "ES512"]), "ES512 is not supported: it signs on the curve P-521"),
        (flags("https://a.example", "k", &["HS256"]), "\"HS256\" is not supported"),
        (flags("https://a.example", "k", &["none"]), "\"none\" is not supported"),
    ];
    for (source, expected) in cases {
        assert!(fault(&source).contains(expected), "{source:?}: {}", fault(&source));
    }
}
