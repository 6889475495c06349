//! Where a value stands in an object. Written out only where something is wrong: below a long key, the paths of all values together are far
//! larger than the object.

use std::fmt;

use super::Node;

#[derive(Clone, Copy)]
pub struct Path<'a> {
    above: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    At(&'a str),
    Field(&'a str),
    /// The key of a map, which is data.
    Key(&'a str),
    Item(usize),
}

impl<'a> Path<'a> {
    /// Of the object itself.
    pub const ROOT: Path<'static> = Path::at("");

    pub const fn at(path: &'a str) -> Self {
        Path { above: None, step: Step::At(path) }
    }

    /// Of a member, as its schema knows it.
    pub fn member(&'a self, node: &Node, name: &'a str) -> Self {
        if node.properties.contains_key(name) { self.field(name) } else { self.key(name) }
    }

    pub fn field(&'a self, name: &'a str) -> Self {
        self.below(Step::Field(name))
    }

    pub fn key(&'a self, name: &'a str) -> Self {
        self.below(Step::Key(name))
    }

    pub fn item(&'a self, index: usize) -> Self {
        self.below(Step::Item(index))
    }

    fn below(&'a self, step: Step<'a>) -> Self {
        Path { above: Some(self), step }
    }

    /// A field of the object itself.
    pub fn is_top(&self) -> bool {
        matches!((self.step, self.above), (Step::Field(_), Some(above)) if above.is_empty())
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.step, Step::At(""))
    }

    /// Where faults of the value are told.
    pub fn place(&self) -> String {
        let (start, below) = (self.start(), self.to_string());
        match (start, below.as_str()) {
            ("", "") => NOWHERE.to_owned(),
            ("", _) => below,
            (start, "") => start.to_owned(),
            (start, _) if below.starts_with('[') => format!("{start}{below}"),
            (start, _) => format!("{start}.{below}"),
        }
    }

    /// Where faults are told that Kubernetes does not tell where they are.
    pub fn place_of_whole(&self) -> String {
        match self.start() {
            "" => NOWHERE.to_owned(),
            start => start.to_owned(),
        }
    }

    fn start(&self) -> &'a str {
        match (self.step, self.above) {
            (Step::At(path), _) => path,
            (Step::Field(_) | Step::Key(_) | Step::Item(_), Some(above)) => above.start(),
            (Step::Field(_) | Step::Key(_) | Step::Item(_), None) => "",
        }
    }

    fn is_first(&self) -> bool {
        matches!(self.above, Some(Path { step: Step::At(_), .. }))
    }
}

/// What Go prints of no path.
const NOWHERE: &str = "<nil>";

/// As messages name a value: from where the walk began.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            above.fmt(f)?;
        }
        match self.step {
            Step::At(_) => Ok(()),
            Step::Field(name) if self.is_first() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Key(name) => write!(f, "[{name}]"),
            Step::Item(index) => write!(f, "[{index}]"),
        }
    }
}
