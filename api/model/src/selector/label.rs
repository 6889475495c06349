//! Label selectors: the query syntax, and the object `{matchLabels, matchExpressions}`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::SelectorError;
use super::lexer::{Context, Lexer, Token};
use crate::names;

/// What an object's labels must satisfy; all requirements must hold. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

impl LabelSelector {
    /// Selects no object: what an absent selector object means.
    pub fn nothing() -> Self {
        LabelSelector { requirements: Vec::new(), nothing: true }
    }

    /// Selects objects that have all these labels.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let requirement = |(key, value): (&str, &str)| Requirement {
            key: key.to_owned(),
            operator: Operator::Equals,
            values: BTreeSet::from([value.to_owned()]),
        };
        LabelSelector::of(labels.into_iter().map(requirement).collect())
    }

    /// A `metav1.LabelSelector` object; null selects nothing, an empty object everything.
    pub fn from_json(selector: &Value) -> Result<Self, SelectorError> {
        if selector.is_null() {
            return Ok(LabelSelector::nothing());
        }
        let mut requirements = Vec::new();
        if let Some(Value::Object(labels)) = selector.get("matchLabels") {
            for (key, value) in labels {
                let values = BTreeSet::from([value.as_str().unwrap_or_default().to_owned()]);
                requirements.push(Requirement::new(key.clone(), Operator::Equals, values)?);
            }
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| expression.get(key).and_then(Value::as_str).unwrap_or_default();
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(SelectorError(format!("{other:?} is not a valid label selector operator"))),
            };
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
            requirements.push(Requirement::new(text("key").to_owned(), operator, values)?);
        }
        Ok(LabelSelector::of(requirements))
    }

    /// The `labelSelector` parameter: `a=b,c in (d,e),!f`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut lexer = Lexer::new(text);
        let mut requirements = Vec::new();
        loop {
            match lexer.look(Context::Values) {
                (Token::Identifier | Token::Not, _) => {
                    let requirement = requirement(&mut lexer)
                        .map_err(|error| SelectorError(format!("unable to parse requirement: {error}")))?;
                    requirements.push(requirement);
                }
                (Token::End, _) => break,
                (_, found) => return refuse(found, "!, identifier, or 'end of string'"),
            }
            match lexer.take(Context::Values) {
                (Token::End, _) => break,
                (Token::Comma, _) => {}
                (_, found) => return refuse(found, "',' or 'end of string'"),
            }
            match lexer.look(Context::Values) {
                (Token::Identifier | Token::Not, _) => {}
                (_, found) => return refuse(found, "identifier after ','"),
            }
        }
        Ok(LabelSelector::of(requirements))
    }

    fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|left, right| left.key.cmp(&right.key));
        LabelSelector { requirements, nothing: false }
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// As [`LabelSelector::matches`], over any source of labels.
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|one| one.matches(label(&one.key)))
    }

    /// Whether every object is selected.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

fn refuse<T>(found: &str, expected: &str) -> Result<T, SelectorError> {
    Err(SelectorError(format!("found '{found}', expected: {expected}")))
}

fn requirement(lexer: &mut Lexer<'_>) -> Result<Requirement, SelectorError> {
    let (mut token, mut key) = lexer.take(Context::Values);
    let negated = token == Token::Not;
    if negated {
        (token, key) = lexer.take(Context::Values);
    }
    if token != Token::Identifier {
        return refuse(key, "identifier");
    }
    check_key(key, "<nil>")?;
    let last = matches!(lexer.look(Context::Values).0, Token::End | Token::Comma);
    if negated || last {
        let operator = if negated { Operator::DoesNotExist } else { Operator::Exists };
        return Requirement::new(key.to_owned(), operator, BTreeSet::new());
    }
    let (token, found) = lexer.take(Context::KeyAndOperator);
    let operator = match token {
        Token::In => Operator::In,
        Token::NotIn => Operator::NotIn,
        Token::Equals => Operator::Equals,
        Token::DoubleEquals => Operator::DoubleEquals,
        Token::NotEquals => Operator::NotEquals,
        Token::Greater => Operator::GreaterThan,
        Token::Less => Operator::LessThan,
        Token::Identifier | Token::Open | Token::Close | Token::Comma | Token::Not | Token::End => {
            return refuse(found, "in, notin, =, ==, !=, gt, lt");
        }
    };
    let values = match operator {
        Operator::In | Operator::NotIn => values(lexer)?,
        _ => BTreeSet::from([exact_value(lexer)?]),
    };
    Requirement::new(key.to_owned(), operator, values)
}

fn exact_value(lexer: &mut Lexer<'_>) -> Result<String, SelectorError> {
    if matches!(lexer.look(Context::Values).0, Token::End | Token::Comma) {
        return Ok(String::new());
    }
    match lexer.take(Context::Values) {
        (Token::Identifier, value) => Ok(value.to_owned()),
        (_, found) => refuse(found, "identifier"),
    }
}

fn values(lexer: &mut Lexer<'_>) -> Result<BTreeSet<String>, SelectorError> {
    match lexer.take(Context::Values) {
        (Token::Open, _) => {}
        (_, found) => return Err(SelectorError(format!("found '{found}' expected: '('"))),
    }
    match lexer.look(Context::Values) {
        (Token::Identifier | Token::Comma, _) => {
            let values = value_list(lexer)?;
            match lexer.take(Context::Values) {
                (Token::Close, _) => Ok(values),
                (_, found) => refuse(found, "')'"),
            }
        }
        (Token::Close, _) => {
            lexer.take(Context::Values);
            Ok(BTreeSet::from([String::new()]))
        }
        (_, found) => refuse(found, "',', ')' or identifier"),
    }
}

/// Up to the closing parenthesis; an empty place in the list is the empty value.
fn value_list(lexer: &mut Lexer<'_>) -> Result<BTreeSet<String>, SelectorError> {
    let mut values = BTreeSet::new();
    loop {
        match lexer.take(Context::Values) {
            (Token::Identifier, value) => {
                values.insert(value.to_owned());
                match lexer.look(Context::Values) {
                    (Token::Comma, _) => {}
                    (Token::Close, _) => return Ok(values),
                    (_, found) => return refuse(found, "',' or ')'"),
                }
            }
            (Token::Comma, _) => {
                if values.is_empty() {
                    values.insert(String::new());
                }
                match lexer.look(Context::Values).0 {
                    Token::Close => {
                        values.insert(String::new());
                        return Ok(values);
                    }
                    Token::Comma => {
                        lexer.take(Context::Values);
                        values.insert(String::new());
                    }
                    _ => {}
                }
            }
            (_, found) => return refuse(found, "',', or identifier"),
        }
    }
}

fn invalid(field: &str, value: &str, detail: &str) -> String {
    format!("{field}: Invalid value: {value:?}: {detail}")
}

fn check_key(key: &str, field: &str) -> Result<(), SelectorError> {
    match names::qualified(key) {
        wrong if wrong.is_empty() => Ok(()),
        wrong => Err(SelectorError(invalid(field, key, &wrong.join("; ")))),
    }
}

impl Requirement {
    /// A requirement that Kubernetes would accept, or its complaint.
    pub fn new(key: String, operator: Operator, values: BTreeSet<String>) -> Result<Self, SelectorError> {
        let mut faults = Vec::new();
        if let Err(error) = check_key(&key, "key") {
            faults.push(error.0);
        }
        let print = |values: &BTreeSet<String>| serde_json::Value::from_iter(values.iter().cloned()).to_string();
        let mut refuse = |detail: &str| faults.push(format!("values: Invalid value: {}: {detail}", print(&values)));
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                refuse("for 'in', 'notin' operators, values set can't be empty");
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                refuse("exact-match compatibility requires one single value");
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                refuse("values set must be empty for exists and does not exist");
            }
            Operator::GreaterThan | Operator::LessThan => {
                if values.len() != 1 {
                    refuse("for 'Gt', 'Lt' operators, exactly one value is required");
                }
                for (index, value) in values.iter().enumerate().filter(|(_, value)| value.parse::<i64>().is_err()) {
                    let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                    faults.push(invalid(&format!("values[{index}]"), value, detail));
                }
            }
            _ => {}
        }
        for (index, value) in values.iter().enumerate() {
            let wrong = names::label_value(value);
            if !wrong.is_empty() {
                faults.push(invalid(&format!("values[{index}][{key}]"), value, &wrong.join("; ")));
            }
        }
        match faults.len() {
            0 => Ok(Requirement { key, operator, values }),
            1 => Err(SelectorError(faults.remove(0))),
            _ => Err(SelectorError(format!("[{}]", faults.join(", ")))),
        }
    }

    fn matches(&self, label: Option<&str>) -> bool {
        let contained = |label: &str| self.values.contains(label);
        let number = |text: &str| text.parse::<i64>().ok();
        let bound = || self.values.first().and_then(|value| number(value));
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => label.is_some_and(contained),
            Operator::NotIn | Operator::NotEquals => !label.is_some_and(contained),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan => label.and_then(number).zip(bound()).is_some_and(|(label, bound)| label > bound),
            Operator::LessThan => label.and_then(number).zip(bound()).is_some_and(|(label, bound)| label < bound),
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let values = self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prints_canonically() {
        for (text, printed) in [
            ("", ""),
            ("a", "a"),
            ("!a", "!a"),
            ("b=1, a == 2", "a==2,b=1"),
            ("a in (z, b,,c)", "a in (,b,c,z)"),
            ("a in ()", "a in ()"),
            ("a notin(b),c!=d", "a notin (b),c!=d"),
            ("a>1,b<5", "a>1,b<5"),
            ("a=", "a="),
            ("in in (in,notin)", "in in (in,notin)"),
            ("example.com/a=b", "example.com/a=b"),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn selects() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "x".to_owned())]);
        for (text, expected) in [
            ("", true),
            ("a", true),
            ("c", false),
            ("!c", true),
            ("a=1,b=x", true),
            ("a=1,b=y", false),
            ("a!=1", false),
            ("c!=1", true),
            ("b in (x,y)", true),
            ("c in (x)", false),
            ("c notin (x)", true),
            ("a>0", true),
            ("a>1", false),
            ("a<2", true),
            ("b<2", false),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&labels), expected, "{text}");
        }
    }

    #[test]
    fn refuses_in_kubernetes_words() {
        let qualified = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
            alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
            '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        for (text, message) in [
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            (",", "found ',', expected: !, identifier, or 'end of string'"),
            ("a,,b", "found ',', expected: identifier after ','"),
            ("!a=b", "found '=', expected: ',' or 'end of string'"),
            ("a exists", "unable to parse requirement: found 'exists', expected: in, notin, =, ==, !=, gt, lt"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("-a", &format!("unable to parse requirement: <nil>: Invalid value: \"-a\": {qualified}")),
            (
                "a>x",
                "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap_err().0, message, "{text}");
        }
        let value = LabelSelector::parse("a=-b").unwrap_err().0;
        assert!(
            value.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label"),
            "{value}"
        );
    }

    #[test]
    fn reads_selector_objects() {
        let parse = |value: Value| LabelSelector::from_json(&value);
        assert_eq!(parse(Value::Null).unwrap(), LabelSelector::nothing());
        assert!(!LabelSelector::nothing().matches(&BTreeMap::new()));
        assert!(parse(json!({})).unwrap().is_everything());
        let selector = json!({"matchLabels": {"b": "1"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["x", "y"]}, {"key": "c", "operator": "DoesNotExist"},
        ]});
        assert_eq!(parse(selector).unwrap().to_string(), "a in (x,y),b=1,!c");
        assert_eq!(
            parse(json!({"matchExpressions": [{"key": "a", "operator": "Near"}]})).unwrap_err().0,
            "\"Near\" is not a valid label selector operator"
        );
    }
}
