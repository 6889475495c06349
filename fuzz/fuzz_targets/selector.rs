//! Selectors of lists and watches, and those that stand in objects: what is printed selects the same.
#![no_main]

use kontiki_model::{FieldSelector, LabelSelector, Quantity};
use kontiki_schema::decode_json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(document) = decode_json(data) {
        let _ = LabelSelector::from_json(&document.value);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(selector) = LabelSelector::parse(text) {
        let printed = selector.to_string();
        assert_eq!(LabelSelector::parse(&printed).as_ref(), Ok(&selector), "{printed}");
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        let printed = selector.to_string();
        assert_eq!(FieldSelector::parse(&printed).as_ref(), Ok(&selector), "{printed}");
    }
    if let Ok(quantity) = text.parse::<Quantity>() {
        let printed = quantity.to_string();
        assert_eq!(printed.parse::<Quantity>().as_ref(), Ok(&quantity), "{printed}");
    }
});
