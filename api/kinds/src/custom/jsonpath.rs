//! JSON paths as kubectl writes them: `.spec.size`, `.status.conditions[?(@.type=="Ready")].status`, `.spec.ports[*].name`.

use serde_json::Value;

/// A path, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Member(String),
    /// Negative ones count from the end.
    Index(i64),
    Slice(Option<i64>, Option<i64>, i64),
    All,
    /// What follows, at any depth.
    Descend,
    Several(Vec<Step>),
    Filter {
        path: JsonPath,
        test: Option<(Operator, Operand)>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Literal(Value),
    Path(JsonPath),
}

impl JsonPath {
    /// Reads a path that starts at the object: `.spec.size`. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let inner = text.trim();
        let inner = inner.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(inner);
        let mut parser = Parser { text: inner, at: 0 };
        let path = parser.path()?;
        match parser.rest() {
            "" => Ok(path),
            rest => Err(format!("unrecognized character in action: {rest:?}")),
        }
    }

    /// Everything the path leads to.
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![root];
        for step in &self.steps {
            found = found.into_iter().flat_map(|value| step.from(value)).collect();
        }
        found
    }

    /// The members that a path of members alone goes through; `None` for any other path.
    pub fn members(&self) -> Option<Vec<&str>> {
        self.steps.iter().map(Step::member).collect()
    }
}

impl Step {
    fn member(&self) -> Option<&str> {
        match self {
            Step::Member(name) => Some(name),
            Step::Index(_) | Step::Slice(..) | Step::All | Step::Descend | Step::Several(_) | Step::Filter { .. } => {
                None
            }
        }
    }

    fn from<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Step::Member(name) => value.get(name).into_iter().collect(),
            Step::Index(index) => at(value, *index).into_iter().collect(),
            Step::Slice(start, end, step) => slice(value, *start, *end, *step),
            Step::All => match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(members) => members.values().collect(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
            },
            Step::Descend => {
                let mut all = vec![value];
                for below in Step::All.from(value) {
                    all.extend(Step::Descend.from(below));
                }
                all
            }
            Step::Several(steps) => steps.iter().flat_map(|step| step.from(value)).collect(),
            Step::Filter { path, test } => {
                let items = value.as_array().into_iter().flatten();
                items.filter(|item| passes(item, path, test.as_ref())).collect()
            }
        }
    }
}

fn at(value: &Value, index: i64) -> Option<&Value> {
    let items = value.as_array()?;
    let index = if index < 0 { i64::try_from(items.len()).ok()? + index } else { index };
    items.get(usize::try_from(index).ok()?)
}

fn slice(value: &Value, start: Option<i64>, end: Option<i64>, step: i64) -> Vec<&Value> {
    let Some(items) = value.as_array() else { return Vec::new() };
    let count = items.len();
    let place = |at: i64| {
        let from_end = usize::try_from(at.unsigned_abs()).unwrap_or(count);
        if at < 0 { count.saturating_sub(from_end) } else { from_end.min(count) }
    };
    let (start, end) = (start.map_or(0, place), end.map_or(count, place));
    let step = usize::try_from(step).unwrap_or(1).max(1);
    items.get(start..end.max(start)).unwrap_or_default().iter().step_by(step).collect()
}

fn passes(item: &Value, path: &JsonPath, test: Option<&(Operator, Operand)>) -> bool {
    let found = path.find(item);
    let Some((operator, operand)) = test else { return !found.is_empty() };
    let Some(left) = found.first() else { return false };
    let right = match operand {
        Operand::Literal(value) => value,
        Operand::Path(path) => match path.find(item).first() {
            Some(value) => value,
            None => return false,
        },
    };
    let order = match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
        (Value::String(left), Value::String(right)) => Some(left.as_str().cmp(right)),
        _ => None,
    };
    match operator {
        Operator::Equal => order.map_or(*left == right, |order| order.is_eq()),
        Operator::NotEqual => order.map_or(*left != right, |order| order.is_ne()),
        Operator::Less => order.is_some_and(|order| order.is_lt()),
        Operator::LessOrEqual => order.is_some_and(|order| order.is_le()),
        Operator::Greater => order.is_some_and(|order| order.is_gt()),
        Operator::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn spaces(&mut self) {
        while self.rest().starts_with(' ') {
            self.at += 1;
        }
    }

    fn path(&mut self) -> Result<JsonPath, String> {
        let mut steps = Vec::new();
        _ = self.take("$") || self.take("@");
        loop {
            if self.take("..") {
                steps.push(Step::Descend);
                match self.rest().chars().next() {
                    Some('[') => {}
                    _ => steps.push(self.member()?),
                }
            } else if self.take(".") {
                if self.rest().is_empty() && steps.is_empty() {
                    break;
                }
                if !self.rest().starts_with('[') {
                    steps.push(self.member()?);
                }
            } else if self.take("[") {
                steps.push(self.brackets()?);
            } else {
                break;
            }
        }
        Ok(JsonPath { steps })
    }

    /// A name behind a dot; a backslash lets a dot be part of it.
    fn member(&mut self) -> Result<Step, String> {
        let mut name = String::new();
        let mut chars = self.rest().char_indices();
        let mut end = self.rest().len();
        while let Some((at, char)) = chars.next() {
            match char {
                '\\' => match chars.next() {
                    Some((_, escaped)) => name.push(escaped),
                    None => return Err("unterminated escape".to_owned()),
                },
                '.' | '[' | ']' | ')' | ' ' | ',' | '=' | '!' | '<' | '>' | '|' | '&' => {
                    end = at;
                    break;
                }
                other => name.push(other),
            }
        }
        self.at += end;
        match name.as_str() {
            "" => Err("invalid empty field name".to_owned()),
            "*" => Ok(Step::All),
            _ => Ok(Step::Member(name)),
        }
    }

    fn brackets(&mut self) -> Result<Step, String> {
        self.spaces();
        if self.take("?(") {
            let step = self.filter()?;
            self.spaces();
            return if self.take("]") { Ok(step) } else { Err("unterminated filter".to_owned()) };
        }
        let mut steps = Vec::new();
        loop {
            self.spaces();
            steps.push(self.bracketed()?);
            self.spaces();
            if self.take("]") {
                break;
            }
            if !self.take(",") {
                return Err("unterminated array".to_owned());
            }
        }
        Ok(if steps.len() == 1 { steps.remove(0) } else { Step::Several(steps) })
    }

    fn bracketed(&mut self) -> Result<Step, String> {
        if self.take("*") {
            return Ok(Step::All);
        }
        if let Some(text) = self.quoted()? {
            return Ok(Step::Member(text));
        }
        let end = self.rest().find([',', ']']).ok_or("unterminated array")?;
        let text = self.rest()[..end].trim().to_owned();
        self.at += end;
        let number = |text: &str| text.parse::<i64>().map_err(|_| format!("invalid array index {text}"));
        if !text.contains(':') {
            return number(&text).map(Step::Index);
        }
        let parts: Vec<&str> = text.split(':').collect();
        let part = |index: usize| match parts.get(index).copied().unwrap_or("") {
            "" => Ok(None),
            text => number(text).map(Some),
        };
        Ok(Step::Slice(part(0)?, part(1)?, part(2)?.unwrap_or(1)))
    }

    fn quoted(&mut self) -> Result<Option<String>, String> {
        let Some(quote) = self.rest().chars().next().filter(|char| matches!(char, '\'' | '"')) else { return Ok(None) };
        let inner = &self.rest()[1..];
        let end = inner.find(quote).ok_or("unterminated quoted string")?;
        let text = inner[..end].to_owned();
        self.at += end + 2;
        Ok(Some(text))
    }

    fn filter(&mut self) -> Result<Step, String> {
        self.spaces();
        let path = self.path()?;
        self.spaces();
        let operators = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let operator = operators.into_iter().find(|(token, _)| self.take(token));
        let test = match operator {
            None => None,
            Some((_, operator)) => {
                self.spaces();
                Some((operator, self.operand()?))
            }
        };
        self.spaces();
        if self.take(")") { Ok(Step::Filter { path, test }) } else { Err("unterminated filter".to_owned()) }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        if let Some(text) = self.quoted()? {
            return Ok(Operand::Literal(text.into()));
        }
        if self.rest().starts_with(['@', '$', '.']) {
            return Ok(Operand::Path(self.path()?));
        }
        let end = self.rest().find([')', ' ']).ok_or("unterminated filter")?;
        let text = &self.rest()[..end];
        let value = serde_json::from_str(text).map_err(|_| format!("unrecognized character in action: {text:?}"))?;
        self.at += end;
        Ok(Operand::Literal(value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_where_kubectl_goes() {
        let object = json!({
            "spec": {"size": 3, "list": [1, 2, 3, 4], "a.b": "dotted"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "False", "n": 5}]},
        });
        let table = [
            (".spec.size", json!([3])),
            ("{.spec.size}", json!([3])),
            (".spec.none", json!([])),
            (".spec.a\\.b", json!(["dotted"])),
            (".spec['a.b']", json!(["dotted"])),
            (".spec.list[0]", json!([1])),
            (".spec.list[-1]", json!([4])),
            (".spec.list[1:3]", json!([2, 3])),
            (".spec.list[0,2]", json!([1, 3])),
            (".spec.list[*]", json!([1, 2, 3, 4])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (r#".status.conditions[?(@.type != 'Ready')].status"#, json!(["False"])),
            (".status.conditions[?(@.n>4)].type", json!(["Old"])),
            (".status.conditions[?(@.n)].type", json!(["Old"])),
            ("..type", json!(["Ready", "Old"])),
        ];
        for (path, expected) in table {
            let found: Vec<Value> = JsonPath::parse(path).unwrap().find(&object).into_iter().cloned().collect();
            assert_eq!(json!(found), expected, "{path}");
        }
        for wrong in [".spec.", ".a[", ".a[x]", ".a[?(@.b", "spec.size"] {
            assert!(JsonPath::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_paths_of_members_are_plain() {
        assert_eq!(JsonPath::parse(".spec.size").unwrap().members(), Some(vec!["spec", "size"]));
        assert_eq!(JsonPath::parse(".spec[0]").unwrap().members(), None);
    }
}
