//! What a replay came to, held against what is known. Pure.

use std::{fmt, path::PathBuf};

use serde::Deserialize;

use super::{Target, expected::Expected};

/// The tool's own account of a run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub steps: usize,
    pub steps_passed: usize,
    pub files: Vec<File>,
    /// What it printed meanwhile.
    #[serde(skip)]
    pub said: String,
}

/// One transcript in it.
#[derive(Debug, Deserialize)]
pub struct File {
    pub file: PathBuf,
    pub name: String,
    #[serde(default)]
    failures: Vec<serde_json::Value>,
    skipped: Option<String>,
}

/// A run against one target, judged.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    passed: usize,
    steps: (usize, usize),
    skipped: usize,
    known: Vec<(String, &'static str)>,
    /// Known not to pass, but they do.
    better: Vec<String>,
    /// Passed when tried once more.
    flaky: Vec<String>,
    pub unexpected: Vec<String>,
}

impl Verdict {
    pub fn of(target: Target, summary: &Summary, expected: &'static [Expected]) -> Self {
        let mut verdict = Verdict { steps: (summary.steps_passed, summary.steps), ..Verdict::default() };
        for file in &summary.files {
            let known = expected.iter().find(|one| one.transcript == file.name && one.on.contains(&target));
            match (file.skipped.is_some(), file.failures.is_empty(), known) {
                (true, _, _) => verdict.skipped += 1,
                (false, true, None) => verdict.passed += 1,
                (false, true, Some(_)) => {
                    verdict.passed += 1;
                    verdict.better.push(file.name.clone());
                }
                (false, false, Some(known)) => verdict.known.push((file.name.clone(), known.why)),
                (false, false, None) => verdict.unexpected.push(file.name.clone()),
            }
        }
        verdict
    }

    /// Whether the file failed and was not known to.
    pub fn names(&self, file: &File) -> bool {
        self.unexpected.contains(&file.name)
    }

    /// With what failed tried once more.
    pub fn after(mut self, target: Target, second: &Summary, expected: &'static [Expected]) -> Self {
        let second = Verdict::of(target, second, expected);
        let (still, passed): (Vec<_>, Vec<_>) =
            self.unexpected.into_iter().partition(|name| second.unexpected.contains(name));
        self.passed += passed.len();
        self.flaky = passed;
        self.unexpected = still;
        self
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.passed + self.known.len() + self.unexpected.len();
        let (right, steps) = self.steps;
        write!(f, "{} of {of} transcripts answered as recorded ({right} of {steps} steps)", self.passed)?;
        if self.skipped > 0 {
            write!(f, ", {} left out that running controllers would disturb", self.skipped)?;
        }
        if !self.flaky.is_empty() {
            write!(f, ", at the second try: {}", self.flaky.join(", "))?;
        }
        for (name, why) in &self.known {
            write!(f, "\n  known: {name}: {why}")?;
        }
        for name in &self.better {
            write!(f, "\n  BETTER THAN KNOWN: {name} passes: take it off the list in xtask/src/replay/expected.rs")?;
        }
        for name in &self.unexpected {
            write!(f, "\n  FAILED: {name}")?;
        }
        Ok(())
    }
}

/// What the tool said of one transcript.
pub struct Block<'a> {
    pub text: &'a str,
}

impl Block<'_> {
    pub fn is_of(&self, name: &str) -> bool {
        self.text.strip_prefix("FAIL ").is_some_and(|rest| rest.starts_with(&format!("{name} (")))
    }
}

/// The parts of the tool's output: a line at the margin and the indented ones below it.
pub fn blocks(said: &str) -> impl Iterator<Item = Block<'_>> {
    let mut rest = said;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let margin = |(at, _): &(usize, &str)| !rest[at + 1..].starts_with(' ');
        let end = rest.match_indices('\n').find(margin).map_or(rest.len(), |(at, _)| at + 1);
        let (block, after) = rest.split_at(end);
        rest = after;
        Some(Block { text: block.trim_end() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    static KNOWN: &[Expected] = &[
        Expected { transcript: "old", on: &[Target::Alone], why: "because" },
        Expected { transcript: "solved", on: &[Target::Alone], why: "because" },
    ];

    fn summary(files: &[(&str, bool)]) -> Summary {
        let file = |(name, passed): &(&str, bool)| File {
            file: PathBuf::from(format!("{name}.json")),
            name: (*name).to_owned(),
            failures: if *passed { Vec::new() } else { vec![serde_json::Value::Null] },
            skipped: None,
        };
        Summary { steps: 9, steps_passed: 7, files: files.iter().map(file).collect(), said: String::new() }
    }

    #[test]
    fn what_is_known_is_no_failure_and_what_got_better_is_told() {
        let files = summary(&[("fine", true), ("old", false), ("solved", true), ("new", false), ("busy", false)]);
        let verdict = Verdict::of(Target::Alone, &files, KNOWN);
        assert_eq!(verdict.unexpected, ["new", "busy"]);
        assert_eq!((verdict.passed, &verdict.better[..]), (2, &["solved".to_owned()][..]));
        let verdict = verdict.after(Target::Alone, &summary(&[("new", false), ("busy", true)]), KNOWN);
        assert_eq!((verdict.unexpected, verdict.flaky), (vec!["new".to_owned()], vec!["busy".to_owned()]));
        // Known of one target is not known of another.
        assert_eq!(Verdict::of(Target::Leader, &files, KNOWN).unexpected, ["old", "new", "busy"]);
    }

    #[test]
    fn the_tools_words_are_found_again() {
        let said = "ok   a (1/1 steps)\nFAIL b (1/2 steps)\n     step 2\n       at /x\nFAIL bb (0/1 steps)\n     step 1\n0 passed\n";
        let of_b: Vec<&str> = blocks(said).filter(|block| block.is_of("b")).map(|block| block.text).collect();
        assert_eq!(of_b, ["FAIL b (1/2 steps)\n     step 2\n       at /x"]);
    }
}
