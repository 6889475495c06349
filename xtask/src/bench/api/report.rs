//! What was measured of the API, as a table with the goals beside it and as panels of a plot. Pure.

use std::fmt::Write;

use super::{Flooded, Measured, PAGE, PAYLOAD, Seen};
use crate::bench::plot::{Bar, Group, Panel};

const SERIES: &str = "kontiki API";
const MEBIBYTE: f64 = 1024.0 * 1024.0;
/// Of an idle watcher, on a connection of its own.
const IDLE_KIB_GOAL: f64 = 16.0;

impl Seen {
    pub(super) fn rate(&self) -> f64 {
        if self.ops == 0.0 { 0.0 } else { self.ops / self.seconds }
    }

    fn cpu_us(&self) -> f64 {
        self.server_cpu_seconds * 1e6 / self.ops
    }
}

pub fn table(measured: &Measured) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| writeln!(out, "{text}").expect("writing to a string");
    line(format_args!(
        "One `kontiki server`, its defaults, over HTTP/2 with TLS and a client certificate; ConfigMaps of {PAYLOAD} bytes."
    ));
    line(format_args!(
        "The load client shares the processors with it. No kube-apiserver is to be had here to run beside it."
    ));
    line(format_args!(""));
    for (what, figure, goal) in rows(measured) {
        line(format_args!("{what:<72} {:>12}   {goal}", shown(figure)));
    }
    line(format_args!("requests refused: {}", measured.creates.errors + measured.updates.errors));
    out
}

fn rows(measured: &Measured) -> Vec<(String, f64, String)> {
    let mut rows = Vec::new();
    let mut row = |what: String, figure: f64, goal: &str| rows.push((what, figure, goal.to_owned()));
    let clients = measured.clients;
    for (verb, seen, goal) in
        [("creates", &measured.creates, "≥ 10 × kube-apiserver + etcd"), ("updates", &measured.updates, "")]
    {
        row(format!("{verb}, {clients} clients: per second"), seen.rate(), goal);
        row(format!("{verb}, {clients} clients: p50 ms"), seen.p50_ms, "");
        row(format!("{verb}, {clients} clients: p99 ms"), seen.p99_ms, "");
        row(format!("{verb}, {clients} clients: server's CPU µs each"), seen.cpu_us(), "");
    }
    let objects = measured.objects;
    for (how, seen, goal) in [
        ("whole", &measured.list, "≥ 10 × kube-apiserver".to_owned()),
        ("by pages", &measured.pages, format!("pages of {PAGE}")),
    ] {
        row(format!("consistent list of {objects}, {how}: median ms"), seen.p50_ms, &goal);
        row(format!("consistent list of {objects}, {how}: longest ms"), seen.p99_ms, "");
        row(format!("consistent list of {objects}, {how}: server's CPU ms"), seen.cpu_us() / 1e3, "");
    }
    row("  MiB of such a list".to_owned(), measured.list.bytes / MEBIBYTE, "");
    for (watchers, watched) in &measured.watches {
        row(format!("{watchers} watchers: events per second"), watched.events / watched.seconds, "");
        let per_core = watched.events / watched.server_cpu_seconds;
        row(format!("{watchers} watchers: events per second of server's CPU"), per_core, "≥ 5 × kube-apiserver");
        row(format!("{watchers} watchers: write acknowledged → told, p50 ms"), watched.acknowledged_p50_ms, "");
        row(format!("{watchers} watchers: write acknowledged → told, p99 ms"), watched.acknowledged_p99_ms, "≤ 2");
        row(format!("{watchers} watchers: write sent → told, p50 ms"), watched.sent_p50_ms, "");
        row(format!("{watchers} watchers: write sent → told, p99 ms"), watched.sent_p99_ms, "");
    }
    for (watchers, way, watched) in &measured.idle {
        let goal = if way.per_connection() == 1 { "≤ 16" } else { "≤ 8" };
        row(format!("{watchers} idle watchers, {way}: KiB each"), watched.kib_per_watcher, goal);
    }
    for Flooded { by, connections, seen, flood } in &measured.flooded {
        let (beside, goal) = match by {
            None => ("alone".to_owned(), ""),
            Some(verb) => (format!("beside another user's {connections} clients that {verb}"), "≤ 100"),
        };
        row(format!("1 user's creates {beside}: p50 ms"), seen.p50_ms, "");
        row(format!("1 user's creates {beside}: p99 ms"), seen.p99_ms, goal);
        if by.is_some() {
            row("  the other's requests per second".to_owned(), flood.rate(), "");
        }
    }
    rows
}

fn shown(figure: f64) -> String {
    match figure {
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure if figure >= 10.0 => format!("{figure:.1}"),
        figure => format!("{figure:.2}"),
    }
}

pub fn panels(measured: &Measured) -> Vec<Panel> {
    let group = |label: &str, value: f64| Group {
        label: label.to_owned(),
        bars: vec![Bar { series: SERIES, value: Some(value).filter(|value| value.is_finite()) }],
    };
    let panel = |title: String, groups: Vec<Group>| Panel { title, limit: None, groups };
    let (creates, updates) = (&measured.creates, &measured.updates);
    let watches = |title: &str, figure: fn(&super::Watched) -> f64| {
        let groups = measured.watches.iter();
        let groups = groups.map(|(watchers, watched)| group(&format!("{watchers} watchers"), figure(watched)));
        panel(title.to_owned(), groups.collect())
    };
    let idle = measured.idle.iter().map(|(_, way, watched)| group(&way.to_string(), watched.kib_per_watcher));
    vec![
        panel(
            format!("requests per second, {} clients", measured.clients),
            vec![group("creates", creates.rate()), group("updates", updates.rate())],
        ),
        panel(
            "p50 and p99, ms".to_owned(),
            vec![
                group("creates, p50", creates.p50_ms),
                group("creates, p99", creates.p99_ms),
                group("updates, p50", updates.p50_ms),
                group("updates, p99", updates.p99_ms),
            ],
        ),
        panel(
            "server's CPU per request, µs".to_owned(),
            vec![group("creates", creates.cpu_us()), group("updates", updates.cpu_us())],
        ),
        panel(
            format!("consistent list of {} objects, ms", measured.objects),
            vec![group("whole", measured.list.p50_ms), group("by pages", measured.pages.p50_ms)],
        ),
        watches("events per second", |watched| watched.events / watched.seconds),
        watches("write acknowledged → told, p99 ms", |watched| watched.acknowledged_p99_ms),
        Panel {
            limit: Some(("the goal".to_owned(), IDLE_KIB_GOAL)),
            ..panel("memory of an idle watcher over TLS, KiB".to_owned(), idle.collect())
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Watched, Way},
        *,
    };

    #[test]
    fn every_figure_has_a_row_and_its_goal() {
        let seen = || Seen { ops: 200.0, seconds: 2.0, server_cpu_seconds: 0.1, ..Seen::default() };
        let watched = || Watched { events: 50.0, seconds: 0.5, server_cpu_seconds: 0.25, ..Watched::default() };
        let measured = Measured {
            clients: 16,
            objects: 30,
            creates: seen(),
            updates: seen(),
            list: seen(),
            pages: seen(),
            watches: vec![(10, watched())],
            idle: vec![(10, Way::Http1, watched()), (10, Way::Http2(5), watched())],
            flooded: vec![Flooded { by: Some("list"), connections: 20, seen: seen(), flood: seen() }],
        };
        let table = table(&measured);
        let row = |of: &str| table.lines().find(|line| line.starts_with(of)).unwrap_or("").to_owned();
        assert!(row("creates, 16 clients: per second").ends_with("100   ≥ 10 × kube-apiserver + etcd"), "{table}");
        assert!(row("creates, 16 clients: server's CPU").contains(" 500 "), "{table}");
        assert!(row("10 watchers: events per second of").contains(" 200 "), "{table}");
        assert!(row("1 user's creates beside another user's 20 clients that list: p99").ends_with("≤ 100"), "{table}");
        assert_eq!(panels(&measured).len(), 7);
    }
}
