//! What was measured, as a table with the goals beside it and as panels of a plot. Pure.

use std::fmt::Write;

use super::{
    cluster::{Memory, System},
    load::Seen,
};
use crate::bench::plot::{Bar, Group, Panel};

/// Runs of one system with the same number of clients.
pub struct Load {
    pub clients: usize,
    pub runs: Vec<Seen>,
}

impl Load {
    /// The median of the runs' figures.
    fn median(&self, figure: impl Fn(&Seen) -> Option<f64>) -> Option<f64> {
        let mut figures = self.runs.iter().map(figure).collect::<Option<Vec<f64>>>()?;
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied()
    }

    fn rate(&self) -> Option<f64> {
        self.median(|seen| Some(seen.ops / seen.seconds))
    }

    fn p50(&self) -> Option<f64> {
        self.median(|seen| Some(seen.p50_ms))
    }

    fn p99(&self) -> Option<f64> {
        self.median(|seen| Some(seen.p99_ms))
    }

    fn syncs(&self) -> Option<f64> {
        self.median(|seen| Some(seen.syncs? / seen.ops))
    }

    fn cpu_us(&self) -> Option<f64> {
        self.median(|seen| Some(seen.server_cpu_seconds * 1e6 / seen.ops))
    }
}

/// One system, all its figures.
pub struct Measured {
    pub label: &'static str,
    pub about: String,
    pub idle: Memory,
    pub loads: Vec<Load>,
    /// Memory, and MiB on the disk, after all loads.
    pub loaded: Option<(Memory, f64)>,
    pub gaps_ms: Vec<f64>,
}

impl Measured {
    pub fn new(system: &dyn System, idle: Memory) -> Self {
        Measured {
            label: system.label(),
            about: system.describe(),
            idle,
            loads: Vec::new(),
            loaded: None,
            gaps_ms: Vec::new(),
        }
    }

    fn load(&self, clients: usize) -> Option<&Load> {
        self.loads.iter().find(|load| load.clients == clients)
    }

    fn objects(&self) -> f64 {
        self.loads.iter().flat_map(|load| &load.runs).map(|seen| seen.ops).sum()
    }

    fn gap(&self, share: f64) -> Option<f64> {
        let mut gaps = self.gaps_ms.clone();
        gaps.sort_by(f64::total_cmp);
        gaps.get((gaps.len().saturating_sub(1) as f64 * share).round() as usize).copied()
    }
}

/// Append and fdatasync of the same bytes, without any server.
#[derive(Default)]
pub struct Disk {
    /// One writer.
    pub alone: Vec<Seen>,
    /// As many at once as there are servers on it.
    pub shared: Vec<Seen>,
}

impl Disk {
    fn p50(runs: &[Seen]) -> Option<f64> {
        Load { clients: 0, runs: runs.to_vec() }.p50()
    }
}

/// A row of the table: one figure per system, and the goal, with what came of it.
struct Line {
    what: String,
    figures: Vec<Option<f64>>,
    goal: String,
}

/// Under way, so that a long run is seen to go on.
pub fn progress(round: usize, clients: usize, label: &str, seen: &Seen) {
    let rate = seen.ops / seen.seconds;
    eprintln!(
        "round {round}, {clients:>3} clients: {label:<12} {rate:>8.0}/s  p50 {:.2} ms  p99 {:.2} ms",
        seen.p50_ms, seen.p99_ms
    );
    if seen.errors > 0 {
        eprintln!("  {} writes were refused, the first: {}", seen.errors, seen.error.as_deref().unwrap_or("?"));
    }
}

pub fn table(measured: &[Measured], disk: &Disk) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| writeln!(out, "{text}").expect("writing to a string");
    line(format_args!("Three servers on one machine and one disk, in turns; medians. What was compared:"));
    for one in measured {
        line(format_args!("  {:<12} {}", one.label, one.about));
    }
    for (what, runs) in [("one writer", &disk.alone), ("three writers at once", &disk.shared)] {
        let p50 = Disk::p50(runs).unwrap_or(f64::NAN);
        line(format_args!("  the disk     append + fdatasync of the same bytes, {what}: p50 {p50:.2} ms"));
    }
    let heads: String = measured.iter().map(|one| format!(" {:>12}", one.label)).collect();
    line(format_args!("\n{:<42}{heads}   goal (here: log beside etcd)", ""));
    for row in lines(measured, disk) {
        let figures: String = row.figures.iter().map(|figure| format!(" {:>12}", shown(*figure))).collect();
        line(format_args!("{:<42}{figures}   {}", row.what, row.goal));
    }
    let refused: usize =
        measured.iter().flat_map(|one| &one.loads).flat_map(|load| &load.runs).map(|seen| seen.errors).sum();
    line(format_args!("writes refused in all runs: {refused}"));
    out
}

fn lines(measured: &[Measured], disk: &Disk) -> Vec<Line> {
    let line = |what: String, figure: Figure<'_>, goal: &dyn Fn(&[Option<f64>]) -> String| {
        let figures: Vec<_> = measured.iter().map(figure).collect();
        let goal = goal(&figures);
        Line { what, figures, goal }
    };
    let none = |_: &[Option<f64>]| String::new();
    let mut lines = Vec::new();
    for clients in super::LOADS {
        let s = if clients == 1 { "" } else { "s" };
        let who = format!("{clients} client{s}");
        let at = |figure: fn(&Load) -> Option<f64>| move |one: &Measured| one.load(clients).and_then(figure);
        let rate_goal = |figures: &[Option<f64>]| match clients {
            1 => String::new(),
            _ => format!("≥ 4 × etcd: {}", ratio(figures)),
        };
        let p50_goal = |figures: &[Option<f64>]| match clients {
            1 => {
                let disk = Disk::p50(&disk.alone).zip(figures.get(1).copied().flatten());
                let times = disk.map_or("?".into(), |(disk, log)| format!("{:.2} ×", log / disk));
                format!("≤ 0.6 × etcd: {}; ≤ 1.25 × the disk: {times}", ratio(figures))
            }
            _ => String::new(),
        };
        let p99_goal = |figures: &[Option<f64>]| match clients {
            1 => String::new(),
            _ => format!("≤ 0.5 × etcd: {}", ratio(figures)),
        };
        lines.push(line(format!("{who}: writes/s"), &at(Load::rate), &rate_goal));
        lines.push(line(format!("{who}: p50 ms"), &at(Load::p50), &p50_goal));
        lines.push(line(format!("{who}: p99 ms"), &at(Load::p99), &p99_goal));
        lines.push(line(format!("{who}: fsyncs per write, all servers"), &at(Load::syncs), &none));
        lines.push(line(format!("{who}: CPU µs per write, all servers"), &at(Load::cpu_us), &none));
    }
    let count = measured.iter().map(|one| one.gaps_ms.len()).max().unwrap_or_default();
    lines.push(line(format!("leader killed ({count}×): gap p50 ms"), &|one| one.gap(0.5), &|_| "≤ 300".into()));
    lines
        .push(line(format!("leader killed ({count}×): longest gap ms"), &|one| one.gap(1.0), &|_| "p99 ≤ 600".into()));
    lines.push(line("resident MiB a server, idle".into(), &|one| Some(one.idle.resident), &|_| "≤ 40".into()));
    lines.push(line("  of it anonymous".into(), &|one| Some(one.idle.anonymous), &none));
    lines.push(line("thousand objects written".into(), &|one| Some(one.objects() / 1e3), &none));
    lines.push(line("resident MiB a server, with them".into(), &|one| Some(one.loaded?.0.resident), &none));
    lines.push(line("  of it anonymous".into(), &|one| Some(one.loaded?.0.anonymous), &none));
    lines.push(line("MiB on the disk a server".into(), &|one| Some(one.loaded?.1), &none));
    lines
}

/// Kontiki's log against etcd.
fn ratio(figures: &[Option<f64>]) -> String {
    match figures {
        [Some(etcd), Some(log), ..] => format!("{:.2} ×", log / etcd),
        _ => "?".into(),
    }
}

fn shown(figure: Option<f64>) -> String {
    match figure {
        None => "?".into(),
        Some(figure) if figure >= 100.0 => format!("{figure:.0}"),
        Some(figure) if figure >= 10.0 => format!("{figure:.1}"),
        Some(figure) => format!("{figure:.2}"),
    }
}

pub fn panels(measured: &[Measured], disk: &Disk) -> Vec<Panel> {
    let by_load = |title: &str, limit: Option<(String, f64)>, loads: &[usize], figure: fn(&Load) -> Option<f64>| {
        let group = |clients: &usize| Group {
            label: format!("{clients} client{}", if *clients == 1 { "" } else { "s" }),
            bars: bars(measured, |one| one.load(*clients).and_then(figure)),
        };
        Panel { title: title.to_owned(), limit, groups: loads.iter().map(group).collect() }
    };
    let limit = Disk::p50(&disk.alone).map(|p50| ("the disk's fdatasync".to_owned(), p50));
    let once = |title: &str, figures: &[(&str, Figure<'_>)]| {
        let group =
            |(label, figure): &(&str, Figure<'_>)| Group { label: (*label).to_owned(), bars: bars(measured, figure) };
        Panel { title: title.to_owned(), limit: None, groups: figures.iter().map(group).collect() }
    };
    vec![
        by_load("one write, p50, ms", limit, &[1], Load::p50),
        by_load("writes per second", None, &[16, 256], Load::rate),
        by_load("p99, ms", None, &super::LOADS, Load::p99),
        by_load("fsyncs per write, all servers", None, &super::LOADS, Load::syncs),
        by_load("CPU per write, all servers, µs", None, &super::LOADS, Load::cpu_us),
        once(
            "leader killed → next acknowledged write, ms",
            &[("median", &|one| one.gap(0.5)), ("longest", &|one| one.gap(1.0))],
        ),
        once(
            "resident memory of a server, MiB",
            &[("idle", &|one| Some(one.idle.resident)), ("after the load", &|one| Some(one.loaded?.0.resident))],
        ),
    ]
}

type Figure<'a> = &'a dyn Fn(&Measured) -> Option<f64>;

fn bars(measured: &[Measured], figure: impl Fn(&Measured) -> Option<f64>) -> Vec<Bar> {
    measured.iter().map(|one| Bar { series: one.label, value: figure(one) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_needs_every_run() {
        let run = |ops, syncs| Seen { ops, seconds: 1.0, syncs, ..Seen::default() };
        let load = Load { clients: 1, runs: vec![run(10.0, Some(20.0)), run(30.0, Some(30.0)), run(20.0, None)] };
        assert_eq!(load.rate(), Some(20.0));
        assert_eq!(load.syncs(), None);
    }

    #[test]
    fn a_ratio_is_log_against_etcd() {
        assert_eq!(ratio(&[Some(2.0), Some(5.0), Some(1.0)]), "2.50 ×");
        assert_eq!(ratio(&[None, Some(5.0)]), "?");
    }
}
