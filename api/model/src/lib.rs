//! What an object is, before anybody knows its kind: keys, heads, commands' vocabulary, selectors, quantities, Status.
//! Pure: no IO, no clock, no async runtime.
pub mod fault;
pub mod head;
pub mod key;
pub mod quantity;
pub mod selector;
pub mod status;

pub use fault::{Fault, FaultKind, Faults};
pub use head::{Head, OwnerRef};
pub use key::{Key, Scope};
pub use quantity::{Quantity, QuantityError};
pub use selector::{FieldSelector, LabelSelector};
pub use status::{Cause, Status, StatusDetails};

/// Watch order: assigned by apply, +1 per event, never reused. Printed as `metadata.resourceVersion`.
pub type Revision = u64;
