//! How snapshots and what came of them are printed.

use std::{collections::BTreeMap, fmt::Write as _};

use kontiki_raft::backup::Verified;
use serde_json::Value;

use super::save::Saved;

/// RFC 3339, in UTC, to the second.
pub fn moment(ms: i64) -> String {
    let time = k8s_openapi::jiff::Timestamp::from_millisecond(ms);
    time.map_or_else(|_| ms.to_string(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Not to standard output if that is where the snapshot went.
pub fn saved(saved: &Saved) {
    let header = &saved.verified.header;
    let objects: u64 = header.objects.values().sum();
    let what = format!(
        "revisions {} to {}, {objects} objects, {} bytes, SHA-256 {}",
        header.first_revision, header.last_revision, saved.verified.bytes, saved.verified.sha256
    );
    match &saved.file {
        Some(file) => println!("saved to {}: {what}", file.display()),
        None => eprintln!("saved: {what}"),
    }
}

pub fn verified(verified: &Verified) -> String {
    let Verified { header, bytes, sha256, .. } = verified;
    let time = |ms: Option<i64>| ms.map_or_else(|| "-".to_owned(), moment);
    let rows = [
        (
            "Taken",
            format!("{} by {} on {}", moment(header.origin.taken_ms), header.origin.program, header.origin.server),
        ),
        ("Cluster", header.origin.cluster.clone()),
        (
            "Revisions",
            format!("{} to {}; Events and Leases are kept for less long", header.first_revision, header.last_revision),
        ),
        ("Events", format!("{} to {}", time(header.first_time_ms), time(header.last_time_ms))),
        ("Log", format!("up to entry {} of term {}", header.index, header.term)),
        ("Size", format!("{bytes} bytes, {} of state in {} files", header.bytes, header.files)),
        ("SHA-256", format!("{sha256} (all checksums verified)")),
    ];
    let mut out = String::new();
    for (name, value) in rows {
        // Writing to a String cannot fail.
        _ = writeln!(out, "{name:<10} {value}");
    }
    _ = writeln!(out, "{}", objects(&header.objects));
    out
}

/// What users know, resource by resource. What the cluster keeps besides (claimed addresses, servers that were removed) is a number.
fn objects(counts: &BTreeMap<String, u64>) -> String {
    let (internal, known): (Vec<_>, Vec<_>) =
        counts.iter().partition(|(resource, _)| resource.ends_with(".kontiki.dev"));
    let width = known.iter().map(|(resource, _)| resource.len()).max().unwrap_or_default();
    let lines = known.into_iter().map(|(resource, count)| format!("  {resource:<width$}   {count}"));
    let besides = internal.into_iter().map(|(_, count)| count).sum::<u64>();
    let besides = (besides > 0).then(|| format!("  and {besides} entries that the cluster keeps for itself"));
    ["Objects".to_owned()].into_iter().chain(lines).chain(besides).collect::<Vec<_>>().join("\n")
}

/// What a restore into a running cluster did, or would do.
pub fn restored(answer: &Value) -> String {
    let mut out = String::new();
    let list = |member: &str| answer[member].as_array().cloned().unwrap_or_default();
    let named = |object: &Value| {
        let text = |member: &str| object[member].as_str().unwrap_or_default().to_owned();
        match text("namespace").as_str() {
            "" => format!("{}/{}", text("resource"), text("name")),
            namespace => format!("{}/{} in {namespace}", text("resource"), text("name")),
        }
    };
    for change in list("changes") {
        _ = writeln!(out, "{:<8} {}", change["action"].as_str().unwrap_or_default(), named(&change["object"]));
    }
    for refused in list("refused") {
        let why = refused["reason"].as_str().unwrap_or_default();
        _ = writeln!(out, "refused  {}: {why}", named(&refused["object"]));
    }
    for left in list("left") {
        _ = writeln!(out, "left as they are: {} of {}", left["count"], left["what"].as_str().unwrap_or_default());
    }
    let (to, count, same) = (&answer["to"], list("changes").len(), &answer["unchanged"]);
    let commands = answer["commands"].as_u64().unwrap_or_default();
    let how = if commands <= 1 { "in one step".to_owned() } else { format!("in {commands} steps, not all at once") };
    let objects = if count == 1 { "1 object".to_owned() } else { format!("{count} objects") };
    _ = match (answer["dryRun"] == true, &answer["revisions"]) {
        _ if count == 0 => writeln!(out, "nothing differs from revision {to}; {same} objects compared"),
        (true, _) => writeln!(out, "revision {to}: {objects} would change, {how}; {same} would not"),
        (false, revisions) => {
            let (first, last) = (&revisions["first"], &revisions["last"]);
            writeln!(
                out,
                "restored revision {to}: {objects} changed, {how}, as revisions {first} to {last}; {same} unchanged"
            )
        }
    };
    out
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_snapshot_holds_what_users_know_and_some_more() {
        let counts = [("clusterips.kontiki.dev", 2), ("configmaps", 7), ("formerservers.kontiki.dev", 1), ("pods", 12)];
        let counts = counts.map(|(resource, count)| (resource.to_owned(), count)).into();
        expect![[r#"
            Objects
              configmaps   7
              pods         12
              and 3 entries that the cluster keeps for itself"#]]
        .assert_eq(&objects(&counts));
        assert_eq!(objects(&BTreeMap::from([("pods".to_owned(), 1)])), "Objects\n  pods   1");
    }

    #[test]
    fn a_restore_tells_what_it_did() {
        let object = |name: &str| json!({"resource": "configmaps", "namespace": "default", "name": name});
        let answer = json!({
            "to": 40, "dryRun": false, "atomic": true, "commands": 1, "revisions": {"first": 51, "last": 52}, "unchanged": 7,
            "changes": [
                {"action": "create", "object": object("a")},
                {"action": "delete", "object": {"resource": "namespaces", "name": "b"}},
            ],
            "refused": [{"object": object("c"), "reason": "another object holds 10.0.0.1 now"}],
            "left": [{"what": "Leases", "count": 2}],
        });
        expect![[r#"
            create   configmaps/a in default
            delete   namespaces/b
            refused  configmaps/c in default: another object holds 10.0.0.1 now
            left as they are: 2 of Leases
            restored revision 40: 2 objects changed, in one step, as revisions 51 to 52; 7 unchanged
        "#]]
        .assert_eq(&restored(&answer));
        let dry = json!({"to": 40, "dryRun": true, "commands": 2, "unchanged": 7, "changes": [{"action": "create", "object": object("a")}]});
        expect![[r#"
            create   configmaps/a in default
            revision 40: 1 object would change, in 2 steps, not all at once; 7 would not
        "#]]
        .assert_eq(&restored(&dry));
    }
}
