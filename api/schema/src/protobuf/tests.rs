#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

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

/// An object as it is written.
fn encode(object: &Value) -> Vec<u8> {
    let text = object.to_string();
    let bytes = builtin().encode_protobuf(&Source::parse(text.as_bytes()).unwrap()).unwrap();
    assert_eq!(bytes, builtin().encode_protobuf(&Source::of(object)).unwrap());
    bytes
}

#[test]
fn a_recorded_body_is_written_as_it_was() {
    let recorded = "azhzAAoPCgJ2MRIJQ29uZmlnTWFwEigKHgoCcGISABoAIgAqADIAOABCAFoKCgRmcm9tEgJwYhIGCgFrEgF2GgAiAA==";
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, recorded).unwrap();
    assert_eq!(encode(&decode(&bytes)), bytes);
}

#[test]
fn what_has_no_pointer_is_written_although_it_is_zero() {
    let scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "s", "uid": "u"}});
    let metadata =
        m().bytes(1, "s").bytes(2, "").bytes(3, "").bytes(4, "").bytes(5, "u").bytes(6, "").number(7, 0).bytes(8, "");
    let status = m().number(1, 0).bytes(2, "");
    let expected = m().message(1, metadata).message(2, m().number(1, 0)).message(3, status);
    assert_eq!(encode(&scale), expected.enveloped("autoscaling/v1", "Scale"));
}

#[test]
fn odd_forms_are_written() {
    let time = "2023-11-14T22:13:20.123456Z";
    let lease = json!({
        "kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": null,
        "spec": {"renewTime": time, "leaseDurationSeconds": -1},
    });
    let zero =
        m().bytes(1, "").bytes(2, "").bytes(3, "").bytes(4, "").bytes(5, "").bytes(6, "").number(7, 0).bytes(8, "");
    let renewed = m().number(1, 1_700_000_000).number(2, 123_456_000);
    let expected = m().message(1, zero.clone()).message(2, m().number(2, -1).message(4, renewed));
    assert_eq!(encode(&lease), expected.enveloped("coordination.k8s.io/v1", "Lease"));

    // Map entries by their keys, bytes from base64; a text longer than one byte can tell.
    let long = "x".repeat(300);
    let secret =
        json!({"kind": "Secret", "apiVersion": "v1", "metadata": {}, "data": {"b": "/wA=", "a": ""}, "type": long});
    let entry = |key: &str, value: &[u8]| m().bytes(1, key).bytes(2, value);
    let expected = m().message(1, zero).message(2, entry("a", b"")).message(2, entry("b", &[0xff, 0])).bytes(3, &long);
    assert_eq!(encode(&secret), expected.enveloped("v1", "Secret"));
}

#[test]
fn a_list_is_written_item_by_item_as_it_would_be_at_once() {
    let items = json!([{"metadata": {"name": "a"}, "data": {"k": "v"}}, {"metadata": {"name": "b".repeat(200)}}]);
    let metadata = json!({"resourceVersion": "7", "continue": "c", "remainingItemCount": 3});
    let list = json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": items});
    let mut writer = ListWriter::new(builtin(), "v1", "ConfigMapList", &Source::of(&metadata), 16).unwrap();
    items.as_array().unwrap().iter().try_for_each(|item| writer.item(&Source::of(item))).unwrap();
    let bytes = writer.finish();
    assert_eq!(bytes, encode(&list));
    let mut expected = list;
    builtin().canonical(builtin().lookup("core.v1.ConfigMapList").unwrap(), &mut expected);
    assert_eq!(decode(&bytes), expected);
}

#[test]
fn watch_frames_are_bare_events_behind_their_length() {
    let object = m().enveloped("v1", "Pod");
    let event = m().bytes(1, "ADDED").message(2, m().bytes(1, &object));
    let length = u32::try_from(event.0.len()).unwrap().to_be_bytes();
    assert_eq!(watch_frame("ADDED", &object), [&length[..], &event.0].concat());
}

#[test]
fn what_cannot_be_written_says_why() {
    let refused = |object: Value| builtin().encode_protobuf(&Source::of(&object)).unwrap_err().to_string();
    let words = "does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message";
    let widget = json!({"kind": "Widget", "apiVersion": "example.com/v1"});
    assert_eq!(refused(widget), format!("object *unstructured.Unstructured {words}"));
    let table = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1"});
    assert_eq!(refused(table), format!("object *v1.Table {words}"));
    let pod = json!({"kind": "Pod", "apiVersion": "v1", "spec": {"containers": [{"ports": [{"hostPort": "x"}]}]}});
    assert_eq!(refused(pod), "spec.containers.ports.hostPort: cannot write a string as an integer");
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

/// What is accepted is stored, and must be read again.
#[test]
fn the_deepest_object_can_be_read_again_from_its_json() {
    let schema = |levels: usize| (0..levels).fold(m(), |inner, _| m().message(25, inner));
    let named = |inner: Message| {
        let version = m().bytes(1, "v1").message(4, m().message(1, inner));
        m().message(2, m().message(7, version)).enveloped("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    };
    let deepest = (0..100).take_while(|levels| builtin().decode_protobuf(&named(schema(*levels))).is_ok()).count() - 1;
    assert!((50..100).contains(&deepest), "{deepest}");
    let text = decode(&named(schema(deepest))).to_string();
    assert!(serde_json::from_str::<Value>(&text).is_ok());
    assert_eq!(builtin().decode_protobuf(&named(schema(5_000))).unwrap_err().0, "exceeded max depth");
    let raw = |levels: usize| format!("{}{}", r#"{"a":"#.repeat(levels), "1") + &"}".repeat(levels);
    let revision = |levels: usize| m().message(2, m().bytes(1, raw(levels))).enveloped("apps/v1", "ControllerRevision");
    let text = decode(&revision(126)).to_string();
    assert!(serde_json::from_str::<Value>(&text).is_ok());
    assert_eq!(builtin().decode_protobuf(&revision(127)).unwrap_err().0, "exceeded max depth");
}

#[test]
fn a_length_is_believed_when_its_bytes_are_there() {
    let mut claims = MAGIC.to_vec();
    claims.extend_from_slice(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    assert_eq!(builtin().decode_protobuf(&claims).unwrap_err().0, "unexpected EOF");
    let overflow = [&MAGIC[..], &[0x12], &[0xff; 11]].concat();
    assert_eq!(builtin().decode_protobuf(&overflow).unwrap_err().0, "proto: integer overflow");
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
