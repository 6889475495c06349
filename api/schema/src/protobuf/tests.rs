#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;
use crate::builtin;

/// A message, written field by field.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn put(mut self, number: u32, wire: u32, mut value: u64) -> Self {
        let mut tag = u64::from(number << 3 | wire);
        for part in [&mut tag, &mut value] {
            while *part >= 0x80 {
                self.0.push((*part as u8) | 0x80);
                *part >>= 7;
            }
            self.0.push(*part as u8);
        }
        self
    }

    fn number(self, number: u32, value: i64) -> Self {
        self.put(number, 0, value.cast_unsigned())
    }

    fn bytes(self, number: u32, value: impl AsRef<[u8]>) -> Self {
        let mut out = self.put(number, 2, value.as_ref().len() as u64);
        out.0.extend_from_slice(value.as_ref());
        out
    }

    fn message(self, number: u32, value: Message) -> Self {
        self.bytes(number, value.0)
    }

    fn enveloped(self, api_version: &str, kind: &str) -> Vec<u8> {
        let meta = Message::default().bytes(1, api_version).bytes(2, kind);
        let unknown = Message::default().message(1, meta).message(2, self).bytes(3, "").bytes(4, "");
        [&MAGIC[..], &unknown.0].concat()
    }
}

fn m() -> Message {
    Message::default()
}

fn decode(bytes: &[u8]) -> Value {
    builtin().decode_protobuf(bytes).unwrap().value
}

#[test]
fn a_pod_in_all_its_forms() {
    let port = m().bytes(1, "").number(2, 0).number(3, 80).bytes(4, "TCP").bytes(5, "");
    let http = m().bytes(1, "/").message(2, m().number(1, 0).number(2, 8080).bytes(3, ""));
    let probe = m().message(1, m().message(2, http)).number(2, 0);
    let limit = m().bytes(1, "cpu").message(2, m().bytes(1, "500m"));
    let container = m()
        .bytes(1, "c")
        .bytes(2, "image:1")
        .bytes(3, "run")
        .bytes(3, "-x")
        .message(6, port)
        .message(8, m().message(1, limit))
        .message(10, probe);
    let time = m().number(1, 1_700_000_000).number(2, 0);
    let label = m().bytes(1, "app").bytes(2, "x");
    let metadata = m().bytes(1, "p").bytes(2, "").message(8, time).message(11, label);
    let spec = m().message(2, container).bytes(3, "Always").number(4, 0).number(11, 0);
    let pod = m().message(1, metadata).message(2, spec).enveloped("v1", "Pod");
    let expected = json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "p", "creationTimestamp": "2023-11-14T22:13:20Z", "labels": {"app": "x"}},
        "spec": {
            "containers": [{
                "name": "c",
                "image": "image:1",
                "command": ["run", "-x"],
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "500m"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": 8080}},
            }],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 0,
        },
    });
    assert_eq!(decode(&pod), expected);
}

#[test]
fn secrets_leases_and_options() {
    let data = m().bytes(1, "k").bytes(2, [0xff, 0]);
    let secret = m().message(1, m().bytes(1, "s")).message(2, data).bytes(3, "Opaque").enveloped("v1", "Secret");
    assert_eq!(decode(&secret)["data"], json!({"k": "/wA="}));
    let renewed = m().number(1, 1_700_000_000).number(2, 123_456_000);
    let lease = m().message(2, m().bytes(1, "me").number(2, 40).message(4, renewed));
    let lease = decode(&lease.enveloped("coordination.k8s.io/v1", "Lease"));
    let expected =
        json!({"holderIdentity": "me", "leaseDurationSeconds": 40, "renewTime": "2023-11-14T22:13:20.123456Z"});
    assert_eq!(lease["spec"], expected);
    let options = m().number(1, 0).bytes(4, "Foreground").enveloped("v1", "DeleteOptions");
    let expected = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "propagationPolicy": "Foreground"});
    assert_eq!(decode(&options), expected);
}

#[test]
fn a_recorded_body_is_read() {
    let recorded = "azhzAAoPCgJ2MRIJQ29uZmlnTWFwEigKHgoCcGISABoAIgAqADIAOABCAFoKCgRmcm9tEgJwYhIGCgFrEgF2GgAiAA==";
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, recorded).unwrap();
    let metadata = json!({"name": "pb", "labels": {"from": "pb"}});
    let expected = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"k": "v"}});
    assert_eq!(decode(&bytes), expected);
}

#[test]
fn what_is_no_protobuf_is_refused_in_gos_words() {
    let refused = |bytes: &[u8]| builtin().decode_protobuf(bytes).unwrap_err().0;
    let prefix = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]";
    assert_eq!(refused(b"{}"), prefix);
    assert_eq!(refused(b"k8s\0\xff\xff"), "unexpected EOF");
    assert_eq!(refused(&m().enveloped("v1", "Chair")), "no kind \"Chair\" is registered for version \"v1\"");
    assert_eq!(refused(&m().number(1, 5).enveloped("v1", "Pod")), "proto: wrong wireType");
}

#[test]
fn envelopes_within_envelopes_end() {
    // An Event holds no raw extension; a ControllerRevision does.
    let mut bytes = m().enveloped("apps/v1", "ControllerRevision");
    for _ in 0..200 {
        bytes = m().message(2, m().bytes(1, &bytes)).enveloped("apps/v1", "ControllerRevision");
    }
    assert_eq!(builtin().decode_protobuf(&bytes).unwrap_err().0, "exceeded max depth");
}
