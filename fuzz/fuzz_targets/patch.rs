//! A patch of each type, on an object of a type that has lists with keys: refused or applied, never more than its bounds allow.
#![no_main]

use kontiki_fuzz::{settle, type_of};
use kontiki_schema::{Document, builtin, decode_json, decode_patch, json_patch, merge_patch};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Between the object and the patch.
const SEPARATOR: u8 = 0;

fuzz_target!(|data: &[u8]| {
    let Some(at) = data.iter().position(|byte| *byte == SEPARATOR) else { return };
    let Ok(Document { value: object, .. }) = decode_json(&data[..at]) else { return };
    let body = &data[at + 1..];
    let settles = |value: Value| settle(&Document { value, duplicates: Vec::new() });
    if let Ok(patched) = json_patch(&object, body) {
        settles(patched);
    }
    let Ok(Document { value: patch, .. }) = decode_patch(body) else { return };
    let merged = merge_patch(object.clone(), patch.clone());
    assert_eq!(merge_patch(merged.clone(), patch.clone()), merged, "a merge patch that was applied changes nothing");
    settles(merged);
    let Some(id) = type_of(&object) else { return };
    if let Ok(patched) = builtin().strategic_merge(id, object.clone(), patch) {
        settles(patched.clone());
        // The patch that leads from one to the other.
        let _ = builtin().three_way_patch(id, &object, &patched, &object);
    }
});
