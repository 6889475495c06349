//! Which objects of a collection a list, a watch or a DELETE is about.

use kontiki_model::{FieldSelector, Head, Key, LabelSelector, Status};

use super::{call::Call, options::ListOptions};
use crate::failure;

/// Label and field selectors, and the name where the path gives one. Matches on the heads of stored objects, without their bodies;
/// only what a version of a custom kind makes selectable is looked for in the object as this version tells it.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    /// Those that a version defines.
    of_version: FieldSelector,
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
        let (of_version, fields) = fields.split(|field| call.kind.custom.is_some() && !is_in_key(field));
        Ok(Selection { labels, fields, of_version, name: call.route.name.clone() })
    }

    /// Selects the whole collection.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything() && self.name.is_none() && !self.is_of_version()
    }

    /// Whether what [`matches`](Self::matches) must be told in the version of the request, for [`matches_told`](Self::matches_told).
    pub fn is_of_version(&self) -> bool {
        !self.of_version.is_everything()
    }

    /// The only name that can match, if there is one.
    pub fn only_name(&self) -> Option<&str> {
        self.name.as_deref().or_else(|| self.fields.required(NAME))
    }

    pub fn matches(&self, key: &Key, head: &Head) -> bool {
        let field = |field: &str| match field {
            NAME => key.name.as_str(),
            NAMESPACE => key.namespace.as_str(),
            other => value(head, other),
        };
        self.name.as_ref().is_none_or(|name| *name == key.name)
            && self.labels.matches(&head.labels)
            && self.fields.matches(field)
    }

    /// By the head of an object as the version of the request tells it.
    pub fn matches_told(&self, told: &Head) -> bool {
        self.of_version.matches(|field| value(told, field))
    }
}

const NAME: &str = "metadata.name";
const NAMESPACE: &str = "metadata.namespace";

fn is_in_key(field: &str) -> bool {
    matches!(field, NAME | NAMESPACE)
}

fn value<'a>(head: &'a Head, field: &str) -> &'a str {
    head.fields.get(field).map_or("", String::as_str)
}
