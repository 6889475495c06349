//! Label and field selectors: parsing and matching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {}
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {}
