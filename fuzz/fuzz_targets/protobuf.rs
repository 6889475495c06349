//! A body in Kubernetes' protobuf form: what was read is written and read again without a loss.
#![no_main]

use kontiki_schema::{Source, builtin};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let table = builtin();
    let Ok(read) = table.decode_protobuf(body) else { return };
    // A type that is known, but has no protobuf form; or what no server writes, such as a quantity that is none.
    let Ok(written) = table.encode_protobuf(&Source::of(&read.value)) else { return };
    let again = table.decode_protobuf(&written).expect("what was written reads back");
    let rewritten = table.encode_protobuf(&Source::of(&again.value)).expect("and is written again");
    assert_eq!(rewritten, written, "as it was");
});
