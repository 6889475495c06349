//! The expressions of admission policies and of webhooks' match conditions: what they may name, and what they must come to.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use kontiki_cel::{Bound, Composition, Environment, FieldType, ObjectType, Program, Type};

/// What an expression may name.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The type of `object` and `oldObject`; [`Type::Dyn`] where nothing is known of them.
    pub object: Type,
    /// The type of `params`; none for what has no parameters.
    pub params: Option<Type>,
    authorizer: bool,
    constructs: bool,
    /// The fields of `variables`, if there is such a thing.
    variables: Option<BTreeMap<String, FieldType>>,
}

/// What an expression must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Anything,
    Bool,
    String,
    StringOrNull,
    /// An apply configuration: `Object{…}`.
    Object,
    /// Operations: `[JSONPatch{…}]`.
    Patches,
}

impl Scope {
    /// Of a match condition.
    pub fn of_conditions(has_params: bool) -> Self {
        Scope {
            object: Type::Dyn,
            params: has_params.then_some(Type::Dyn),
            authorizer: true,
            constructs: false,
            variables: None,
        }
    }

    /// Of a policy that judges.
    pub fn of_validations(has_params: bool) -> Self {
        Scope { variables: Some(BTreeMap::new()), ..Scope::of_conditions(has_params) }
    }

    /// Of a policy that changes.
    pub fn of_mutations(has_params: bool) -> Self {
        Scope { constructs: true, ..Scope::of_validations(has_params) }
    }

    /// Of a message, which may not ask the authorizer.
    pub fn of_message(&self) -> Self {
        Scope { authorizer: false, ..self.clone() }
    }

    /// A variable that the expressions behind it may name.
    pub fn declare(&mut self, name: &str, r#type: Type) {
        let field = FieldType { json: name.to_owned(), r#type, bound: Bound::default() };
        self.variables.get_or_insert_default().insert(name.to_owned(), field);
    }

    /// The type that an expression comes to. The error is the compiler's own.
    pub fn check(&self, text: &str) -> Result<Type, String> {
        kontiki_cel::compile(text, &self.environment()).map(|program| program.result().clone())
    }

    /// Compiles an expression. The error completes `Invalid value: "…": `, as Kubernetes words it.
    pub fn compile(&self, text: &str, wanted: Wanted) -> Result<Program, String> {
        let program =
            kontiki_cel::compile(text, &self.environment()).map_err(|why| format!("compilation failed: {why}"))?;
        match wanted.refusal(program.result()) {
            None => Ok(program),
            Some(wanted) => Err(format!("must evaluate to {wanted} but got {}", program.result())),
        }
    }

    fn environment(&self) -> Environment {
        let mut declared = Environment::default();
        let mut declare = |name: &str, r#type: Type| {
            declared = std::mem::take(&mut declared).with(name, r#type, Bound::default());
        };
        declare("object", self.object.clone());
        declare("oldObject", self.object.clone());
        declare("request", REQUEST.clone());
        declare("namespaceObject", NAMESPACE.clone());
        if let Some(params) = &self.params {
            declare("params", params.clone());
        }
        if self.authorizer {
            declare("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"));
            declare("authorizer.requestResource", Type::Opaque("kubernetes.authorization.ResourceCheck"));
        }
        if let Some(fields) = &self.variables {
            let variables = ObjectType { name: "kubernetes.variables".to_owned(), fields: fields.clone() };
            declare(Composition::VARIABLES, Type::Object(Arc::new(variables)));
        }
        if self.constructs { declared.with_constructs() } else { declared }
    }
}

impl Wanted {
    /// How a message names what is wanted, if the type is something else.
    fn refusal(self, found: &Type) -> Option<&'static str> {
        let patches = |of: &Type| matches!(of, Type::Made(name) if **name == *"JSONPatch");
        let (fits, told) = match self {
            Wanted::Anything => (true, ""),
            Wanted::Bool => (*found == Type::Bool, "bool"),
            Wanted::String => (*found == Type::String, "string"),
            Wanted::StringOrNull => (matches!(found, Type::String | Type::Null), "one of [string null_type]"),
            Wanted::Object => (matches!(found, Type::Made(name) if **name == *"Object"), "Object"),
            Wanted::Patches => (matches!(found, Type::List(list) if patches(&list.of)), "list(JSONPatch)"),
        };
        (!fits).then_some(told)
    }
}

/// The type of `request`.
pub fn request() -> &'static Type {
    &REQUEST
}

/// The type of `namespaceObject`.
pub fn namespace() -> &'static Type {
    &NAMESPACE
}

static REQUEST: LazyLock<Type> = LazyLock::new(|| {
    let three = |name: &str, last: &str| {
        object(name, &[("group", Type::String), ("version", Type::String), (last, Type::String)])
    };
    let (kind, resource) =
        (three("kubernetes.GroupVersionKind", "kind"), three("kubernetes.GroupVersionResource", "resource"));
    let user = object(
        "kubernetes.UserInfo",
        &[
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", Type::list(Type::String)),
            ("extra", Type::map(Type::String, Type::list(Type::String))),
        ],
    );
    object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", Type::String),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
});

static NAMESPACE: LazyLock<Type> = LazyLock::new(|| {
    let texts = || Type::map(Type::String, Type::String);
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", Type::String),
            ("generateName", Type::String),
            ("namespace", Type::String),
            ("labels", texts()),
            ("annotations", texts()),
            ("UID", Type::String),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", Type::String),
            ("finalizers", Type::list(Type::String)),
        ],
    );
    let condition = object(
        "kubernetes.NamespaceCondition",
        &[
            ("status", Type::String),
            ("type", Type::String),
            ("lastTransitionTime", Type::Timestamp),
            ("message", Type::String),
            ("reason", Type::String),
        ],
    );
    let spec = object("kubernetes.NamespaceSpec", &[("finalizers", Type::list(Type::String))]);
    let status =
        object("kubernetes.NamespaceStatus", &[("conditions", Type::list(condition)), ("phase", Type::String)]);
    object("kubernetes.Namespace", &[("metadata", metadata), ("spec", spec), ("status", status)])
});

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    let field = |(name, r#type): &(&str, Type)| {
        let json = if *name == "UID" { "uid" } else { name };
        ((*name).to_owned(), FieldType { json: json.to_owned(), r#type: r#type.clone(), bound: Bound::default() })
    };
    Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields: fields.iter().map(field).collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(scope: &Scope, text: &str, wanted: Wanted) -> String {
        scope.compile(text, wanted).map_or_else(|why| why, |program| program.result().to_string())
    }

    #[test]
    fn expressions_are_judged_by_what_they_come_to() {
        let scope = Scope::of_mutations(false);
        let table = [
            ("1 + 1", Wanted::Bool, "must evaluate to bool but got int"),
            ("object.spec.paused", Wanted::Bool, "must evaluate to bool but got dyn"),
            ("object.spec.replicas > 1", Wanted::Bool, "bool"),
            ("true", Wanted::String, "must evaluate to string but got bool"),
            ("null", Wanted::StringOrNull, "null"),
            ("2", Wanted::StringOrNull, "must evaluate to one of [string null_type] but got int"),
            ("Object{spec: Object.spec{replicas: 3}}", Wanted::Object, "Object"),
            ("Object.spec{}", Wanted::Object, "must evaluate to Object but got Object.spec"),
            ("[JSONPatch{op: 'remove', path: '/a'}]", Wanted::Patches, "list(JSONPatch)"),
            ("[]", Wanted::Patches, "must evaluate to list(JSONPatch) but got list(dyn)"),
            ("[1]", Wanted::Patches, "must evaluate to list(JSONPatch) but got list(int)"),
        ];
        for (text, wanted, expected) in table {
            assert_eq!(told(&scope, text, wanted), expected, "{text}");
        }
    }

    #[test]
    fn what_may_be_named_depends_on_the_place() {
        let judging = Scope::of_validations(false);
        let mut with_variable = judging.clone();
        with_variable.declare("limit", Type::Int);
        let undeclared = |name: &str| format!("undeclared reference to '{name}' (in container '')");
        let table = [
            (&judging, "params == null", Err(undeclared("params"))),
            (&Scope::of_validations(true), "params == null", Ok(())),
            (&judging, "variables.limit > 1", Err("undefined field 'limit'".to_owned())),
            (&with_variable, "variables.limit > 1", Ok(())),
            (&with_variable, "variables.limit > 'a'", Err("applied to '(int, string)'".to_owned())),
            (&Scope::of_conditions(false), "variables.limit > 1", Err(undeclared("variables"))),
            (&judging, "authorizer.group('').resource('pods').check('create').allowed()", Ok(())),
            (&judging, "authorizer.requestResource.check('custom').allowed()", Ok(())),
            (
                &judging,
                "authorizer.check('create').allowed()",
                Err("found no matching overload for 'check'".to_owned()),
            ),
            (&judging.of_message(), "authorizer.path('/a').check('get').allowed()", Err(undeclared("authorizer"))),
            (&judging, "Object{} == null", Err(undeclared("Object"))),
            (&judging, "request.userInfo.groups.exists(g, g == 'a')", Ok(())),
            (&judging, "request.nothing == ''", Err("undefined field 'nothing'".to_owned())),
            (&judging, "namespaceObject.metadata.labels['a'] == 'b'", Ok(())),
            (
                &Scope::of_mutations(false),
                "JSONPatch{op: 1} != null",
                Err("expected type of field 'op' is 'string'".to_owned()),
            ),
            (&Scope::of_mutations(false), "JSONPatch{what: 1} != null", Err("undefined field 'what'".to_owned())),
        ];
        for (scope, text, expected) in table {
            match (scope.compile(text, Wanted::Bool), expected) {
                (Ok(_), Ok(())) => {}
                (Err(why), Err(expected)) => assert!(why.contains(&expected), "{text}: {why}"),
                (found, _) => panic!("{text}: {:?}", found.map(|program| program.result().clone())),
            }
        }
    }
}
