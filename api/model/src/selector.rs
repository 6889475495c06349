//! Label and field selectors: parsing, printing and matching, with Kubernetes' syntax and messages.

mod field;
mod label;
mod lexer;

pub use field::{FieldSelector, FieldTerm};
pub use label::{LabelSelector, Operator, Requirement};

/// The selector does not parse; the message is Kubernetes'.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);
