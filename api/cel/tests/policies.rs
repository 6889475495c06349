//! What only policies have: named expressions, objects that expressions make, questions to an authorizer.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use kontiki_cel::{
    Authorizer, Bound, Budget, Composition, Decision, Environment, Program, Question, RunError, Type, Value, compile,
    misplaced, typed,
};
use serde_json::json;

fn environment() -> Environment {
    Environment::default()
        .with("object", Type::Dyn, Bound::default())
        .with("variables", Type::Dyn, Bound::default())
        .with("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"), Bound::default())
        .with("authorizer.requestResource", Type::Opaque("kubernetes.authorization.ResourceCheck"), Bound::default())
        .with_constructs()
}

fn program(text: &str) -> Program {
    compile(text, &environment()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Whether it comes to true, and what that cost.
fn run<'a>(composition: &Composition<'a>, program: &'a Program) -> (Result<bool, RunError>, u64) {
    let mut budget = Budget::new(1_000_000);
    let outcome = composition.run(program, &mut budget).map(|value| matches!(value, Value::Bool(true)));
    (outcome, 1_000_000 - budget.left())
}

#[test]
fn named_expressions_run_once_and_only_when_they_are_asked_for() {
    let object = json!({"list": (0..200).collect::<Vec<_>>()});
    let named = |name: &str, text: &str| (name.to_owned(), program(text));
    let variables = [
        named("sum", "object.list.map(a, a * 2).sum()"),
        named("more", "variables.sum + 1"),
        named("fails", "object.missing"),
        named("again", "variables.fails"),
    ];
    let values = vec![("object", typed(&object, &Type::Dyn))];
    let (unasked, asked) = (program("object.list.size() == 200"), program("variables.more == 39801"));
    let failing = program("variables.again == 1");
    let composition = Composition::new(values, &variables);
    let (outcome, cheap) = run(&composition, &unasked);
    assert_eq!(outcome, Ok(true));
    let (outcome, first) = run(&composition, &asked);
    assert_eq!(outcome, Ok(true));
    let (outcome, second) = run(&composition, &asked);
    assert_eq!(outcome, Ok(true));
    assert!(cheap < 10 && second < 10 && first > 200, "{cheap} {first} {second}");
    let told = "composited variable \"again\" fails to evaluate: composited variable \"fails\" fails to evaluate: no \
                such key: missing";
    assert_eq!(run(&composition, &failing).0, Err(RunError::Failed(told.to_owned())));
}

#[test]
fn expressions_make_objects() {
    let object = json!({"spec": {"replicas": 2}, "metadata": {"labels": {"a": "b"}}});
    let table = [
        (
            "Object{spec: Object.spec{replicas: object.spec.replicas + 1, template: {'a': [dyn(1), null]}}}",
            Ok(json!({"spec": {"replicas": 3, "template": {"a": [1, null]}}})),
        ),
        (
            "Object{metadata: Object.metadata{labels: object.metadata.labels}}",
            Ok(json!({"metadata": {"labels": {"a": "b"}}})),
        ),
        ("Object{?spec: optional.none(), ?status: optional.of(1)}", Ok(json!({"status": 1}))),
        (
            "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('x/y~z'), value: Object.spec{n: 1}}]",
            Ok(json!([{"op": "add", "path": "/a/x~1y~0z", "value": {"n": 1}}])),
        ),
        ("Object{spec: {1: 2}}", Err("map key \"1\" is of type int, not string".to_owned())),
    ];
    for (text, expected) in table {
        let (program, mut budget) = (program(text), Budget::new(10_000));
        let composition = Composition::new(vec![("object", typed(&object, &Type::Dyn))], &[]);
        assert_eq!(composition.run(&program, &mut budget).unwrap().to_json(), expected, "{text}");
    }
}

#[test]
fn objects_are_named_by_their_place() {
    let faults = |text: &str| {
        let (program, mut budget) = (program(text), Budget::new(10_000));
        let composition = Composition::new(Vec::new(), &[]);
        let made = composition.run(&program, &mut budget).map(|made| misplaced(&made));
        made.unwrap()
    };
    assert_eq!(faults("Object{spec: Object.spec{list: [Object.spec.list{}]}}"), Vec::<String>::new());
    assert_eq!(faults("Object.spec{containers: [Object.spec.containers{}]}"), Vec::<String>::new());
    assert_eq!(
        faults("Object{spec: Object.metadata{}}"),
        [
            "unexpected type name \"Object.metadata\", expected \"Object.spec\", which matches field name path from root Object type"
        ]
    );
}

#[test]
fn what_cannot_be_made_is_refused_when_it_is_written() {
    let table = [
        ("Thing{}", "ERROR: <input>:1:6: undeclared reference to 'Thing' (in container '')"),
        ("JSONPatch{op: 1}", "ERROR: <input>:1:13: expected type of field 'op' is 'string' but provided type is 'int'"),
        ("JSONPatch{what: 1}", "ERROR: <input>:1:15: undefined field 'what'"),
        ("Object{spec 1}", "ERROR: <input>:1:13: Syntax error: mismatched input '1'"),
    ];
    for (text, expected) in table {
        let told = compile(text, &environment()).unwrap_err();
        assert!(told.starts_with(expected), "{text}: {told}");
    }
    assert!(compile("Object{}", &Environment::default()).is_err());
}

/// Allows everything about pods, and remembers what it was asked.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Question>>);

impl Authorizer for Recorder {
    fn decide(&self, question: &Question) -> Decision {
        self.0.lock().unwrap().push(question.clone());
        let allowed = question.resource == "pods" || question.path.is_some();
        Decision { allowed, reason: format!("{} {}", question.verb, question.resource), error: None }
    }
}

#[test]
fn an_authorizer_is_asked_call_by_call() {
    let recorder = Recorder::default();
    let own = Question { resource: "widgets".to_owned(), name: "w".to_owned(), ..Question::default() };
    let values = || {
        vec![
            ("authorizer", Value::authorizer(&recorder)),
            ("authorizer.requestResource", Value::resource_check(&recorder, own.clone())),
        ]
    };
    let truths = [
        "authorizer.group('').resource('pods').subresource('log').namespace('n').name('a').check('get').allowed()",
        "authorizer.serviceAccount('n', 'builder').group('apps').resource('pods').check('list').reason() == 'list pods'",
        "authorizer.path('/healthz').check('get').allowed()",
        "!authorizer.requestResource.check('approve').allowed() && !authorizer.requestResource.check('x').errored()",
    ];
    for text in truths {
        let (program, mut budget) = (program(text), Budget::new(1_000_000));
        let outcome = Composition::new(values(), &[]).run(&program, &mut budget).map(|value| format!("{value:?}"));
        assert_eq!(outcome, Ok("Bool(true)".to_owned()), "{text}");
        assert!(budget.left() < 650_001, "asking has its price");
    }
    let text = |text: &str| text.to_owned();
    let asked = std::mem::take(&mut *recorder.0.lock().unwrap());
    let first = Question {
        verb: text("get"),
        resource: text("pods"),
        subresource: text("log"),
        namespace: text("n"),
        name: text("a"),
        ..Question::default()
    };
    assert_eq!(asked[0], first);
    assert_eq!(asked[1].service_account, Some((text("n"), text("builder"))));
    assert_eq!(asked[2].path.as_deref(), Some("/healthz"));
    assert_eq!(asked[3], Question { verb: text("approve"), ..own.clone() });
    let failures = [
        ("authorizer.serviceAccount('N', 'a').path('/').check('get').allowed()", "Invalid service account namespace"),
        ("authorizer.path('').check('get').allowed()", "path must not be empty"),
    ];
    for (text, expected) in failures {
        let (program, mut budget) = (program(text), Budget::new(1_000_000));
        let outcome = Composition::new(values(), &[]).run(&program, &mut budget).map(drop);
        assert_eq!(outcome, Err(RunError::Failed(expected.to_owned())), "{text}");
    }
}
