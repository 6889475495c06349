//! What the fuzzers begin with: the smallest good object of every kind in each form that a body may have, patches of them, and
//! selectors. `cargo run -p kontiki-schema --example seeds -- <file of examples> <folder>` writes them.

use std::{env, error::Error, fs, path::Path};

use kontiki_schema::{Source, builtin};
use serde_json::{Value, json};

/// Patches of each type; a pod among the examples has what they name.
fn patches() -> Vec<Value> {
    let container = json!({"name": "c", "image": "b", "ports": [{"containerPort": 1}], "$patch": "replace"});
    vec![
        json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}, {"op": "test", "path": "/kind", "value": "Pod"}]),
        json!([{"op": "copy", "from": "/spec", "path": "/status"}, {"op": "remove", "path": "/spec"}]),
        json!({"metadata": {"labels": {"a": null, "b": "c"}}}),
        json!({"spec": {"containers": [container], "$setElementOrder/containers": [{"name": "c"}]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "$retainKeys": ["name"]}}),
    ]
}

const SELECTORS: &[&str] = &[
    "a=b,c!=d",
    "a in (b, c),d notin (e),f,!g",
    "n>1,m<2",
    "metadata.name=a,spec.nodeName!=b\\,c",
    "1.5Gi",
    r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"k","operator":"In","values":["v"]}]}"#,
];

/// The same in YAML's own style, with what only YAML has.
const YAML: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: &m\n  name: a\n  labels: {on: 'yes', mode: '0644'}\n\
                    data:\n  text: |\n    one\n    two\n  folded: >-\n    three\n  copy: \"\\u00e9\"\n# a comment\n";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let [_, examples, folder] = &arguments[..] else {
        return Err("usage: seeds <file of examples> <folder>".into());
    };
    let examples: Vec<Value> = serde_json::from_slice(&fs::read(examples)?)?;
    let folder = Path::new(folder);
    let put = |target: &str, name: &str, seed: &[u8]| -> Result<(), Box<dyn Error>> {
        let folder = folder.join(target);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(name), seed)?)
    };
    for (number, example) in examples.iter().enumerate() {
        let (name, text) = (format!("example-{number}"), example.to_string());
        put("json", &name, text.as_bytes())?;
        put("yaml", &name, text.as_bytes())?;
        // Custom kinds have none.
        if let Ok(bytes) = builtin().encode_protobuf(&Source::of(example)) {
            put("protobuf", &name, &bytes)?;
        }
        for (which, patch) in patches().iter().enumerate() {
            put("patch", &format!("{name}-{which}"), format!("{text}\0{patch}").as_bytes())?;
        }
    }
    put("yaml", "style", YAML.as_bytes())?;
    for (number, selector) in SELECTORS.iter().enumerate() {
        put("selector", &format!("selector-{number}"), selector.as_bytes())?;
    }
    Ok(())
}
