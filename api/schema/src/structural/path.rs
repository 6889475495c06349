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
        if node.properties.contains_key(name) { self.field(name) } else { self.below(Step::Key(name)) }
    }

    pub fn field(&'a self, name: &'a str) -> Self {
        self.below(Step::Field(name))
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
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            above.fmt(f)?;
        }
        match self.step {
            Step::At(path) => f.write_str(path),
            Step::Field(name) if self.is_top() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Key(name) => write!(f, "[{name}]"),
            Step::Item(index) => write!(f, "[{index}]"),
        }
    }
}
