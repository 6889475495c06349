//! Which objects of a collection a list, a watch or a DELETE is about.

use kontiki_model::{FieldSelector, Head, Key, LabelSelector, Status};

use super::{call::Call, options::ListOptions};
use crate::failure;

/// Label and field selectors, and the name where the path gives one. Matches on heads: no body is parsed.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    name: Option<String>,
}

impl Selection {
    pub fn read(call: &Call<'_>, options: &ListOptions) -> Result<Self, Status> {
        let refused = |error: kontiki_model::SelectorError| failure::bad_request(error.to_string());
        let labels = LabelSelector::parse(&options.label_selector).map_err(refused)?;
        let fields = FieldSelector::parse(&options.field_selector).map_err(refused)?;
        let selectable = call.kind.selectable();
        if let Some(term) = fields.terms().iter().find(|term| !selectable.contains(&term.field.as_str())) {
            let field = &term.field;
            return Err(failure::bad_request(match (call.kind.unknown_field, call.kind.fields, &call.kind.custom) {
                (Some(words), ..) => words(field),
                (None, [], None) => {
                    let known: Vec<_> = selectable.iter().map(|one| format!("{one:?}")).collect();
                    format!("{field:?} is not a known field selector: only {}", known.join(", "))
                }
                (None, [_, ..], _) | (None, [], Some(_)) => format!("field label not supported: {field}"),
            }));
        }
        let fields = fields.renamed(|field| call.kind.stored_field(field));
        Ok(Selection { labels, fields, name: call.route.name.clone() })
    }

    /// Selects the whole collection.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything() && self.name.is_none()
    }

    /// The only name that can match, if there is one.
    pub fn only_name(&self) -> Option<&str> {
        self.name.as_deref().or_else(|| self.fields.required("metadata.name"))
    }

    pub fn matches(&self, key: &Key, head: &Head) -> bool {
        let field = |field: &str| match field {
            "metadata.name" => key.name.as_str(),
            "metadata.namespace" => key.namespace.as_str(),
            other => head.fields.get(other).map_or("", String::as_str),
        };
        self.name.as_ref().is_none_or(|name| *name == key.name)
            && self.labels.matches(&head.labels)
            && self.fields.matches(field)
    }
}
