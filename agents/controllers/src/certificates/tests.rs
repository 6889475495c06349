#![allow(clippy::unwrap_used)]
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use serde_json::{Value, json};

use super::*;

const NODE: (&str, &[&str]) = ("system:node:n1", &["system:nodes"]);
const CLIENT: &[&str] = &["digital signature", "client auth"];
const SERVER: &[&str] = &["digital signature", "key encipherment", "server auth"];

fn sans(dns: bool, ip: bool, email: bool, uri: bool) -> Vec<SanType> {
    let mut names = Vec::new();
    names.extend(dns.then(|| SanType::DnsName("n1".try_into().unwrap())));
    names.extend(ip.then(|| SanType::IpAddress([10, 0, 0, 1].into())));
    names.extend(email.then(|| SanType::Rfc822Name("a@b".try_into().unwrap())));
    names.extend(uri.then(|| SanType::URI("x://y".try_into().unwrap())));
    names
}

fn pem((name, groups): (&str, &[&str]), names: Vec<SanType>) -> String {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    // rcgen has one value of each type: the second group goes in by the number of its type.
    let kinds = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
    for (kind, group) in kinds.into_iter().zip(groups) {
        parameters.distinguished_name.push(kind, *group);
    }
    parameters.subject_alt_names = names;
    parameters.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn request(signer: &str, pem: &str, usages: &[&str], status: Value) -> CertificateSigningRequest {
    let mut request: CertificateSigningRequest = serde_json::from_value(json!({
        "metadata": {"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status,
        "spec": {"signerName": format!("kubernetes.io/{signer}"), "request": "", "usages": usages,
            "username": "system:node:n1"}}))
    .unwrap();
    request.spec.request = ByteString(pem.as_bytes().to_vec());
    request
}

fn conditions(kinds: &[&str]) -> Value {
    let told = |kind: &&str| json!({"type": kind, "status": "True", "lastUpdateTime": "2026-01-01T00:00:00Z"});
    json!({"conditions": kinds.iter().map(told).collect::<Vec<_>>()})
}

#[test]
fn each_signer_signs_what_fits_it_and_says_what_does_not() {
    let fails = |why: &str| Verdict::Fail(why.to_owned());
    let anybody: (&str, &[&str]) = ("jane", &["devs"]);
    let none = || sans(false, false, false, false);
    let cases = [
        ("kube-apiserver-client", anybody, none(), CLIENT, Verdict::Sign),
        ("kube-apiserver-client", anybody, none(), SERVER, fails("invalid usage for client certificate: server auth")),
        (
            "kube-apiserver-client",
            anybody,
            none(),
            &["digital signature"],
            fails("missing required usage for client certificate: client auth"),
        ),
        ("kube-apiserver-client-kubelet", NODE, none(), CLIENT, Verdict::Sign),
        ("kube-apiserver-client-kubelet", anybody, none(), CLIENT, fails("subject organization is not system:nodes")),
        (
            "kube-apiserver-client-kubelet",
            ("system:node:n1", &["system:nodes", "devs"]),
            none(),
            CLIENT,
            fails("subject organization is not system:nodes"),
        ),
        (
            "kube-apiserver-client-kubelet",
            NODE,
            sans(true, false, false, false),
            CLIENT,
            fails("DNS subjectAltNames are not allowed"),
        ),
        (
            "kube-apiserver-client-kubelet",
            ("jane", &["system:nodes"]),
            none(),
            CLIENT,
            fails("subject common name does not begin with system:node:"),
        ),
        (
            "kube-apiserver-client-kubelet",
            NODE,
            none(),
            SERVER,
            fails("usages did not match [client auth digital signature key encipherment]"),
        ),
        ("kubelet-serving", NODE, sans(true, true, false, false), SERVER, Verdict::Sign),
        ("kubelet-serving", NODE, none(), SERVER, fails("DNS or IP subjectAltName is required")),
        (
            "kubelet-serving",
            NODE,
            sans(true, false, true, false),
            SERVER,
            fails("Email subjectAltNames are not allowed"),
        ),
        ("kubelet-serving", NODE, sans(true, false, false, true), SERVER, fails("URI subjectAltNames are not allowed")),
        ("legacy-unknown", anybody, sans(true, true, true, true), &["cert sign"], Verdict::Sign),
        ("made-up", anybody, none(), CLIENT, Verdict::Nothing),
    ];
    for (signer, subject, names, usages, expected) in cases {
        let request = request(signer, &pem(subject, names), usages, conditions(&[APPROVED]));
        assert_eq!(decide(&request), expected, "{signer} {subject:?} {usages:?}");
    }
}

#[test]
fn an_agents_client_certificate_is_approved_by_permission_and_nothing_is_decided_twice() {
    let own = pem(NODE, Vec::new());
    let others = pem(("system:node:n2", &["system:nodes"]), Vec::new());
    let names = |verdict| match verdict {
        Verdict::Approve(recognized) => recognized.iter().map(|one| one.subresource).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    };
    let of = |signer, pem: &str, usages, status| names(decide(&request(signer, pem, usages, status)));
    const KUBELET: &str = "kube-apiserver-client-kubelet";
    assert_eq!(of(KUBELET, &own, CLIENT, json!({})), "selfnodeclient nodeclient");
    assert_eq!(of(KUBELET, &others, CLIENT, json!({})), "nodeclient");
    assert_eq!(of(KUBELET, &own, SERVER, json!({})), "Nothing");
    assert_eq!(of("kubelet-serving", &pem(NODE, sans(true, false, false, false)), SERVER, json!({})), "Nothing");
    assert_eq!(of("kube-apiserver-client", &own, CLIENT, json!({})), "Nothing");
    for decided in [&[DENIED][..], &[APPROVED, FAILED]] {
        assert_eq!(of(KUBELET, &own, CLIENT, conditions(decided)), "Nothing");
    }
    assert_eq!(of(KUBELET, &own, CLIENT, json!({"certificate": "eA=="})), "Nothing");
    assert_eq!(of(KUBELET, "no PEM", CLIENT, json!({})), "Nothing");
    // Who reads the last common name and who reads the first would take it for different users.
    let mut two = CertificateParams::default();
    two.distinguished_name = DistinguishedName::new();
    two.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "system:node:n2");
    two.distinguished_name.push(DnType::CommonName, "system:node:n1");
    two.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    let two = two.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    assert_eq!(of(KUBELET, &two, CLIENT, json!({})), "Nothing");
    assert_eq!(
        decide(&request(KUBELET, &two, CLIENT, conditions(&[APPROVED]))),
        Verdict::Fail("subject has more than one common name".to_owned())
    );
}

#[test]
fn requests_go_an_hour_after_they_were_decided_and_a_day_after_nobody_did() {
    const BORN_S: i64 = 1_767_225_600;
    let key = KeyPair::generate().unwrap();
    let mut lasting = CertificateParams::default();
    lasting.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let mut ended = CertificateParams::default();
    ended.not_before = rcgen::date_time_ymd(2020, 1, 1);
    ended.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let (lasting, ended) = (lasting.self_signed(&key).unwrap().pem(), ended.self_signed(&key).unwrap().pem());
    let (hour, day) = (3600, 24 * 3600);
    type Case<'a> = (&'a [&'a str], Option<&'a str>, i64, Option<&'a str>);
    let cases: [Case<'_>; 10] = [
        (&[], None, day, None),
        (&[], None, day + 1, Some("never decided")),
        (&[APPROVED], None, day, None),
        (&[APPROVED], None, day + 1, Some("never signed")),
        (&[APPROVED], Some(&lasting), hour, None),
        (&[APPROVED], Some(&lasting), hour + 1, Some("issued")),
        (&[APPROVED], Some(&ended), 1, Some("issued")),
        (&[DENIED], None, hour + 1, Some("denied")),
        (&[APPROVED, FAILED], None, hour + 1, Some("failed")),
        (&["Other"], None, 10 * day, None),
    ];
    for (kinds, certificate, age_s, expected) in cases {
        let mut request = request("kubelet-serving", "", SERVER, conditions(kinds));
        let status = request.status.get_or_insert_default();
        status.certificate = certificate.map(|pem| ByteString(pem.as_bytes().to_vec()));
        assert_eq!(clean::stale(&request, BORN_S + age_s), expected, "{kinds:?} {age_s}");
    }
}
