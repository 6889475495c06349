//! What is wrong with a field: Kubernetes' `field.Error`, collected so that one answer names every fault.

use serde_json::Value;

use crate::Cause;

/// Kubernetes' error types; each is a `reason` of a Status cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    Duplicate,
    Forbidden,
    Invalid,
    NotFound,
    NotSupported,
    Required,
    TooLong,
    TooMany,
    TypeInvalid,
}

/// One fault, with the path of the field it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub kind: FaultKind,
    /// `spec.containers[0].name`, `metadata.labels[app]`.
    pub field: String,
    pub value: Option<Value>,
    pub detail: String,
}

/// All faults of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults(Vec<Fault>);

impl FaultKind {
    /// The `reason` in a Status cause.
    pub fn reason(self) -> &'static str {
        match self {
            FaultKind::Duplicate => "FieldValueDuplicate",
            FaultKind::Forbidden => "FieldValueForbidden",
            FaultKind::Invalid => "FieldValueInvalid",
            FaultKind::NotFound => "FieldValueNotFound",
            FaultKind::NotSupported => "FieldValueNotSupported",
            FaultKind::Required => "FieldValueRequired",
            FaultKind::TooLong => "FieldValueTooLong",
            FaultKind::TooMany => "FieldValueTooMany",
            FaultKind::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            FaultKind::Duplicate => "Duplicate value",
            FaultKind::Forbidden => "Forbidden",
            FaultKind::Invalid | FaultKind::TypeInvalid => "Invalid value",
            FaultKind::NotFound => "Not found",
            FaultKind::NotSupported => "Unsupported value",
            FaultKind::Required => "Required value",
            FaultKind::TooLong => "Too long",
            FaultKind::TooMany => "Too many",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(self, FaultKind::Forbidden | FaultKind::Required | FaultKind::TooLong)
    }
}

impl Fault {
    /// The message without the field: `Invalid value: "x": must be …`.
    pub fn message(&self) -> String {
        let mut out = self.kind.words().to_owned();
        if self.kind.shows_value()
            && let Some(value) = &self.value
        {
            out.push_str(": ");
            out.push_str(&value.to_string());
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

impl Faults {
    pub fn add(&mut self, kind: FaultKind, field: impl Into<String>, value: Option<Value>, detail: impl Into<String>) {
        self.0.push(Fault { kind, field: field.into(), value, detail: detail.into() });
    }

    pub fn required(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.add(FaultKind::Required, field, None, detail);
    }

    pub fn invalid(&mut self, field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) {
        self.add(FaultKind::Invalid, field, Some(value.into()), detail);
    }

    pub fn forbidden(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.add(FaultKind::Forbidden, field, None, detail);
    }

    pub fn duplicate(&mut self, field: impl Into<String>, value: impl Into<Value>) {
        self.add(FaultKind::Duplicate, field, Some(value.into()), "");
    }

    /// `supported values: "A", "B"`, in the order given.
    pub fn not_supported(&mut self, field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) {
        let quoted: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        self.add(FaultKind::NotSupported, field, Some(value.into()), detail);
    }

    pub fn too_long(&mut self, field: impl Into<String>, bytes_max: usize) {
        self.add(FaultKind::TooLong, field, None, format!("may not be more than {bytes_max} bytes"));
    }

    pub fn too_many(&mut self, field: impl Into<String>, count: usize, items_max: usize) {
        let detail = format!("must have at most {items_max} items");
        self.add(FaultKind::TooMany, field, Some(count.into()), detail);
    }

    pub fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub fn extend(&mut self, faults: Faults) {
        self.0.extend(faults.0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    pub fn causes(&self) -> Vec<Cause> {
        let cause = |fault: &Fault| Cause {
            reason: fault.kind.reason().to_owned(),
            message: fault.message(),
            field: fault.field.clone(),
        };
        self.0.iter().map(cause).collect()
    }
}
