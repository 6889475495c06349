//! What the server gives a new object: uid, time, and a name where only a prefix is given. Those who may change the object are
//! asked before, so none of them sees what another attempt would make otherwise.

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

/// What only the server says of an object.
const OWN: [&str; 6] =
    ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "uid", "creationTimestamp"];

/// Drops what only the server may set.
pub fn clear(object: &mut Value) {
    let metadata = object::metadata(object);
    OWN.iter().for_each(|member| _ = metadata.shift_remove(*member));
}

/// Whether the name is still to be chosen.
pub fn is_open(object: &Value) -> bool {
    text(object, "/metadata/name").is_empty() && !text(object, "/metadata/generateName").is_empty()
}

/// Fills uid, creation time and a name that is open, whatever was said since the object was cleared.
pub fn fill(object: &mut Value) {
    clear(object);
    let name = is_open(object).then(|| generated_name(text(object, "/metadata/generateName"), &suffix()));
    let metadata = object::metadata(object);
    if let Some(name) = name {
        metadata.insert("name".to_owned(), name.into());
    }
    metadata.insert("uid".to_owned(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".to_owned(), call::time_text(call::now()).into());
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
