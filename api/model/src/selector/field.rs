//! Field selectors: `metadata.name=a,status.phase!=Running`, with backslash escapes in values.

use std::fmt;

use super::SelectorError;

/// What an object's selectable fields must satisfy; all terms must hold. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    pub field: String,
    pub value: String,
    /// The field must have this value (or, if false, must not).
    pub equal: bool,
}

impl FieldSelector {
    /// The `fieldSelector` parameter. Which fields exist is for the caller to check.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for part in split(text).into_iter().filter(|part| !part.is_empty()) {
            let (field, equal, value) = split_term(part)
                .ok_or_else(|| SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'")))?;
            terms.push(FieldTerm { field: field.to_owned(), value: unescape(value)?, equal });
        }
        Ok(FieldSelector { terms })
    }

    /// The same of fields that are called otherwise.
    pub fn renamed(mut self, name: impl Fn(&str) -> &str) -> Self {
        for term in &mut self.terms {
            term.field = name(&term.field).to_owned();
        }
        self
    }

    /// The terms about some fields, and the others.
    pub fn split(self, is_one: impl Fn(&str) -> bool) -> (Self, Self) {
        let (these, others) = self.terms.into_iter().partition(|term| is_one(&term.field));
        (FieldSelector { terms: these }, FieldSelector { terms: others })
    }

    /// Matches by a lookup of fields; an absent field is empty.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> &'a str) -> bool {
        self.terms.iter().all(|term| (field(&term.field) == term.value) == term.equal)
    }

    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// The value that `field` must have, if the selector asks for exactly one.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }

    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }
}

/// The parts between commas that are not escaped.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let operators = [("!=", false), ("==", true), ("=", true)];
    term.char_indices().find_map(|(index, _)| {
        let rest = &term[index..];
        operators
            .iter()
            .find_map(|(operator, equal)| rest.strip_prefix(operator).map(|value| (&term[..index], *equal, value)))
    })
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                next => {
                    let next = next.map(String::from).unwrap_or_default();
                    return Err(SelectorError(format!("invalid field selector: invalid escape sequence: \\{next}")));
                }
            },
            // Go prints the character's number here.
            ',' | '=' => {
                let number = u32::from(c);
                return Err(SelectorError(format!("invalid field selector: unescaped character in value: {number}")));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if term.equal { "=" } else { "!=" };
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{operator}{value}", term.field)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_prints_and_matches() {
        let field = |name: &str| match name {
            "metadata.name" => "a",
            "status.phase" => "Running",
            _ => "",
        };
        for (text, printed, matches) in [
            ("", "", true),
            (",", "", true),
            ("metadata.name=a,", "metadata.name=a", true),
            ("metadata.name==a,status.phase!=Running", "metadata.name=a,status.phase!=Running", false),
            ("metadata.name=a,metadata.name=b", "metadata.name=a,metadata.name=b", false),
            ("spec.nodeName=", "spec.nodeName=", true),
            (r"metadata.name=a\,b", r"metadata.name=a\,b", false),
        ] {
            let selector = FieldSelector::parse(text).unwrap();
            assert_eq!(selector.to_string(), printed);
            assert_eq!(selector.matches(field), matches, "{text}");
        }
    }

    #[test]
    fn refuses_in_kubernetes_words() {
        for (text, message) in [
            ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
            (
                "metadata.name in (a)",
                "invalid selector: 'metadata.name in (a)'; can't understand 'metadata.name in (a)'",
            ),
            (r"metadata.name=a\b", r"invalid field selector: invalid escape sequence: \b"),
            (r"a!=b\,metadata.name=c", "invalid field selector: unescaped character in value: 61"),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap_err().0, message);
        }
    }
}
