#![allow(clippy::unwrap_used)]
use kontiki_model::Key;
use kontiki_raft::{Seal, Standing};

use super::{
    Encryption,
    cipher::{Scheme, SealingKey},
    path,
};

const BODY: &[u8] = br#"{"kind":"Secret"}"#;

fn key(resource: &str, name: &str) -> Key {
    Key::new(resource, "default", name)
}

fn secret() -> Key {
    key("secrets", "a")
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Configurations for Secrets, each entry a provider.
fn providers(providers: &[&str]) -> String {
    let entries: String = providers.iter().map(|provider| format!("  - {provider}\n")).collect();
    rules(&format!("- resources: [secrets]\n  providers:\n{entries}"))
}

fn rules(rules: &str) -> String {
    format!("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n{rules}")
}

/// Key material of 32 bytes, all the same.
fn material(byte: u8) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode([byte; 32])
}

fn aescbc(name: &str, byte: u8) -> String {
    format!("aescbc: {{keys: [{{name: {name}, secret: {}}}]}}", material(byte))
}

fn sealed(encryption: &Encryption, key: &Key) -> Vec<u8> {
    encryption.seal(key, BODY).unwrap().unwrap()
}

#[test]
fn what_other_implementations_sealed_is_opened() {
    let material: Vec<u8> = (0..32).collect();
    let iv = "0f0e0d0c0b0a09080706050403020100";
    let nonce = "000102030405060708090a0b";
    let cases = [
        (Scheme::AesCbc, 16, iv, "147a5dc0f0228a290f550e84580bffbf258101573923d52c43cf600d9d6123b9"),
        (Scheme::AesCbc, 24, iv, "6d024932dc3d267c6b095ab682897e1241123bde9622e28ce17dcea191102c72"),
        (Scheme::AesCbc, 32, iv, "879d84dcc716e0f1acfe652618153884bdf702b381d9acf79ac166efbb4a5c02"),
        (Scheme::AesGcm, 16, nonce, "e84ecca7087fd56e698104e944c6042ace7e84d2036f2a01dc1244e2abe6bee5b9"),
        (Scheme::AesGcm, 24, nonce, "9ddb49f2f7ddeb34f260b9e18dcca8527323f185148b3d5cfc7e8d3792e19f1f89"),
        (Scheme::AesGcm, 32, nonce, "3c20bd72ab81e021af12f2e8c38c0c4ffe1088c8292577bb0a7c5fec9690e03563"),
        (
            Scheme::Secretbox,
            32,
            "000102030405060708090a0b0c0d0e0f1011121314151617",
            "04ea051d45311f98b1b8fa426fca41d025dd5326a9ae802a996fea5d1aea3eb52f",
        ),
    ];
    for (scheme, length, begins, rest) in cases {
        let one = SealingKey::new(scheme, "k", &material[..length]).unwrap();
        let mut stored = format!("k8s:enc:{}:v1:k:", scheme.name()).into_bytes();
        stored.extend(bytes(begins));
        stored.extend(bytes(rest));
        assert_eq!(one.open(&path(&secret()), &stored).unwrap(), BODY, "{scheme:?} {length}");
    }
}

#[test]
fn every_provider_opens_what_it_sealed_and_nothing_that_was_changed() {
    let all = |name: &str| format!("{name}: {{keys: [{{name: k, secret: {}}}]}}", material(7));
    for scheme in ["aescbc", "aesgcm", "secretbox"] {
        let encryption = Encryption::new(&providers(&[&all(scheme)])).unwrap();
        let (one, other) = (sealed(&encryption, &secret()), sealed(&encryption, &secret()));
        assert!(one.starts_with(format!("k8s:enc:{scheme}:v1:k:").as_bytes()));
        assert_ne!(one, other, "a nonce serves once");
        assert_eq!(encryption.open(&secret(), &one).unwrap(), BODY);
        let prefix = one.len() - one.strip_prefix(format!("k8s:enc:{scheme}:v1:k:").as_bytes()).unwrap().len();
        for cut in prefix..one.len() {
            assert!(encryption.open(&secret(), &one[..cut]).is_err(), "{scheme} cut at {cut}");
        }
        if scheme == "aescbc" {
            continue;
        }
        for at in prefix..one.len() {
            let mut changed = one.clone();
            changed[at] ^= 1;
            assert!(encryption.open(&secret(), &changed).is_err(), "{scheme} changed at {at}");
        }
    }
    let gcm = Encryption::new(&providers(&[&all("aesgcm")])).unwrap();
    let moved = gcm.open(&key("secrets", "b"), &sealed(&gcm, &secret())).unwrap_err();
    assert!(moved.to_string().contains("\"k\" of aesgcm does not decrypt it"), "{moved}");
}

#[test]
fn the_narrowest_rule_counts_and_what_no_rule_names_stays_as_it_is() {
    let text = rules(&format!(
        "- resources: ['*.*']\n  providers:\n  - {}\n- resources: [secrets, configmaps]\n  providers:\n  - {}\n- resources: \
         ['*.apps']\n  providers:\n  - {}\n- resources: [events, leases.coordination.k8s.io]\n  providers:\n  - identity: {{}}\n",
        aescbc("all", 1),
        aescbc("named", 2),
        aescbc("apps", 3),
    ));
    let encryption = Encryption::new(&text).unwrap();
    let by = |resource: &str| {
        let sealed = encryption.seal(&key(resource, "a"), BODY).unwrap()?;
        Some(String::from_utf8_lossy(&sealed).split(':').nth(4).unwrap().to_owned())
    };
    let named = [("secrets", "named"), ("configmaps", "named"), ("deployments.apps", "apps"), ("pods", "all")];
    for (resource, name) in named {
        assert_eq!(by(resource).as_deref(), Some(name), "{resource}");
    }
    assert_eq!(by("widgets.example.com").as_deref(), Some("all"));
    assert_eq!((by("events"), by("leases.coordination.k8s.io")), (None, None));
    assert_eq!(encryption.seal(&key("clusterips.kontiki.dev", "10.0.0.1"), b"").unwrap(), None);
    let core =
        Encryption::new(&rules(&format!("- resources: ['*.']\n  providers:\n  - {}\n", aescbc("core", 1)))).unwrap();
    assert!(core.seal(&secret(), BODY).unwrap().is_some());
    assert_eq!(core.seal(&key("deployments.apps", "a"), BODY).unwrap(), None);
}

#[test]
fn a_key_is_changed_in_three_steps_and_each_body_tells_where_it_stands() {
    let (old, new) = (aescbc("old", 1), aescbc("new", 2));
    let encryption = Encryption::new(&providers(&[&old, "identity: {}"])).unwrap();
    let by_old = sealed(&encryption, &secret());
    assert_eq!(encryption.standing(&secret(), &by_old), Standing::Current);
    assert_eq!(encryption.standing(&secret(), BODY), Standing::Outdated, "it was written before encryption began");
    assert_eq!(encryption.replace(&providers(&[&old, "identity: {}"])), Ok(false));

    assert_eq!(encryption.replace(&providers(&[&new, &old])), Ok(true));
    assert_eq!(encryption.standing(&secret(), &by_old), Standing::Outdated);
    assert_eq!(encryption.open(&secret(), &by_old).unwrap(), BODY);
    let by_new = sealed(&encryption, &secret());
    assert_eq!(encryption.standing(&secret(), &by_new), Standing::Current);

    assert!(encryption.replace("nonsense").is_err());
    assert_eq!(encryption.open(&secret(), &by_old).unwrap(), BODY, "what is not sound changes nothing");

    encryption.replace(&providers(&[&new])).unwrap();
    assert_eq!(encryption.standing(&secret(), &by_old), Standing::Unopenable);
    let lost = encryption.open(&secret(), &by_old).unwrap_err().to_string();
    assert_eq!(
        lost,
        "it is encrypted with key \"old\" of aescbc, which the encryption configuration does not have for secrets"
    );

    encryption.replace(&providers(&["identity: {}", &new])).unwrap();
    assert_eq!(encryption.seal(&secret(), BODY).unwrap(), None, "identity first decrypts what is written again");
    assert_eq!(encryption.standing(&secret(), &by_new), Standing::Outdated);
    assert_eq!(encryption.standing(&secret(), BODY), Standing::Current);
    let elsewhere = encryption.open(&key("configmaps", "a"), &by_new).unwrap_err().to_string();
    assert!(elsewhere.ends_with("has no providers for configmaps"), "{elsewhere}");
}

#[test]
fn another_key_of_the_same_name_is_told() {
    for other in 2..40 {
        let sealed = sealed(&Encryption::new(&providers(&[&aescbc("k", 1)])).unwrap(), &secret());
        let encryption = Encryption::new(&providers(&[&aescbc("k", other)])).unwrap();
        encryption.open(&secret(), &sealed).unwrap_err();
        let both = Encryption::new(&providers(&[&aescbc("k", other), &aescbc("k", 1)])).unwrap();
        assert_eq!(both.open(&secret(), &sealed).unwrap(), BODY);
    }
}

#[test]
fn a_configuration_that_is_not_sound_is_told_with_its_field_and_never_with_a_key() {
    let secret = material(9);
    let keys = |provider: &str, keys: &str| providers(&[&format!("{provider}: {{keys: {keys}}}")]);
    let of = |names: &str| rules(&format!("- resources: {names}\n  providers: [{{identity: {{}}}}]\n"));
    let field = "resources[0].providers[0]";
    let cases = [
        (String::new(), "it is no EncryptionConfiguration".to_owned()),
        (
            "apiVersion: v1\nkind: EncryptionConfig".to_owned(),
            "it is no EncryptionConfiguration of apiserver.config.k8s.io/v1, but \"EncryptionConfig\" of \"v1\""
                .to_owned(),
        ),
        (rules(" []"), "resources: at least one resources is required".to_owned()),
        (providers(&[]), "resources[0].providers: at least one provider is required".to_owned()),
        (of("[]"), "resources[0].resources: at least one resource is required".to_owned()),
        (of("['*']"), "use '*.' to encrypt all the resources from core API group".to_owned()),
        (of("[Secrets]"), "should not contain capital letters".to_owned()),
        (of("['secrets.*']"), "encrypting the same resource across groups is not supported".to_owned()),
        (of("[secrets, secrets]"), "the same resource cannot be specified multiple times".to_owned()),
        (of("[secrets, '*.']"), "resources[0].resources: using overlapping resources".to_owned()),
        (of("['*.*', deployments.apps]"), "using overlapping resources".to_owned()),
        (of("[events.events.k8s.io]"), "Use 'events' instead".to_owned()),
        (of("[serviceipallocations]"), "do not have REST API/s".to_owned()),
        (keys("aescbc", "[]"), format!("{field}.aescbc.keys: at least one keys is required")),
        (keys("aescbc", "[{secret: AAAA}]"), format!("{field}.aescbc.keys[0].name: name is a mandatory")),
        (keys("aescbc", "[{name: a}]"), format!("{field}.aescbc.keys[0].secret: secret is a mandatory")),
        (keys("aescbc", "[{name: a, secret: '?'}]"), "secrets must be base64 encoded".to_owned()),
        (keys("secretbox", "[{name: a, secret: AAAA}]"), "got 3, expected one of [32]".to_owned()),
        (
            keys("aesgcm", "[{name: a, secret: AAAAAAAAAAAAAAAAAAAAAAAAAAAA}]"),
            "got 21, expected one of [16, 24, 32]".to_owned(),
        ),
        (
            providers(&["kms: {apiVersion: v2, name: vault, endpoint: 'unix:///x'}"]),
            format!("{field}.kms: this server calls no"),
        ),
        (providers(&["{}"]), "does not contain any of the expected providers".to_owned()),
        (providers(&[&format!("{}\n    identity: {{}}", aescbc("a", 9))]), "more than one provider".to_owned()),
        (providers(&[&format!("aescbc: {{keys: {secret}}}")]), "expected a sequence".to_owned()),
        (providers(&["aescbc: {keys: [{name: a, secret: 1234567}]}"]), "expected a string".to_owned()),
        (providers(&[&format!("aescbc: {{key: [{{name: a, secret: {secret}}}]}}")]), "unknown field `key`".to_owned()),
    ];
    for (text, expected) in cases {
        let told = Encryption::new(&text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains(&expected), "{told:?} does not say {expected:?} of\n{text}");
        assert!(!told.contains(&secret) && !told.contains("1234567"), "{told}");
    }
}
