use super::*;

/// `(pattern, what it matches, what it does not)`, as Go's `regexp` has it.
const TOLD: &[(&str, &[&str], &[&str])] = &[
    // Classes of Perl and words are ASCII's.
    (r"^\d+$", &["0123"], &["١٢٣", ""]),
    (r"^\D$", &["١", "a"], &["1"]),
    (r"^\w+$", &["aZ_9"], &["äö"]),
    (r"^\W$", &["ä", "-"], &["a"]),
    (r"^\s$", &["\t", " ", "\r"], &["\u{a0}", "\u{b}"]),
    (r"^[\w-]+$", &["a-b"], &["é"]),
    (r"^[^\W]$", &["a"], &["é"]),
    (r"\bé", &["aé"], &["é"]),
    (r"a\B.", &["ab"], &["aé", "a-"]),
    // What is special to others within a class is a letter to Go.
    (r"^[^[\]]+$", &["ab"], &["a[", "]"]),
    (r"^[[]$", &["["], &["]"]),
    (r"^[a[]+$", &["a["], &["b"]),
    (r"^[]a]+$", &["]a"], &["b"]),
    (r"^[^]a]$", &["b"], &["]", "a"]),
    (r"^[a-z&&b]+$", &["b&z"], &["B"]),
    (r"^[+--]$", &["+", ",", "-"], &["."]),
    (r"^[a~~b]$", &["~"], &["c"]),
    (r"^[a-]$", &["-", "a"], &["b"]),
    (r"^[a-\d]$", &[], &[]),
    (r"^[[:alpha:][:^ascii:]_]+$", &["aé_"], &["1"]),
    (r"^[[:punct:]]+$", &["!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"], &["a", " "]),
    (r"^[[:space:]]$", &["\u{b}"], &["a"]),
    (r"^[[:a]$", &["[", ":", "a"], &["b"]),
    (r"^[\x{D800}-\x{E000}]$", &["\u{e000}"], &["\u{d7ff}"]),
    (r"^[\x{D800}]$", &[], &["a"]),
    (r"^[^\x{D800}]$", &["a"], &[]),
    // Braces that count nothing, quoting, escapes.
    (r"^a{,3}$", &["a{,3}"], &["aa"]),
    (r"^a{2", &["a{2"], &["aa"]),
    (r"^a{01}$", &["a{01}"], &["a"]),
    (r"^a{2,3}?$", &["aa", "aaa"], &["a"]),
    (r"^a{0}b$", &["b"], &["ab"]),
    (r"^\Qa.b\E+$", &["a.bb"], &["axb"]),
    (r"\Q(", &["("], &["x"]),
    (r"^\101\x41\x{41}\0$", &["AAA\0"], &["101"]),
    (r"^\<\_\-\/$", &["<_-/"], &["x"]),
    (r"^\a\f\n\r\t\v$", &["\u{7}\u{c}\n\r\t\u{b}"], &[]),
    // Unicode's classes.
    (r"^\p{Lu}\pL\P{^Greek}$", &["Äaα"], &["aaα", "Äaa"]),
    (r"^\p{^Lu}$", &["a"], &["A"]),
    (r"^[\PN]$", &["a"], &["1"]),
    (r"^\p{Uppercase_Letter}\p{any}$", &["AA"], &["aA"]),
    // Groups and flags.
    (r"^(?P<n>a)(?<1>b)|c$", &["ab", "xc"], &["a"]),
    (r"^(?i)k$", &["k", "K", "\u{212a}"], &["x"]),
    (r"^(?i)\w$", &["\u{17f}"], &["é"]),
    (r"^(?ii-i:k)$", &["k"], &["K"]),
    (r"^(?)a(?:)$", &["a"], &["b"]),
    // A repetition behind flags is of what is before them.
    (r"^a(?i)*b$", &["aaB", "b"], &["Ab"]),
    (r"^(a|b)(?i){2}c$", &["abC"], &["aC", "ABC"]),
    (r"^(a(?i)b)(?s)+.$", &["aBab\n"], &["ABx"]),
    (r"^a?(?i)?b(?-i)|(?i)c$", &["B", "aB", "C"], &["AB"]),
    (r"^a{2}(?i){2}$", &["aaaa"], &["aa", "AAAA"]),
    (r"(?m)^b$", &["a\nb"], &["ab"]),
    (r"^a.b$", &["a\rb", "aéb"], &["a\nb"]),
    (r"(?s)^a.b$", &["a\nb"], &["ab"]),
    (r"^b$", &["b"], &["a\nb", "b\n"]),
    (r"^*a|", &["a", ""], &[]),
    (r"^(a{10}){100}$", &[], &["a"]),
    ("^😀-é $", &["😀-é "], &["x"]),
];

#[test]
fn patterns_match_what_go_matches() {
    for (pattern, yes, no) in TOLD {
        let compiled = compile(pattern);
        if yes.is_empty() && no.is_empty() {
            assert!(compiled.is_err(), "{pattern}");
            continue;
        }
        let regex = compiled.unwrap_or_else(|error| panic!("{pattern}: {error}"));
        for text in *yes {
            assert!(regex.is_match(text), "{pattern} on {text:?}: {regex}");
        }
        for text in *no {
            assert!(!regex.is_match(text), "{pattern} on {text:?}: {regex}");
        }
    }
}

#[test]
fn sizes_multiply() {
    for (pattern, told) in
        [("abc", 3), ("(a|b){3}", 9), (r"((\w{10}){5}x)?", 3 + 400), (r"\pL{2}", 1000), ("a{1000", 6), ("(", 0)]
    {
        assert!(size(pattern).abs_diff(told) <= 7, "{pattern}: {}", size(pattern));
    }
}

#[test]
fn patterns_are_refused_in_go_s_words() {
    let table = [
        ("[a", "missing closing ]: `[a`"),
        ("x[", "missing closing ]: `[`"),
        ("[]", "missing closing ]: `[]`"),
        ("(a", "missing closing ): `(a`"),
        ("a)", "unexpected ): `a)`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a|+?", "missing argument to repetition operator: `+?`"),
        ("(?i)*", "missing argument to repetition operator: `*`"),
        ("a|(?i)*", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a+?+", "invalid nested repetition operator: `+?+`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{3,2}", "invalid repeat count: `{3,2}`"),
        ("(a{100}){11}", "invalid repeat count: `{11}`"),
        ("a{99999999999}", "invalid repeat count: `{99999999999}`"),
        (r"a\", "trailing backslash at end of expression: ``"),
        (r"\u0041", r"invalid escape sequence: `\u`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000}`"),
        (r"\é", r"invalid escape sequence: `\é`"),
        ("[b-a]", "invalid character class range: `b-a`"),
        (r"[a-\d]", r"invalid escape sequence: `\d`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (r"\p{Alphabetic}", r"invalid character class range: `\p{Alphabetic}`"),
        (r"\p{Foo", r"invalid character class range: `\p{Foo`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?P=n)", "invalid or unsupported Perl syntax: `(?P`"),
        ("(?P<n-m>a)", "invalid named capture: `(?P<n-m>`"),
        ("(?<n", "invalid named capture: `(?<n`"),
    ];
    for (pattern, why) in table {
        assert_eq!(compile(pattern).map(drop), Err(format!("error parsing regexp: {why}")), "{pattern}");
    }
    // What is let in compiles on a thread of two MiB.
    for (before, behind) in [("(", ")"), ("(a", "b)*"), ("(a", "|b)*"), ("(?:[a]{2}", "|c)?")] {
        let nested = |depth: usize| format!("{}{}", before.repeat(depth), behind.repeat(depth));
        let refused = |depth| compile(&nested(depth)).err();
        let why = (1..1_000).find_map(refused).unwrap();
        assert!(why.starts_with("error parsing regexp: expression nests too deeply"), "{why}");
        assert!(refused(20).is_none() && refused(1_000).is_some(), "{before}{behind}");
    }
    assert!(compile(r"((\pL{100}){5}\pN{500}){2}").is_err_and(|why| why.contains("expression too large")));
}
