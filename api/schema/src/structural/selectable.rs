//! Which members of an object a field selector may name.

use super::{JsonType, Structural};

impl Structural {
    /// Whether the steps lead to a text, a number or a truth value; the error is what is wrong.
    pub fn selectable(&self, steps: &[&str]) -> Result<(), String> {
        if steps.first() == Some(&"metadata") {
            return Err("must not point to fields in metadata".to_owned());
        }
        let mut node = &self.root;
        for step in steps {
            node = node.properties.get(*step).ok_or("is an invalid path: does not refer to a valid field")?;
        }
        match node.r#type {
            Some(JsonType::Boolean | JsonType::Integer | JsonType::String) => Ok(()),
            Some(JsonType::Array | JsonType::Number | JsonType::Object) | None => {
                Err("must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.".to_owned())
            }
        }
    }
}
