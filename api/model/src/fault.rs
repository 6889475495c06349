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

/// All faults of one object; of very many the first, and how many there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    kept: Vec<Fault>,
    bytes: usize,
    count: usize,
}

/// Faults that are told, and what they may take together: an object as large as a request may be holds a million.
const FAULTS_MAX: usize = 1_000;
const FAULT_BYTES_MAX: usize = 256 * 1024;

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
    fn bytes(&self) -> usize {
        let value = match &self.value {
            Some(Value::String(text)) => text.len(),
            Some(value @ (Value::Array(_) | Value::Object(_))) => value.to_string().len(),
            Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => 0,
        };
        self.field.len() + self.detail.len() + value
    }

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
        self.push(Fault { kind, field: field.into(), value, detail: detail.into() });
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
        self.count += 1;
        if !self.is_full() {
            self.bytes += fault.bytes();
            self.kept.push(fault);
        }
    }

    pub fn extend(&mut self, faults: Faults) {
        let more = faults.count - faults.kept.len();
        faults.kept.into_iter().for_each(|fault| self.push(fault));
        self.count += more;
    }

    /// The same faults, of an object that stands at a path in another one.
    pub fn below(mut self, path: &str) -> Self {
        for fault in &mut self.kept {
            fault.field = format!("{path}.{}", fault.field);
        }
        self
    }

    /// Those that are not among the others. What is not told is not compared: it stays.
    pub fn without(self, others: &Faults) -> Self {
        let mut left = Faults { count: self.count - self.kept.len(), ..Faults::default() };
        let new = self.kept.into_iter().filter(|fault| !others.kept.contains(fault));
        new.for_each(|fault| left.push(fault));
        left
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All there are, told or not.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whoever looks for more may stop.
    pub fn is_full(&self) -> bool {
        self.kept.len() >= FAULTS_MAX || self.bytes >= FAULT_BYTES_MAX
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.kept.iter()
    }

    pub fn causes(&self) -> Vec<Cause> {
        let cause = |fault: &Fault| Cause {
            reason: fault.kind.reason().to_owned(),
            message: fault.message(),
            field: fault.field.clone(),
        };
        self.kept.iter().map(cause).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_faults_the_first_are_told() {
        let mut faults = Faults::default();
        for index in 0..100_000 {
            faults.required(format!("spec.items[{index}]"), "");
        }
        assert_eq!((faults.count(), faults.iter().count()), (100_000, FAULTS_MAX));
        let mut long = Faults::default();
        (0..10).for_each(|_| long.invalid("a".repeat(100 * 1024), "", ""));
        assert_eq!((long.count(), long.iter().count()), (10, 3));
        faults.extend(long);
        assert_eq!((faults.count(), faults.causes().len()), (100_010, FAULTS_MAX));
    }
}
