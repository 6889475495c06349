//! Tokens of an issuer outside of the cluster, over the wire: who is let in, as whom, and every way in which nobody is.
#![allow(clippy::unwrap_used)]
mod issuer;
mod wire;

use std::time::{Duration, Instant};

use kontiki_apiserver::{AuthenticationSource, OidcFlags};
use serde_json::{Value, json};

use issuer::Issuer;
use wire::Running;

const ME: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

async fn serving(source: AuthenticationSource) -> Running {
    Running::start_configured(|_, config| config.authentication = source).await
}

fn flags(issuer: &Issuer) -> OidcFlags {
    OidcFlags {
        issuer_url: issuer.url.clone(),
        client_id: "kubernetes".to_owned(),
        authority: Some(issuer.authority.clone()),
        ..OidcFlags::default()
    }
}

/// A document with one issuer, otherwise as this says.
fn document(issuer: &Issuer, rest: Value) -> AuthenticationSource {
    let mut one = json!({"claimMappings": {"username": {"claim": "sub", "prefix": "idp:"}}});
    for (name, value) in rest.as_object().unwrap() {
        one[name] = value.clone();
    }
    one["issuer"] = json!({
        "url": issuer.url, "certificateAuthority": issuer.authority, "audiences": ["kubernetes", "other"],
        "audienceMatchPolicy": "MatchAny",
    });
    let kind = "AuthenticationConfiguration";
    AuthenticationSource::Document(
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": kind, "jwt": [one]}).to_string(),
    )
}

/// Who the server takes the holder of a token for; `None` if for nobody.
async fn whoami(server: &Running, token: &str) -> Option<Value> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = server.bearer(token).await.post(ME, &review).await;
    match answer.status.as_u16() {
        201 => Some(answer.json()["status"]["userInfo"].clone()),
        401 => None,
        code => panic!("{code}: {}", answer.text()),
    }
}

async fn name(server: &Running, token: &str) -> Option<String> {
    Some(whoami(server, token).await?["username"].as_str().unwrap().to_owned())
}

#[test]
fn names_and_groups_come_from_claims_with_prefixes_as_in_kubernetes() {
    run(async {
        let issuer = Issuer::start().await;
        let plain = flags(&issuer);
        let email = OidcFlags { username_claim: "email".into(), ..flags(&issuer) };
        let bare = OidcFlags { username_prefix: "-".into(), ..flags(&issuer) };
        let groups = OidcFlags { groups_claim: "groups".into(), groups_prefix: "idp:".into(), ..bare.clone() };
        let unprefixed = OidcFlags { groups_claim: "groups".into(), ..bare.clone() };
        let required = OidcFlags { required_claims: [("org".into(), "x".into())].into(), ..bare.clone() };
        let address = |verified: Value| json!({"email": "jane@example.com", "email_verified": verified});
        let masters = json!({"groups": ["system:masters", "dev"]});
        let told = |name: &str, groups: &[&str]| {
            let groups: Vec<_> = groups.iter().chain(&["system:authenticated"]).collect();
            Some(json!({"username": name, "groups": groups}))
        };
        let cases = [
            (&plain, json!({}), told(&format!("{}#jane", issuer.url), &[])),
            (&plain, masters.clone(), told(&format!("{}#jane", issuer.url), &[])),
            (&plain, json!({"sub": ""}), None),
            (&plain, json!({"sub": 7}), None),
            (&email, address(json!(true)), told("jane@example.com", &[])),
            (&email, json!({"email": "jane@example.com"}), told("jane@example.com", &[])),
            (&email, address(json!(false)), None),
            (&email, address(json!("true")), None),
            (&email, json!({}), None),
            (&bare, json!({}), told("jane", &[])),
            (&groups, masters.clone(), told("jane", &["idp:system:masters", "idp:dev"])),
            (&groups, json!({"groups": "dev"}), told("jane", &["idp:dev"])),
            (&groups, json!({}), told("jane", &[])),
            (&groups, json!({"groups": {"a": 1}}), None),
            (&groups, json!({"groups": ["dev", 1]}), None),
            // Without a prefix the issuer is as mighty as Kubernetes lets it be: the operator said so.
            (&unprefixed, masters, told("jane", &["system:masters", "dev"])),
            (&required, json!({"org": "x"}), told("jane", &[])),
            (&required, json!({"org": "y"}), None),
            (&required, json!({"org": ["x"]}), None),
            (&required, json!({}), None),
        ];
        let mut servers: Vec<(&OidcFlags, Running)> = Vec::new();
        for (flags, claims, expected) in cases {
            if !servers.iter().any(|(known, _)| *known == flags) {
                servers.push((flags, serving(AuthenticationSource::Flags(flags.clone())).await));
            }
            let (_, server) = servers.iter().find(|(known, _)| *known == flags).unwrap();
            assert_eq!(whoami(server, &issuer.token(claims.clone())).await, expected, "{claims} {flags:?}");
        }
    });
}

#[test]
fn forged_stale_and_foreign_tokens_are_nobodys() {
    run(async {
        let issuer = Issuer::start().await;
        let server = serving(AuthenticationSource::Flags(flags(&issuer))).await;
        let now = chrono::Utc::now().timestamp();
        let claims = issuer.claims(json!({}));
        assert!(whoami(&server, &issuer.token(json!({}))).await.is_some());
        assert!(whoami(&server, &issuer.signed("RS256", None, &claims)).await.is_some(), "any key may have signed it");
        assert!(whoami(&server, &issuer.token(json!({"aud": ["a", "kubernetes"]}))).await.is_some());
        assert!(whoami(&server, &issuer.token(json!({"exp": now as f64 + 600.5}))).await.is_some());

        let sound = issuer.token(json!({}));
        let parts: Vec<&str> = sound.split('.').collect();
        let other = issuer.token(json!({"sub": "root"}));
        let spliced = format!("{}.{}.{}", parts[0], other.split('.').nth(1).unwrap(), parts[2]);
        let mut endless = claims.clone();
        endless.as_object_mut().unwrap().shift_remove("exp");
        let refused = [
            ("unsigned", issuer.signed("none", Some("rsa"), &claims)),
            ("stripped", format!("{}.{}.", parts[0], parts[1])),
            ("the public key as a secret", issuer.signed("HS256", Some("rsa"), &claims)),
            ("an algorithm that is not allowed", issuer.signed("PS384", Some("rsa"), &claims)),
            ("a key that is not allowed", issuer.signed("ES256", Some("ec"), &claims)),
            ("a key of another kind", issuer.with_header(&json!({"alg": "RS256", "kid": "ec"}), &claims)),
            ("another's claims", spliced),
            (
                "an extension",
                issuer.with_header(&json!({"alg": "RS256", "kid": "rsa", "crit": ["b64"], "b64": false}), &claims),
            ),
            ("another audience", issuer.token(json!({"aud": "kubernetes-not"}))),
            ("no audience", issuer.token(json!({"aud": []}))),
            ("expired", issuer.token(json!({"exp": now - 1}))),
            ("without an end", issuer.signed("RS256", Some("rsa"), &endless)),
            ("to come", issuer.token(json!({"nbf": now + 600}))),
            ("issued later", issuer.token(json!({"iat": now + 600}))),
            ("another issuer", issuer.token(json!({"iss": "https://elsewhere.example"}))),
            ("this cluster's name", issuer.token(json!({"iss": "https://kubernetes.default.svc"}))),
            ("no issuer", issuer.token(json!({"iss": null}))),
        ];
        for (what, token) in refused {
            assert_eq!(whoami(&server, &token).await, None, "{what}");
        }

        let flags = OidcFlags { signing_algs: vec!["ES256".into(), "PS384".into()], ..flags(&issuer) };
        let server = serving(AuthenticationSource::Flags(flags)).await;
        for (alg, kid, good) in [("ES256", "ec", true), ("PS384", "rsa", true), ("RS256", "rsa", false)] {
            assert_eq!(whoami(&server, &issuer.signed(alg, Some(kid), &claims)).await.is_some(), good, "{alg}");
        }
    });
}

#[test]
fn accounts_tokens_and_an_issuers_never_pass_for_each_other() {
    run(async {
        let issuer = Issuer::start().await;
        let flags = OidcFlags {
            client_id: "https://kubernetes.default.svc".into(),
            username_prefix: "-".into(),
            ..flags(&issuer)
        };
        let server = serving(AuthenticationSource::Flags(flags)).await;
        let mut admin = server.admin().await;
        let path = "/api/v1/namespaces/default/serviceaccounts";
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
        assert_eq!(admin.post(path, &account).await.status, 201);
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let own = admin.post(&format!("{path}/robot/token"), &request).await.json();
        let own = own["status"]["token"].as_str().unwrap().to_owned();
        assert_eq!(name(&server, &own).await.as_deref(), Some("system:serviceaccount:default:robot"));

        let claims = json!({
            "aud": "https://kubernetes.default.svc", "sub": "system:serviceaccount:default:robot",
            "kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "robot", "uid": "x"}},
        });
        let posing = whoami(&server, &issuer.token(claims.clone())).await.unwrap();
        assert_eq!(posing["groups"], json!(["system:authenticated"]), "a name, but none of an account's groups");
        let mut claimed = issuer.claims(claims);
        claimed["iss"] = "https://kubernetes.default.svc".into();
        for (alg, kid) in [("RS256", "rsa"), ("ES256", "ec")] {
            assert_eq!(whoami(&server, &issuer.signed(alg, Some(kid), &claimed)).await, None);
        }
        let review = |token: &str, audiences: Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": audiences}});
        let sound = issuer.token(json!({"aud": "https://kubernetes.default.svc"}));
        let mut ask = async |token: &str, audiences: Value| {
            let answer = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &review(token, audiences)).await;
            answer.json()["status"].clone()
        };
        let status = ask(&sound, json!([])).await;
        assert_eq!((&status["authenticated"], &status["user"]["username"]), (&json!(true), &json!("jane")));
        let status = ask(&sound, json!(["vault"])).await;
        assert_eq!(status["authenticated"], Value::Null, "it is for this server, not for others");
        let status = ask(&issuer.token(json!({"aud": "vault"})), json!(["vault"])).await;
        assert!(status["error"].as_str().unwrap().contains("oidc"), "{status}");
    });
}

#[test]
fn keys_are_fetched_when_they_change_and_no_oftener_whatever_tokens_name() {
    run(async {
        let issuer = Issuer::start().await;
        issuer.publish(&["rsa:first"]);
        let server = serving(AuthenticationSource::Flags(flags(&issuer))).await;
        let claims = issuer.claims(json!({}));
        assert!(whoami(&server, &issuer.signed("RS256", Some("first"), &claims)).await.is_some());
        let (begun, before) = (Instant::now(), issuer.asked());
        for kid in 0..50 {
            let token = issuer.signed("RS256", Some(&format!("made-up-{kid}")), &claims);
            assert_eq!(whoami(&server, &token).await, None);
        }
        let (asked, seconds) = (issuer.asked() - before, begun.elapsed().as_secs());
        assert!(asked as u64 <= 1 + seconds / 5, "asked {asked} times in {seconds} s");
        issuer.publish(&["rsa:second"]);
        let changed =
            async { while whoami(&server, &issuer.signed("RS256", Some("second"), &claims)).await.is_none() {} };
        tokio::time::timeout(Duration::from_secs(60), changed).await.expect("the new key counts");
        assert_eq!(
            whoami(&server, &issuer.signed("RS256", Some("first"), &claims)).await,
            None,
            "the old one no longer does"
        );
    });
}

#[test]
fn an_issuer_that_calls_itself_otherwise_is_not_believed() {
    run(async {
        let issuer = Issuer::start().await;
        issuer.pose_as("https://elsewhere.example");
        let server = serving(AuthenticationSource::Flags(flags(&issuer))).await;
        assert_eq!(whoami(&server, &issuer.token(json!({}))).await, None);
        let untrusted = OidcFlags { authority: Some(Issuer::start().await.authority), ..flags(&issuer) };
        issuer.pose_as(&issuer.url);
        let server = serving(AuthenticationSource::Flags(untrusted)).await;
        assert_eq!(whoami(&server, &issuer.token(json!({}))).await, None, "its certificate is somebody else's");
    });
}

#[test]
fn a_document_maps_claims_by_expressions_and_judges_what_comes_of_it() {
    run(async {
        let issuer = Issuer::start().await;
        let source = document(
            &issuer,
            json!({
                "claimMappings": {
                    "username": {"expression": "'idp:' + claims.email.split('@')[0]"},
                    "groups": {"expression": "claims.?roles.orValue([]).map(role, 'role:' + role)"},
                    "uid": {"claim": "sub"},
                    "extra": [{"key": "example.org/tenant", "valueExpression": "has(claims.tenant) ? claims.tenant : ''"}],
                },
                "claimValidationRules": [
                    {"claim": "hd", "requiredValue": "example.com"},
                    {"expression": "claims.email_verified == true", "message": "verify your address first"},
                ],
                "userValidationRules": [
                    {"expression": "!user.username.startsWith('system:')"},
                    {"expression": "user.groups.all(group, !group.startsWith('role:system:'))", "message": "reserved"},
                ],
            }),
        );
        let server = serving(source).await;
        let good = json!({"email": "jane@example.com", "email_verified": true, "hd": "example.com", "aud": "other"});
        let with = |others: Value| {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
            issuer.token(claims)
        };
        let told = whoami(&server, &with(json!({"roles": ["dev", "ops"], "tenant": "t1"}))).await.unwrap();
        let expected = json!({
            "username": "idp:jane", "uid": "jane", "groups": ["role:dev", "role:ops", "system:authenticated"],
            "extra": {"example.org/tenant": ["t1"]},
        });
        assert_eq!(told, expected);
        let told = whoami(&server, &with(json!({}))).await.unwrap();
        assert_eq!((&told["groups"], &told["extra"]), (&json!(["system:authenticated"]), &Value::Null));
        for refused in [
            json!({"hd": "elsewhere.com"}),
            json!({"email_verified": false}),
            json!({"email_verified": null}),
            json!({"email": 7}),
            json!({"roles": "dev"}),
            json!({"roles": ["system:masters"]}),
            json!({"aud": "third"}),
        ] {
            assert_eq!(whoami(&server, &with(refused.clone())).await, None, "{refused}");
        }
        assert!(whoami(&server, &issuer.signed("PS384", Some("rsa"), &issuer.claims(good.clone()))).await.is_some());
    });
}

#[test]
fn a_document_says_where_nobody_in_particular_is_let_in() {
    run(async {
        let kind = "AuthenticationConfiguration";
        let source = |anonymous: Value| {
            let version = "apiserver.config.k8s.io/v1";
            AuthenticationSource::Document(
                json!({"apiVersion": version, "kind": kind, "anonymous": anonymous}).to_string(),
            )
        };
        let server = serving(source(json!({"enabled": true, "conditions": [{"path": "/livez"}]}))).await;
        assert_eq!(server.client(None).await.get("/livez").await.status, 200);
        for path in ["/readyz", "/version", "/livez/ping", "/api"] {
            assert_eq!(server.client(None).await.get(path).await.status, 401, "{path}");
        }
        assert_eq!(server.admin().await.get("/version").await.status, 200);
        let join = server.client(None).await.post("/apis/kontiki.dev/v1/join", &json!({})).await;
        assert_eq!(join.status, 400, "who joins has a token of another sort: {}", join.text());
        let server = serving(source(json!({"enabled": false}))).await;
        assert_eq!(server.client(None).await.get("/livez").await.status, 401);
    });
}

#[test]
fn a_changed_document_counts_at_once_and_one_that_is_not_sound_changes_nothing() {
    run(async {
        let issuer = Issuer::start().await;
        let prefixed = |prefix: &str| {
            let mappings = json!({"claimMappings": {"username": {"claim": "sub", "prefix": prefix}}});
            document(&issuer, mappings)
        };
        let server = serving(prefixed("one:")).await;
        let replace = |source: AuthenticationSource| {
            let AuthenticationSource::Document(text) = source else { panic!("a document") };
            let core = server.api.core();
            core.authentication.replace(&text, core.tokens.issuers())
        };
        let token = issuer.token(json!({}));
        assert_eq!(name(&server, &token).await.as_deref(), Some("one:jane"));
        replace(prefixed("two:")).unwrap();
        assert_eq!(name(&server, &token).await.as_deref(), Some("two:jane"));
        let unsound = document(&issuer, json!({"userValidationRules": [{"expression": "user."}]}));
        assert!(replace(unsound).unwrap_err().to_string().contains("jwt[0].userValidationRules[0].expression"));
        assert_eq!(name(&server, &token).await.as_deref(), Some("two:jane"));
        let version = "apiserver.config.k8s.io/v1";
        let nobody = json!({"apiVersion": version, "kind": "AuthenticationConfiguration", "jwt": []}).to_string();
        replace(AuthenticationSource::Document(nobody)).unwrap();
        assert_eq!(whoami(&server, &token).await, None);
    });
}
