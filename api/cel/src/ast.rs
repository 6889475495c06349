//! Expressions as they are parsed; macros are nodes of their own.

use std::iter;

/// An expression and where it stands in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub at: usize,
    pub node: Node,
    /// Levels of expressions, this one and those it is made of.
    pub height: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Literal(Literal),
    Ident(String),
    /// `a.b`, `a.?b`.
    Select {
        of: Box<Expr>,
        field: String,
        optional: bool,
    },
    /// `has(a.b)`.
    Has {
        of: Box<Expr>,
        field: String,
    },
    /// `a[b]`, `a[?b]`.
    Index {
        of: Box<Expr>,
        index: Box<Expr>,
        optional: bool,
    },
    /// `f(a)`, `a.f(b)`; operators are functions too: `_+_`.
    Call {
        target: Option<Box<Expr>>,
        name: String,
        args: Vec<Expr>,
    },
    List(Vec<Item>),
    Map(Vec<Entry>),
    /// `Object.spec{replicas: 1}`.
    Construct {
        name: String,
        fields: Vec<FieldInit>,
    },
    /// `a.all(x, p)` and its like.
    Loop(Box<Loop>),
    /// `cel.bind(x, a, b)`.
    Bind {
        variable: String,
        value: Box<Expr>,
        body: Box<Expr>,
    },
}

/// An element of a list; `?a` only if it has a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub value: Expr,
    pub optional: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub optional: bool,
}

/// A field of an object that is made.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldInit {
    pub at: usize,
    pub name: String,
    pub value: Expr,
    pub optional: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    pub kind: LoopKind,
    pub range: Expr,
    /// The element; with two, the index or key and the value.
    pub variables: Vec<String>,
    /// `map` and the transformations may leave elements out.
    pub filter: Option<Expr>,
    pub body: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
    TransformList,
    TransformMap,
    /// Each element gives entries of the map.
    TransformMapEntry,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
}

impl Node {
    /// The expressions that it is made of directly.
    fn parts<'e>(&'e self) -> Box<dyn Iterator<Item = &'e Expr> + 'e> {
        match self {
            Node::Literal(_) | Node::Ident(_) => Box::new(iter::empty()),
            Node::Select { of, .. } | Node::Has { of, .. } => Box::new(iter::once(&**of)),
            Node::Index { of, index, .. } => Box::new([&**of, &**index].into_iter()),
            Node::Call { target, args, .. } => Box::new(target.iter().map(|one| &**one).chain(args)),
            Node::List(items) => Box::new(items.iter().map(|item| &item.value)),
            Node::Map(entries) => Box::new(entries.iter().flat_map(|entry| [&entry.key, &entry.value])),
            Node::Construct { fields, .. } => Box::new(fields.iter().map(|field| &field.value)),
            Node::Loop(one) => Box::new([&one.range, &one.body].into_iter().chain(&one.filter)),
            Node::Bind { value, body, .. } => Box::new([&**value, &**body].into_iter()),
        }
    }
}

impl Expr {
    pub fn new(at: usize, node: Node) -> Self {
        let height = 1 + node.parts().map(|part| part.height).max().unwrap_or_default();
        Expr { at, node, height }
    }

    pub fn call(at: usize, name: &str, args: Vec<Expr>) -> Self {
        Expr::new(at, Node::Call { target: None, name: name.to_owned(), args })
    }

    /// The name that is written with dots: `a.b.c`.
    pub fn dotted(&self) -> Option<String> {
        match &self.node {
            Node::Ident(name) => Some(name.clone()),
            Node::Select { of, field, optional: false } => Some(format!("{}.{field}", of.dotted()?)),
            _ => None,
        }
    }

    /// Whether a member of a variable is selected anywhere, as `a.b`, `a.?b`, `a["b"]` or in `has(a.b)`.
    pub fn selects(&self, variable: &str, member: &str) -> bool {
        let is = |of: &Expr| matches!(&of.node, Node::Ident(name) if name == variable);
        let mut found = false;
        self.each(&mut |expr| {
            found |= match &expr.node {
                Node::Select { of, field, .. } | Node::Has { of, field } => is(of) && field == member,
                Node::Index { of, index, .. } => {
                    is(of) && matches!(&index.node, Node::Literal(Literal::String(text)) if text == member)
                }
                _ => false,
            };
        });
        found
    }

    /// Looks at the expression and at all that it is made of.
    pub fn each<'e>(&'e self, look: &mut dyn FnMut(&'e Expr)) {
        look(self);
        self.node.parts().for_each(|part| part.each(look));
    }

    /// Whether a variable is named anywhere, and not hidden there.
    pub fn names(&self, variable: &str) -> bool {
        match &self.node {
            Node::Literal(_) => false,
            Node::Ident(name) => name == variable,
            Node::Select { of, .. } | Node::Has { of, .. } => of.names(variable),
            Node::Index { of, index, .. } => of.names(variable) || index.names(variable),
            Node::Call { target, args, .. } => {
                target.iter().any(|one| one.names(variable)) || args.iter().any(|one| one.names(variable))
            }
            Node::List(items) => items.iter().any(|item| item.value.names(variable)),
            Node::Map(entries) => entries.iter().any(|entry| entry.key.names(variable) || entry.value.names(variable)),
            Node::Construct { fields, .. } => fields.iter().any(|field| field.value.names(variable)),
            Node::Loop(one) => {
                let hidden = one.variables.iter().any(|name| name == variable);
                let inner = || one.body.names(variable) || one.filter.iter().any(|filter| filter.names(variable));
                one.range.names(variable) || (!hidden && inner())
            }
            Node::Bind { variable: bound, value, body } => {
                value.names(variable) || (bound != variable && body.names(variable))
            }
        }
    }
}
