//! Query parameters, as Kubernetes reads them: the first value counts, a boolean is false only if it says so.

use std::borrow::Cow;

pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub fn parse(query: Option<&'a str>) -> Query<'a> {
        Query(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect())
    }

    /// `None` where it is absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    pub fn flag(&self, name: &str) -> bool {
        self.all(name).next().is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_false_only_if_they_say_so() {
        let query = Query::parse(Some("a=true&b=1&c=false&d=0&e&f=&g=no&a=false"));
        let set: Vec<&str> = ["a", "b", "c", "d", "e", "f", "g", "h"].into_iter().filter(|n| query.flag(n)).collect();
        assert_eq!(set, ["a", "b", "e", "f", "g"]);
    }

    #[test]
    fn values_are_decoded() {
        let query = Query::parse(Some("command=sh&command=-c&command=echo+%22a%20b%22&empty="));
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c", "echo \"a b\""]);
        assert_eq!((query.get("command"), query.get("empty"), query.get("none")), (Some("sh"), None, None));
    }
}
