#![allow(clippy::unwrap_used)]
use super::*;
use crate::authn::{algorithm::Algorithm, jws::Jws};

macro_rules! key {
    ($name:literal) => {
        include_str!(concat!("../../../tests/keys/", $name, ".pem"))
    };
}

/// What openssl says: base64url of the SHA-256 of `openssl pkey -pubout -outform DER`.
const RSA_ID: &str = "ObU0_gC_TvGvbzg235Ba5HP8TNcWrRLXa2I785TK5yA";
const P256_ID: &str = "9bgo-J6B5cCEaoi2iDPWhiGweWtHzUJHM5AmypEdxrc";
const P384_ID: &str = "eR1_rJM5qo1xrlQL-NcdbkoC69qixBaH39QM4R1Sg_8";

#[test]
fn a_key_is_the_same_in_every_form_and_has_the_name_that_kubernetes_gives_it() {
    let ids = |text: &str| public_keys(text).unwrap().iter().map(PublicKey::id).collect::<Vec<_>>();
    for text in [
        key!("rsa-pkcs1"),
        key!("rsa-pkcs8"),
        key!("rsa-public-pkcs1"),
        key!("rsa-public-pkix"),
        key!("rsa-certificate"),
    ] {
        assert_eq!(ids(text), [RSA_ID], "{text}");
    }
    for text in [key!("p256-sec1"), key!("p256-pkcs8"), key!("p256-public-pkix")] {
        assert_eq!(ids(text), [P256_ID], "{text}");
    }
    for text in [key!("p384-sec1"), key!("p384-public-pkix")] {
        assert_eq!(ids(text), [P384_ID], "{text}");
    }
    let both = [key!("rsa-public-pkix"), key!("p256-sec1")].concat();
    assert_eq!(ids(&both), [RSA_ID, P256_ID]);
}

#[test]
fn what_a_private_key_signs_its_public_half_confirms() {
    let cases = [
        (key!("rsa-pkcs1"), Algorithm::Rs256),
        (key!("rsa-pkcs8"), Algorithm::Rs256),
        (key!("p256-sec1"), Algorithm::Es256),
        (key!("p256-pkcs8"), Algorithm::Es256),
        (key!("p384-sec1"), Algorithm::Es384),
    ];
    for (text, algorithm) in cases {
        let key = PrivateKey::read(text).unwrap();
        assert_eq!(key.public().algorithm(), algorithm);
        // {"alg":""}
        let mut jws = Jws::split("eyJhbGciOiIifQ.e30.").unwrap();
        jws.signature = key.sign(jws.signed).unwrap();
        assert!(key.public().signed(&jws, algorithm), "{algorithm:?}");
        let others = Algorithm::ALL.into_iter().filter(|other| *other != algorithm);
        assert!(others.into_iter().all(|other| !key.public().signed(&jws, other)), "{algorithm:?}");
        jws.signature[7] ^= 1;
        assert!(!key.public().signed(&jws, algorithm), "{algorithm:?}");
    }
}

#[test]
fn what_cannot_be_used_is_told() {
    let public = |text: &str| public_keys(text).unwrap_err().to_string();
    let private = |text: &str| PrivateKey::read(text).err().unwrap().to_string();
    assert_eq!(public("no key"), "it holds no usable key");
    assert_eq!(private(key!("rsa-public-pkix")), "it holds no private key");
    assert!(private(key!("p521-sec1")).ends_with("curve 1.3.132.0.35"));
    assert!(public(key!("p521-public-pkix")).ends_with("curve 1.3.132.0.35"));
    assert!(private(key!("rsa-1024-pkcs8")).ends_with("TooSmall"));
    for short in [key!("rsa-1024-public-pkix"), key!("rsa-1024-public-pkcs1")] {
        assert!(public(short).ends_with("1024 bits, not 2048 to 8192"), "{short}");
        // Not passed over for the sake of another one that is good.
        assert!(public(&[key!("rsa-public-pkix"), short].concat()).ends_with("1024 bits, not 2048 to 8192"));
    }
}
