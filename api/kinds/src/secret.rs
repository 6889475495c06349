//! Secret.

mod pair;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kontiki_model::Faults;
use kontiki_schema::{DecodeError, decode_json};
use serde_json::Value;

use crate::column::{self, text_column};
use crate::configmap::{DATA_BYTES_MAX, decoded_length, immutable_data};
use crate::names::{config_key, report};
use crate::quota::Measure;
use crate::tree::{NULL, at, count, fill_text, members, object, remove, text};
use crate::{Column, Field, Kind, Retention, metadata};

pub static KIND: Kind = Kind {
    kind: "Secret",
    resource: "secrets",
    singular: "secret",
    type_name: "core.v1.Secret",
    fields: &[Field { path: "type", get: |secret| text(secret, "/type").to_owned() }],
    columns: COLUMNS,
    cells: |secret, now| {
        vec![
            column::name(secret),
            text(secret, "/type").into(),
            count(secret, "/data").into(),
            column::age(secret, now),
        ]
    },
    default,
    prepare_update: |new, old| {
        if text(new, "/type").is_empty() {
            new["type"] = at(old, "/type").clone();
        }
    },
    validate,
    validate_update,
    warnings: |secret, _| {
        let decoded = |key| STANDARD.decode(value(secret, key).as_str().unwrap_or_default()).unwrap_or_default();
        let pair = (text(secret, "/type") == "kubernetes.io/tls").then(|| (decoded("tls.crt"), decoded("tls.key")));
        pair.and_then(|(certificate, key)| pair::fault(&certificate, &key)).into_iter().collect()
    },
    retention: Retention::Sensitive,
    measure: Some(&Measure { alias: Some("secrets"), ..Measure::COUNT }),
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Type", 0, "Used to facilitate programmatic handling of secret data."),
    text_column("Data", 0, "Number of entries in data."),
    column::AGE,
];

/// `stringData` is a form for writing: it is merged into `data` and never stored.
fn default(secret: &mut Value) {
    fill_text(secret, "type", "Opaque");
    let Some(plain) = remove(secret, "stringData") else { return };
    for (key, value) in plain.as_object().into_iter().flatten() {
        let encoded = STANDARD.encode(value.as_str().unwrap_or_default());
        object(secret, "data")[key.as_str()] = encoded.into();
    }
}

fn validate(secret: &Value, faults: &mut Faults) {
    let mut bytes = 0;
    for (key, value) in members(secret, "/data") {
        report(config_key(key), key, &format!("data[{key}]"), faults);
        bytes += decoded_length(value);
    }
    if bytes > DATA_BYTES_MAX {
        faults.too_long("data", DATA_BYTES_MAX);
    }
    let kind = text(secret, "/type");
    match kind {
        "kubernetes.io/service-account-token" => {
            let annotation = "kubernetes.io/service-account.name";
            if at(secret, "/metadata/annotations").get(annotation).is_none_or(|one| one == "") {
                faults.required(format!("metadata.annotations[{annotation}]"), "");
            }
        }
        "kubernetes.io/dockercfg" => holds_json(secret, ".dockercfg", faults),
        "kubernetes.io/dockerconfigjson" => holds_json(secret, ".dockerconfigjson", faults),
        "kubernetes.io/basic-auth" if value(secret, "username").is_null() && value(secret, "password").is_null() => {
            // Kubernetes never fills in what its path has room for.
            faults.required("data[%s][username]", "");
            faults.required("data[%s][password]", "");
        }
        "kubernetes.io/ssh-auth" if value(secret, "ssh-privatekey").as_str().is_none_or(str::is_empty) => {
            faults.required("data[%s][ssh-privatekey]", "");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"].into_iter().filter(|key| value(secret, key).is_null()) {
                faults.required(format!("data[{key}]"), "");
            }
        }
        _ => {}
    }
}

fn value<'a>(secret: &'a Value, key: &str) -> &'a Value {
    at(secret, "/data").get(key).unwrap_or(&NULL)
}

/// Registry credentials are a JSON object, or `null`; what is wrong with them is told in Go's words, without showing them.
fn holds_json(secret: &Value, key: &str, faults: &mut Faults) {
    let Some(encoded) = value(secret, key).as_str() else {
        faults.required(format!("data[{key}]"), "");
        return;
    };
    let decoded = STANDARD.decode(encoded).unwrap_or_default();
    let wrong = match decode_json(&decoded).map(|document| document.value) {
        Ok(Value::Null | Value::Object(_)) => return,
        Ok(Value::Bool(_)) => unfit("bool"),
        Ok(Value::Number(_)) => unfit("number"),
        Ok(Value::String(_)) => unfit("string"),
        Ok(Value::Array(_)) => unfit("array"),
        Err(DecodeError(wrong)) => wrong,
    };
    faults.invalid(format!("data[{key}]"), "<secret contents redacted>", wrong);
}

fn unfit(kind: &str) -> String {
    format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
}

fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    if text(new, "/type") != text(old, "/type") {
        faults.invalid("type", text(new, "/type"), "field is immutable");
    }
    immutable_data(new, old, &["data"], faults);
}
