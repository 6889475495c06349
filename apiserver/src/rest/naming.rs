//! What the server gives a new object: a name where only a prefix is given, uid and time.

use rand::Rng as _;
use serde_json::Value;

use super::{
    call,
    limits::{GENERATED_NAME_BYTES_MAX, SUFFIX_BYTES},
    object::{self, text},
};

/// No vowels, so that no words come out.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Five random characters, as generated names end in.
pub fn suffix() -> String {
    let mut random = rand::rng();
    (0..SUFFIX_BYTES).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}

/// Fills name, uid and creation time; drops what only the server may set. True if the name is a generated one.
pub fn fill(object: &mut Value) -> bool {
    let prefix = text(object, "/metadata/generateName").to_owned();
    let generated = !prefix.is_empty() && text(object, "/metadata/name").is_empty();
    let metadata = object::metadata(object);
    if generated {
        metadata.insert("name".to_owned(), generated_name(&prefix, &suffix()).into());
    }
    for member in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"] {
        metadata.shift_remove(member);
    }
    metadata.insert("uid".to_owned(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".to_owned(), call::time_text(call::now()).into());
    generated
}

fn generated_name(prefix: &str, suffix: &str) -> String {
    let room = GENERATED_NAME_BYTES_MAX - SUFFIX_BYTES;
    let cut = (0..=room.min(prefix.len())).rev().find(|end| prefix.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{suffix}", &prefix[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_prefixes_are_cut_to_a_label() {
        assert_eq!(generated_name("base-", "abcde"), "base-abcde");
        let long = generated_name(&"y".repeat(99), "abcde");
        assert_eq!(long, format!("{}abcde", "y".repeat(58)));
        assert_eq!(generated_name(&"é".repeat(40), "abcde").len(), 63);
        assert_eq!(suffix().len(), SUFFIX_BYTES);
    }
}
