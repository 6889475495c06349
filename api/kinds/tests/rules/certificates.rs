//! CertificateSigningRequests: what may be asked for, and who may change which part of it.

use kontiki_kinds::{AdmitFacts, Author, Subresource};
use serde_json::{Value, json};

use super::{check_creates, edit, in_group, kind_of, merge, stored, update, update_status};

/// A request of `CN=facts`, with its signature.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIS01ISUNBUUF3RURFT01Bd0dBMVVFQXd3RlptRmpkSE13\
     V1RBVEJnY3Foa2pPUFFJQkJnZ3Foa2pPUFFNQgpCd05DQUFReUZoaGtCNXluMEMwMlVWd1pScThJS0Flc1ZOd1JQc0hrVUZY\
     aFRGWk9GZU5sVzBGa2hiQktCOG9MClpVK3EycFRVbTFPeUxXVzBkcWtXaVQ3a0V0WDBvQUF3Q2dZSUtvWkl6ajBFQXdJRFNB\
     QXdSUUlnS1lJK1VsU1kKWmxtU1ltQnVwRGMwOGt0TkswbmpmbWFUeFRpL1VSd2JyYjhDSVFEN0ljT3UwUnMvMXZoOUc4OVNh\
     UktjZGZlZQpnc1lmeGJlN2NSVjh0cjZnMmc9PQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";

fn request(spec: Value) -> Value {
    let minimal = json!({"request": REQUEST, "signerName": "example.com/s", "usages": ["client auth"]});
    let mut object = in_group("certificates.k8s.io/v1", "CertificateSigningRequest", json!({"spec": minimal}));
    merge(&mut object["spec"], &spec);
    object
}

fn with_conditions(conditions: Value) -> Value {
    json!({"status": {"conditions": conditions}})
}

#[test]
fn requests_are_checked() {
    check_creates(vec![
        (request(json!({"expirationSeconds": 600})), &[]),
        (
            request(json!({"request": "aGVsbG8="})),
            &["spec.request: Invalid value: \"aGVsbG8=\": PEM block type must be CERTIFICATE REQUEST"],
        ),
        (
            request(json!({"usages": ["any", "any"], "signerName": "s", "expirationSeconds": 599})),
            &[
                "spec.usages[1]: Duplicate value: \"any\"",
                "spec.signerName: Invalid value: \"s\": must be a fully qualified domain and path of the form 'example.com/signer-name'",
                "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
            ],
        ),
        (
            request(json!({"usages": [], "signerName": "kubernetes.io/legacy-unknown"})),
            &[
                "spec.usages: Required value",
                "spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via this API version",
            ],
        ),
    ]);
    // One bit of the signature.
    let mut forged = REQUEST.to_owned();
    forged.replace_range(360..361, if &forged[360..361] == "A" { "B" } else { "A" });
    let faults = super::create(request(json!({ "request": forged })));
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[test]
fn who_asks_is_what_the_server_knows() {
    let mut object = request(json!({"username": "root", "groups": ["system:masters"], "extra": {"a": ["b"]}}));
    let kind = kind_of(&object);
    let groups = ["g".to_owned()];
    let author = Author { user: "jane", uid: "7", groups: &groups, extra: &[] };
    let facts = AdmitFacts { suffix: "", found: &[], author };
    kind.admit.iter().for_each(|plugin| (plugin.admit)(&mut object, &facts).unwrap());
    let spec = &object["spec"];
    assert_eq!((&spec["username"], &spec["uid"], &spec["groups"]), (&json!("jane"), &json!("7"), &json!(["g"])));
    assert_eq!(spec["extra"], json!({}));
}

#[test]
fn each_way_of_changing_touches_its_part() {
    let old = stored(request(json!({})));
    let approved = with_conditions(json!([{"type": "Approved", "status": "True", "reason": "R"}]));
    let (same, faults) = update(&old, &json!({"spec": {"usages": ["any"]}, "status": {"certificate": "eA=="}}));
    assert_eq!((same, faults), (old.clone(), vec![]));
    let (new, faults) = edit(&old, Subresource::Approval, &approved);
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(
        new["status"]["conditions"],
        json!([{
            "type": "Approved", "status": "True", "reason": "R",
            "lastUpdateTime": "2026-01-02T03:04:05Z", "lastTransitionTime": "2026-01-02T03:04:05Z",
        }])
    );
    assert_eq!(
        update_status(&old, &approved).1,
        ["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""]
    );
    assert_eq!(
        edit(&new, Subresource::Approval, &with_conditions(json!([]))).1,
        ["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""]
    );
    let both = json!([{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "False"}]);
    assert_eq!(
        edit(&old, Subresource::Approval, &with_conditions(both)).1,
        [
            "status.conditions[1].status: Unsupported value: \"False\": supported values: \"True\"",
            "status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
        ]
    );
    let (kept, faults) = edit(&old, Subresource::Approval, &json!({"status": {"certificate": "eA=="}}));
    assert_eq!((kept, faults), (old.clone(), vec![]));
    assert_eq!(
        update_status(&old, &json!({"status": {"certificate": "eA=="}})).1,
        ["status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block"]
    );
}
