//! `kontiki diff`: an object at one moment beside itself at another.

use std::io::IsTerminal;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use similar::TextDiff;

use super::{object::Object, secrets};
use crate::args::{Color, Diff};

/// Lines around a change.
const CONTEXT: usize = 3;

pub async fn diff(arguments: Diff) -> Result<()> {
    let object = Object::find(&arguments.target).await?;
    let mut from = object.at(&arguments.from).await?;
    let mut to = match &arguments.to {
        Some(moment) => object.at(moment).await?,
        None => object.live().await?,
    };
    if from.is_none() && to.is_none() {
        bail!("{} was there at neither moment", object.shown());
    }
    if !arguments.show_secrets {
        secrets::mask(&mut from, &mut to);
    }
    let later = arguments.to.as_deref().unwrap_or("now");
    let name = |form: &Option<Value>, moment: &str| match form {
        Some(form) => {
            let revision = form["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            format!("{} at {moment} (revision {revision})", object.shown())
        }
        None => format!("{} at {moment} (not there)", object.shown()),
    };
    let text = unified(&yaml(from.as_ref())?, &yaml(to.as_ref())?, &name(&from, &arguments.from), &name(&to, later));
    let color = match arguments.color {
        Color::Auto => std::io::stdout().is_terminal(),
        Color::Always => true,
        Color::Never => false,
    };
    print!("{}", if color { colored(&text) } else { text });
    Ok(())
}

/// Without what differs between any two versions; nothing for what was not there.
pub fn yaml(object: Option<&Value>) -> Result<String> {
    let Some(object) = object else { return Ok(String::new()) };
    let mut shown = object.clone();
    if let Some(metadata) = shown["metadata"].as_object_mut() {
        metadata.shift_remove("resourceVersion");
        metadata.shift_remove("managedFields");
    }
    serde_saphyr::to_string(&shown).context("writing YAML")
}

/// Nothing if there is no difference.
pub fn unified(from: &str, to: &str, from_name: &str, to_name: &str) -> String {
    TextDiff::from_lines(from, to).unified_diff().context_radius(CONTEXT).header(from_name, to_name).to_string()
}

fn colored(text: &str) -> String {
    let color = |line: &str| match line.as_bytes().first() {
        _ if line.starts_with("--- ") || line.starts_with("+++ ") => Some("1"),
        Some(b'@') => Some("36"),
        Some(b'-') => Some("31"),
        Some(b'+') => Some("32"),
        _ => None,
    };
    let line = |line: &str| match color(line) {
        Some(code) => format!("\x1b[{code}m{line}\x1b[0m\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn two_forms_are_told_apart_line_by_line() {
        let form = |replicas: u64, version: &str| json!({"metadata": {"name": "web", "resourceVersion": version}, "spec": {"replicas": replicas}});
        let (old, new) = (yaml(Some(&form(2, "7"))).unwrap(), yaml(Some(&form(5, "9"))).unwrap());
        let text = unified(&old, &new, "then", "now");
        expect_test::expect![[r#"
            --- then
            +++ now
            @@ -1,4 +1,4 @@
             metadata:
               name: web
             spec:
            -  replicas: 2
            +  replicas: 5
        "#]]
        .assert_eq(&text);
        assert_eq!(unified(&old, &old, "then", "now"), "");
        assert!(unified("", &new, "then", "now").contains("\n+  replicas: 5\n"));
        assert!(colored(&text).contains("\x1b[31m-  replicas: 2\x1b[0m\n"));
    }
}
