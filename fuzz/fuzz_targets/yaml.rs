//! A body in YAML: read within its bounds, and then no other than one in JSON.
#![no_main]

use kontiki_fuzz::settle;
use kontiki_schema::{decode_json, decode_yaml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(document) = decode_yaml(body) else { return };
    let text = serde_json::to_vec(&document.value).expect("a value prints");
    let read = decode_json(&text).expect("whatever YAML says, JSON can say");
    assert_eq!(read.value, document.value);
    settle(&document);
});
