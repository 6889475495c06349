//! Expressions as they are written for Kubernetes, and what they come to.
#![allow(clippy::unwrap_used)]

use kontiki_cel::{Bound, Budget, Environment, Identity, RunError, Type, Value, compile};
use serde_json::{Value as Json, json};

fn run(text: &str, object: &Json) -> Result<bool, String> {
    let environment = Environment::default().with("self", Type::Dyn, Bound::default());
    let program = compile(text, &environment)?;
    let mut budget = Budget::new(1_000_000);
    match program.run(&[program.value("self", object)], &mut budget) {
        Ok(Value::Bool(value)) => Ok(value),
        Ok(other) => Err(format!("a {}", other.type_name())),
        Err(RunError::Failed(why)) => Err(why),
        Err(RunError::OutOfBudget) => Err("out of budget".to_owned()),
    }
}

#[test]
fn expressions_come_to_what_they_should() {
    let object = json!({
        "n": 3, "s": "hello world", "list": [1, 2, 3], "names": ["a", "b"], "map": {"k": 1, "l": 2}, "none": null,
        "conditions": [{"type": "Ready", "status": "True"}], "f": 2.5,
    });
    let truths = [
        "self.n == 3 && self.n != 4",
        "1 + 2 * 3 == 7 && (1 + 2) * 3 == 9 && 7 / 2 == 3 && 7 % 2 == 1 && -7 / 2 == -3",
        "self.f == 2.5 && self.f > 2",
        "!has(self.missing) && has(self.n)",
        "has(self.none)",
        "self.none == null",
        "self.missing == 1 || true",
        "!(self.missing == 1 && false)",
        "self.list.all(x, x > 0) && self.list.exists(x, x == 2) && self.list.exists_one(x, x == 3)",
        "self.list.map(x, x * 2) == [2, 4, 6]",
        "self.list.map(x, x > 1, x * 2) == [4, 6]",
        "self.list.filter(x, x % 2 == 1) == [1, 3]",
        "self.list.all(i, v, v == i + 1)",
        "self.map.all(k, v, v > 0) && self.map.exists(k, k == 'l')",
        "self.map.transformMap(k, v, v + 1) == {'k': 2, 'l': 3}",
        "2 in self.list && !(5 in self.list) && 'k' in self.map",
        "self.conditions.exists(c, c.type == 'Ready' && c.status == 'True')",
        "self.list[0] == 1 && self['n'] == 3 && self.map['k'] == 1",
        "size(self.s) == 11 && self.list.size() == 3 && size(self.map) == 2",
        "self.s.startsWith('hello') && self.s.endsWith('world') && self.s.contains('lo w')",
        "self.s.matches('^h.*d$') && matches(self.s, 'wor')",
        "self.s.find('[a-z]+') == 'hello' && self.s.findAll('[a-z]+') == ['hello', 'world']",
        "self.s.split(' ') == ['hello', 'world'] && self.s.replace('l', 'L', 1) == 'heLlo world'",
        "self.s.substring(6) == 'world' && self.s.substring(0, 5).upperAscii() == 'HELLO' && self.s.charAt(1) == 'e'",
        "self.s.indexOf('o') == 4 && self.s.lastIndexOf('o') == 7 && self.s.indexOf('z') == -1",
        "self.names.join('-') == 'a-b' && ' x '.trim() == 'x'",
        "self.list.sum() == 6 && self.list.min() == 1 && self.list.max() == 3 && self.list.isSorted()",
        "[3, 1, 2].indexOf(1) == 1 && [3, 1, 2].sort() == [1, 2, 3] && [1, 1, 2].distinct() == [1, 2]",
        "'%s is %d, %.2f'.format(['a', dyn(3), dyn(2.5)]) == 'a is 3, 2.50'",
        "'%s-%d %s'.format(['a', 3, [1, 'x'].size() == 2]) == 'a-3 true'",
        "strings.quote('a\\n\"b') == '\"a\\\\n\\\\\"b\"'",
        "[1, 2].first().value() == 1 && self.list.last().orValue(0) == 3 && !self.list.filter(x, x > 9).first().hasValue()",
        "optional.unwrap([optional.of(1), optional.none()]) == [1] && [optional.of(2)].unwrapOpt() == [2]",
        "[1, 2].transformMapEntry(i, v, {v: i}) == {1: 0, 2: 1} && {'a': 1}.transformMapEntry(k, v, v > 1, {v: k}) == {}",
        "semver('v01.2', true) == semver('1.2.0') && isSemver('1', true) && !isSemver('1') && !isSemver('1.2-rc', true)",
        "!format.dns1123LabelPrefix().validate('a-').hasValue() && format.dns1123Label().validate('a-').hasValue()",
        "!format.dns1123SubdomainPrefix().validate('a.b-').hasValue() && format.dns1035LabelPrefix().validate('1-').hasValue()",
        "duration('1h30m') > duration('89m') && duration('90s').getMinutes() == 1",
        "timestamp('2026-01-02T03:04:05Z').getFullYear() == 2026 && timestamp('2026-01-02T03:04:05Z').getMonth() == 0",
        "timestamp('2026-07-02T22:04:05Z').getHours('Europe/Berlin') == 0 && timestamp('2026-07-02T22:04:05Z').getHours('-08:30') == 13",
        "timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z') == duration('24h')",
        "int('5') == 5 && string(5) == '5' && double('1.5') == 1.5 && uint(3) == 3u && bool('true')",
        "type(1) == int && type('a') == string && type([]) == list",
        "dyn(1) == 1.0 && 1u < 2 && 1 < 1.5",
        "'a' < 'b' && !(false > true)",
        "self.n > 2 ? self.s != '' : false",
        "self.?missing.orValue(7) == 7 && self.?n.orValue(7) == 3 && !self.?missing.?deeper.hasValue()",
        "self.list[?9].orValue(0) == 0 && optional.of(1).value() == 1 && !optional.none().hasValue()",
        "self.?n.optMap(x, x + 1).orValue(0) == 4",
        "[?self.?missing, 2] == [2]",
        "cel.bind(x, self.n * 2, x + x) == 12",
        "isIP('10.0.0.1') && ip('::1').family() == 6 && ip('10.0.0.1').isGlobalUnicast()",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !isCIDR('10.0.0.0')",
        "url('https://example.com:80/p?q=1').getHost() == 'example.com:80' && isURL('/abs') && !isURL('rel')",
        "url('https://example.com/p?q=1').getQuery()['q'] == ['1']",
        "quantity('1Gi').isGreaterThan(quantity('500M')) && quantity('1k').asInteger() == 1000 && isQuantity('20m')",
        "quantity('1.5').add(quantity('500m')).compareTo(quantity('2')) == 0",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.2.3').minor() == 2",
        "!format.dns1123Label().validate('ok-name').hasValue() && format.named('uuid').value().validate('x').hasValue()",
        "sets.contains([1, 2, 3], [2]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 2], [2, 1])",
        "string(1e20) == '1e+20' && string(1000000.0) == '1e+06' && string(0.000001) == '1e-06' && string(123456789.5) == '1.234567895e+08'",
        "string(100000.0) == '100000' && string(0.0001) == '0.0001' && string(2.5) == '2.5' && string(-0.0) == '-0'",
        "'%s %s %.1f %e'.format([1e6, 0.5, 2.25, 1500.0]) == '1e+06 0.5 2.2 1.500000e+03'",
        "'%X %x %b %o %%'.format([255, 'hi', -5, 8]) == 'FF 6869 -101 10 %'",
        "isURL('https://ex.com/?q=a b') && isURL('/a b') && !isURL('https://ex.com/%zz') && url('/a b').getEscapedPath() == '/a%20b'",
        "[1, 2, 2].exists_one(i, v, v == 1) && {'a': 1}.existsOne(k, v, v == 1)",
        "r'\\d' == '\\\\d' && \"\"\"a\"b\"\"\" == 'a\"b' && '\\u0041' == 'A'",
        "b'abc' == bytes('abc') && size(b'abc') == 3",
        "// a comment\n true",
        "{'a': 1}.a == 1 && {1: 'x'}[1] == 'x'",
    ];
    for text in truths {
        assert_eq!(run(text, &object), Ok(true), "{text}");
    }
}

#[test]
fn lists_know_which_elements_are_the_same() {
    let ports = Type::list_by(Identity::Keys(vec!["port".into()]), Type::map(Type::String, Type::Int));
    let table = [
        (Type::list(Type::Int), json!([1, 2]), "self == [1, 2] && self != [2, 1] && (self + [2, 3]).size() == 4"),
        (
            Type::list_by(Identity::Value, Type::Int),
            json!([1, 2]),
            "self == [2, 1] && self != [1, 3] && self != [1] && self + [2, 3] == [3, 1, 2] && [2, 1] != self \
             && (self + [2, 3])[2] == 3 && (self + [3] + [3]).size() == 3 && 1 in self",
        ),
        (
            ports,
            json!([{"port": 1, "x": 1}, {"x": 2, "port": 2}]),
            "self == [{'port': 2, 'x': 2}, {'port': 1, 'x': 1}] && self != [{'port': 2, 'x': 2}, {'port': 1, 'x': 3}] \
             && self + [{'port': 2, 'x': 9}, {'port': 3}] == [{'port': 1, 'x': 1}, {'port': 2, 'x': 9}, {'port': 3}]",
        ),
        (
            Type::list_by(Identity::Value, Type::list(Type::Int)),
            json!([[1, 2], [3]]),
            "self == [[3], [1, 2]] && self != [[3], [2, 1]]",
        ),
    ];
    for (declared, value, text) in table {
        let environment = Environment::default().with("self", declared, Bound::default());
        let program = compile(text, &environment).unwrap();
        let told = program.run(&[program.value("self", &value)], &mut Budget::new(1_000_000));
        assert!(matches!(told, Ok(Value::Bool(true))), "{text}: {told:?}");
    }
}

#[test]
fn literals_must_make_sense() {
    let table = [
        ("[1, 'a'].size() == 2", "ERROR: <input>:1:5: expected type 'int' but found 'string'"),
        ("{'a': 1, 'b': true}.size() == 2", "ERROR: <input>:1:15: expected type 'int' but found 'bool'"),
        ("{'a': 1, 2: 1}.size() == 2", "ERROR: <input>:1:10: expected type 'string' but found 'int'"),
        ("duration('1y') > duration('1h')", "ERROR: <input>:1:10: invalid duration argument"),
        ("timestamp('today') > self.when", "ERROR: <input>:1:11: invalid timestamp argument"),
        ("'a'.matches('(')", "ERROR: <input>:1:13: invalid matches argument"),
        (
            "'%z'.format([1]) == ''",
            "ERROR: <input>:1:12: could not parse formatting clause: unrecognized formatting clause \"z\"",
        ),
        (
            "'%d'.format([1, 2]) == ''",
            "ERROR: <input>:1:12: too many arguments supplied to string.format (expected 1, got 2)",
        ),
        ("'%s %s'.format([1]) == ''", "ERROR: <input>:1:15: index 1 out of range"),
        ("'100%'.format([1]) == ''", "ERROR: <input>:1:14: unexpected end of string"),
        (
            "'%d'.format([1.5]) == ''",
            "ERROR: <input>:1:14: error during formatting: decimal clause can only be used on integers, was given double",
        ),
        (
            "'%f'.format([1]) == ''",
            "ERROR: <input>:1:14: error during formatting: fixed-point clause can only be used on doubles, was given int",
        ),
        (
            "'%s'.format([[quantity('1')]]) == ''",
            "ERROR: <input>:1:14: error during formatting: string clause can only",
        ),
        (
            "'%.f'.format([1.0]) == ''",
            "ERROR: <input>:1:13: could not parse formatting clause: error while parsing precision: error while converting \
             precision to integer: strconv.Atoi: parsing \"\": invalid syntax",
        ),
        // Of other versions of the libraries than Kubernetes has.
        (
            "'a'.reverse() == 'a'",
            "ERROR: <input>:1:12: found no matching overload for 'reverse' applied to 'string.()'",
        ),
        ("math.abs(1) == 1", "ERROR: <input>:1:1: undeclared reference to 'math' (in container '')"),
        ("jsonpatch.escapeKey('/') == ''", "ERROR: <input>:1:20: undeclared reference to 'jsonpatch.escapeKey'"),
    ];
    for (text, expected) in table {
        let environment = Environment::default().with("self", Type::Dyn, Bound::default());
        let told = compile(text, &environment).unwrap_err();
        assert!(told.starts_with(expected), "{text}: {told}");
    }
}

#[test]
fn all_that_is_wrong_is_told_in_the_order_of_the_text() {
    let environment = Environment::default().with("n", Type::Int, Bound::default());
    let told = |text: &str| compile(text, &environment).unwrap_err();
    let expected = "\
ERROR: <input>:1:1: undeclared reference to 'a' (in container '')
 | a + 1 > 2 && n.b && c && n == 'x'
 | ^
ERROR: <input>:1:15: type 'int' does not support field selection
 | a + 1 > 2 && n.b && c && n == 'x'
 | ..............^
ERROR: <input>:1:21: undeclared reference to 'c' (in container '')
 | a + 1 > 2 && n.b && c && n == 'x'
 | ....................^
ERROR: <input>:1:28: found no matching overload for '_==_' applied to '(int, string)'
 | a + 1 > 2 && n.b && c && n == 'x'
 | ...........................^";
    assert_eq!(told("a + 1 > 2 && n.b && c && n == 'x'"), expected);
    // What is wrong with a part is not told of the whole again.
    assert_eq!(told("[a, 1].all(x, x.y > 1) && duration('z') > n").matches("ERROR").count(), 2);
    assert_eq!(told("n.filter(x, x)").matches("ERROR").count(), 1);
    let many = vec!["a"; 103].join(" == ");
    assert!(told(&many).ends_with("\n3 more errors were truncated"));
}

#[test]
fn failures_are_told() {
    let object = json!({"n": 3, "list": [1]});
    let table = [
        ("self.missing > 1", "no such key: missing"),
        ("self.list[3] == 1", "index out of bounds: 3"),
        ("self.n / 0 == 1", "division by zero"),
        ("self.n + 9223372036854775807 > 0", "return error for overflow"),
        ("self.n.startsWith('a')", "no such overload"),
        ("int('x') == 1", "type conversion error from 'string' to 'int'"),
        (
            "'%d'.format([self.list[0] == 1 ? dyn('a') : 1]) == ''",
            "error during formatting: decimal clause can only be used on integers, was given string",
        ),
        ("('%' + 'z').format([1]) == ''", "could not parse formatting clause: unrecognized formatting clause \"z\""),
        ("('%s' + '%s').format([1]) == ''", "index 1 out of range"),
    ];
    for (text, expected) in table {
        assert_eq!(run(text, &object), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn costs_are_bounded() {
    let object = json!({"list": (0..2000).collect::<Vec<_>>()});
    assert_eq!(run("self.list.all(a, self.list.all(b, a + b >= 0))", &object), Err("out of budget".to_owned()));
    // A pattern that data brings is paid for by its size, once.
    let object = json!({"many": (0..2000).map(|number| number.to_string()).collect::<Vec<_>>(), "wide": r"(\pL{40}){20}", "small": "x{9}"});
    assert_eq!(run("self.many.all(text, !text.matches(self.small))", &object), Ok(true));
    assert_eq!(run("self.many.all(text, !text.matches(self.wide + text))", &object), Err("out of budget".to_owned()));
    assert!(run("'%.65536f'.format([1.0]) == ''", &object).is_err_and(|why| why.contains("too large")));
    let long = format!("'{}'.format(self.many.map(text, 1.0)) == ''", "%.60000f".repeat(100));
    assert!(run(&long, &object).is_err_and(|why| why.contains("longer than")));
}
