//! What an object is, before anybody knows its kind: keys, heads, selectors, quantities, faults, Status.
//! Pure: no IO, no clock, no async runtime.
//!
//! - [`LabelSelector`]: `parse`, `from_json`, `from_labels`, `matches`, `matches_by`, `Display` (canonical).
//! - [`FieldSelector`]: `parse`, `matches`, `required`, `terms`.
//! - [`Quantity`]: `FromStr`, `Display`, `value`, `milli_value`, `add`, `sub`, order by value.
//! - [`Resources`]: amounts by name, added up and compared.
//! - [`tree::at`]: the member of a JSON tree at a pointer.
//! - [`version::preference`]: Kubernetes' order of API versions.
//! - [`names`]: the rules for names, labels and keys; [`metadata::validate`]: the rules of `metadata`.
//! - [`Faults`]: what is wrong with an object, field by field. Failures become a [`Status`] in the API server alone.

pub mod fault;
pub mod head;
pub mod key;
pub mod metadata;
pub mod names;
pub mod quantity;
pub mod resources;
pub mod selector;
pub mod status;
pub mod tree;
pub mod version;

pub use fault::{Fault, FaultKind, Faults};
pub use head::{Head, OwnerRef, Retention};
pub use key::{Key, Scope};
pub use quantity::{Quantity, QuantityError};
pub use resources::Resources;
pub use selector::{FieldSelector, FieldTerm, LabelSelector, Operator, Requirement, SelectorError};
pub use status::{Cause, Status, StatusDetails};

/// Watch order: assigned by apply, +1 per event, never reused. Printed as `metadata.resourceVersion`.
pub type Revision = u64;
