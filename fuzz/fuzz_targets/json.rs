//! A body in JSON.
#![no_main]

use kontiki_fuzz::settle;
use kontiki_schema::{decode_json, go_print};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(document) = decode_json(body) else { return };
    // What Go would print of it, for messages.
    let _ = go_print(&document.value);
    settle(&document);
});
