//! ConversionReview: objects in one version sent to a webhook, and what comes back in another. Pure.

use kontiki_model::{Faults, metadata};
use kontiki_schema::{builtin, decode_json, ids};
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::object::text;

const GROUP: &str = "apiextensions.k8s.io";
const KIND: &str = "ConversionReview";

/// The form of the review that a webhook takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewVersion {
    V1,
    /// Asks the same; its answers are believed with less scrutiny.
    V1Beta1,
}

impl ReviewVersion {
    /// The first of the versions a definition names that this server knows.
    pub fn first_known(webhook: &Value) -> Option<Self> {
        let named = webhook["conversionReviewVersions"].as_array().into_iter().flatten();
        named.filter_map(Value::as_str).find_map(|version| match version {
            "v1" => Some(ReviewVersion::V1),
            "v1beta1" => Some(ReviewVersion::V1Beta1),
            _ => None,
        })
    }

    fn api_version(self) -> String {
        let version = match self {
            ReviewVersion::V1 => "v1",
            ReviewVersion::V1Beta1 => "v1beta1",
        };
        format!("{GROUP}/{version}")
    }
}

/// One question: all objects are of one kind, and none is in the desired version yet.
pub struct Question<'a> {
    pub version: ReviewVersion,
    pub uid: &'a str,
    /// `example.com/v1`.
    pub desired: &'a str,
    pub objects: &'a [Value],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    uid: &'a str,
    #[serde(rename = "desiredAPIVersion")]
    desired: &'a str,
    objects: &'a [Value],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    kind: &'static str,
    api_version: String,
    request: Request<'a>,
}

impl Question<'_> {
    /// The body of the call.
    pub fn body(&self) -> serde_json::Result<Vec<u8>> {
        let Question { version, uid, desired, objects } = *self;
        let request = Request { uid, desired, objects };
        kontiki_schema::json::text(&Review { kind: KIND, api_version: version.api_version(), request })
    }

    /// The converted objects, in order, with the metadata that they had, or the whole of why there are none.
    pub fn read(&self, body: &[u8]) -> Result<Vec<Value>, String> {
        let failed = |why: String| format!("{} failed: {why}", self.subject());
        let converted = self.converted(body).map_err(failed)?;
        let (count, expected) = (converted.len(), self.objects.len());
        if count != expected {
            return Err(format!("{} returned {count} objects, expected {expected}", self.subject()));
        }
        let pairs = self.objects.iter().zip(converted).enumerate();
        pairs.map(|(index, (original, converted))| self.taken(index, original, converted)).collect()
    }

    /// How messages begin: the version and kind of the objects.
    pub fn subject(&self) -> String {
        let first = self.objects.first().unwrap_or(&Value::Null);
        format!("conversion webhook for {}, Kind={}", text(first, "/apiVersion"), text(first, "/kind"))
    }

    fn converted(&self, body: &[u8]) -> Result<Vec<Value>, String> {
        let read = decode_json(body);
        let review = read.map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?.value;
        builtin().check(ids::APIEXTENSIONS_V1_CONVERSIONREVIEW, &review).map_err(|error| error.0)?;
        let (kind, api_version) = (text(&review, "/kind"), text(&review, "/apiVersion"));
        let wanted = self.version.api_version();
        if self.version == ReviewVersion::V1 && (kind != KIND || api_version != wanted) {
            let api_version = if api_version.is_empty() { "/" } else { api_version };
            return Err(format!("expected webhook response of {wanted}, Kind={KIND}, got {api_version}, Kind={kind}"));
        }
        let response = review.get("response").filter(|response| response.is_object()).ok_or("no response provided")?;
        let given = text(response, "/uid");
        if self.version == ReviewVersion::V1 && given != self.uid {
            return Err(format!("expected response.uid={:?}, got {given:?}", self.uid));
        }
        match (text(response, "/result/status"), text(response, "/result/message")) {
            ("Success", _) => Ok(response["convertedObjects"].as_array().cloned().unwrap_or_default()),
            (status, "") => Err(format!("response.result.status was '{status}', not 'Success'")),
            (_, message) => Err(message.to_owned()),
        }
    }

    /// One converted object, if it is the same one.
    fn taken(&self, index: usize, original: &Value, mut converted: Value) -> Result<Value, String> {
        let subject = self.subject();
        let alone = self.objects.len() == 1;
        let refused = |what: String, why: &str| Err(format!("{subject} returned invalid {what}: {why}"));
        let in_list = format!("converted object at index {index}");
        let type_name = if alone { "object at index 0".to_owned() } else { in_list.clone() };
        let (version, kind) = (text(&converted, "/apiVersion"), text(&converted, "/kind"));
        if version != self.desired {
            let expected = self.desired;
            return refused(type_name, &format!("invalid groupVersion (expected {expected}, received {version})"));
        }
        let expected = text(original, "/kind");
        if kind != expected {
            return refused(type_name, &format!("invalid kind (expected {expected}, received {kind})"));
        }
        for (member, word) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
            let pointer = format!("/metadata/{member}");
            let (wanted, given) = (text(original, &pointer), text(&converted, &pointer));
            if wanted != given {
                let what = if alone { "object".to_owned() } else { in_list };
                return refused(what, &format!("must have the same {word}: {wanted} != {given}"));
            }
        }
        match metadata_of(original, &converted) {
            Ok(metadata) => converted["metadata"] = metadata,
            Err(why) if alone => return refused("metadata".to_owned(), &why),
            Err(why) => return refused(format!("metadata in object at index {index}"), &why),
        }
        Ok(converted)
    }
}

/// The metadata of the original; labels and annotations are the converted object's, if they are sound.
fn metadata_of(original: &Value, converted: &Value) -> Result<Value, String> {
    let given = converted.get("metadata").ok_or("missing metadata in converted object")?;
    if !given.is_object() {
        return Err("invalid metadata in converted object".to_owned());
    }
    let mut all = original["metadata"].clone();
    let mut faults = Faults::default();
    for (member, check) in [("labels", metadata::labels as Check), ("annotations", metadata::annotations)] {
        let members = match given.get(member).unwrap_or(&Value::Null) {
            Value::Null => {
                all.as_object_mut().map(|all| all.shift_remove(member));
                continue;
            }
            Value::Object(members) => members,
            _ => return Err(format!("invalid metadata.{member} in converted object")),
        };
        if let Some((key, _)) = members.iter().find(|(_, value)| !value.is_string()) {
            return Err(format!("metadata.{member}[{key}] must be a string in converted object"));
        }
        if all.get(member) != given.get(member) {
            check(members, &format!("metadata.{member}"), &mut faults);
            all[member] = given[member].clone();
        }
    }
    let told: Vec<String> = faults.causes().iter().map(|one| format!("{}: {}", one.field, one.message)).collect();
    match told.as_slice() {
        [] => Ok(all),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

type Check = fn(&Map<String, Value>, &str, &mut Faults);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn object(version: &str, name: &str) -> Value {
        json!({
            "apiVersion": format!("example.com/{version}"), "kind": "Widget",
            "metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"a": "b"}, "generation": 2},
        })
    }

    fn read(objects: &[Value], review: &Value) -> Result<Vec<Value>, String> {
        let question = Question { version: ReviewVersion::V1, uid: "u", desired: "example.com/v2", objects };
        question.read(review.to_string().as_bytes())
    }

    fn answer(converted: &[Value]) -> Value {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "response": {"uid": "u", "result": {"status": "Success"}, "convertedObjects": converted},
        })
    }

    #[test]
    fn answers_that_convert_nothing_say_why() {
        let subject = "conversion webhook for example.com/v1, Kind=Widget";
        let (one, two) = (vec![object("v1", "a")], vec![object("v1", "a"), object("v1", "b")]);
        let good = |name: &str| object("v2", name);
        let with = |member: &str, value: Value| {
            let mut object = good("a");
            object[member] = value;
            object
        };
        let mut refused = answer(&[]);
        refused["response"]["result"] = json!({"status": "Failure", "message": "no"});
        let mut other = answer(&[]);
        other["response"]["uid"] = "v".into();
        let mut labels = good("a");
        labels["metadata"]["labels"] = json!({"-": "b"});
        let table = [
            (
                &one,
                json!({}),
                " failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /, Kind=",
            ),
            (&one, other, r#" failed: expected response.uid="u", got "v""#),
            (&one, refused, " failed: no"),
            (&one, answer(&[]), " returned 0 objects, expected 1"),
            (
                &one,
                answer(&[object("v3", "a")]),
                " returned invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v3)",
            ),
            (
                &two,
                answer(&[good("a"), object("v1", "b")]),
                " returned invalid converted object at index 1: invalid groupVersion (expected example.com/v2, received example.com/v1)",
            ),
            (
                &one,
                answer(&[with("kind", "Gadget".into())]),
                " returned invalid object at index 0: invalid kind (expected Widget, received Gadget)",
            ),
            (&one, answer(&[good("b")]), " returned invalid object: must have the same name: a != b"),
            (
                &two,
                answer(&[good("a"), good("a")]),
                " returned invalid converted object at index 1: must have the same name: b != a",
            ),
        ];
        for (objects, review, expected) in table {
            assert_eq!(read(objects, &review).unwrap_err(), format!("{subject}{expected}"));
        }
        let faulty = read(&one, &answer(&[labels])).unwrap_err();
        assert!(faulty.starts_with(&format!("{subject} returned invalid metadata: metadata.labels: ")), "{faulty}");
    }

    #[test]
    fn of_the_metadata_only_labels_and_annotations_are_taken() {
        let mut converted = object("v2", "a");
        converted["metadata"]["generation"] = 7.into();
        converted["metadata"]["labels"] = Value::Null;
        converted["metadata"]["annotations"] = json!({"was": "v1"});
        converted["spec"] = json!({"size": 1});
        let taken = read(&[object("v1", "a")], &answer(&[converted])).unwrap();
        let expected = json!({
            "apiVersion": "example.com/v2", "kind": "Widget", "spec": {"size": 1},
            "metadata": {"name": "a", "namespace": "n", "uid": "a", "generation": 2, "annotations": {"was": "v1"}},
        });
        assert_eq!(taken, [expected]);
    }
}
