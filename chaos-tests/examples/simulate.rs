//! `simulate FIRST_SEED [COUNT] [STEPS] [MUTANT]`: runs seeds until one breaks a promise, and says which. With the name of a planted
//! bug, or `mutants` for all of them, it looks for the first seed that notices.

use std::process::ExitCode;

use kontiki_chaos::Simulation;
use kontiki_chaos::cluster::{Mutant, Scenario};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (first, count, steps) = (number(0, 1), number(1, 1), number(2, 40));
    let wanted = arguments.get(3).map(String::as_str);
    let mutants: Vec<Mutant> =
        Mutant::ALL.into_iter().filter(|mutant| wanted == Some("mutants") || wanted == Some(mutant.name())).collect();
    if let Some(name) = wanted
        && mutants.is_empty()
    {
        eprintln!("{name} is none of {:?}", Mutant::ALL);
        return ExitCode::FAILURE;
    }
    let seeds = first..first + count;
    let noticed = |mutant: &Mutant| notice(*mutant, seeds.clone(), steps);
    let fine = if mutants.is_empty() {
        hold(seeds.clone(), steps)
    } else {
        mutants.iter().filter(|mutant| !noticed(mutant)).count() == 0
    };
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every promise holds on every seed: of a cluster, and of one server in more detail.
fn hold(mut seeds: std::ops::Range<u64>, steps: u64) -> bool {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    seeds.all(|seed| {
        match (Scenario { steps, ..Scenario::of(seed) }).run() {
            Ok(report) => println!("seed {seed}: {report:?}"),
            Err(broken) => {
                eprintln!("{broken}");
                return false;
            }
        }
        match tokio.block_on(Simulation::run(seed, steps as usize * 10)) {
            Ok(outcome) => println!("seed {seed}, one server: {} revisions", outcome.revision),
            Err(failure) => {
                eprintln!("{failure}");
                return false;
            }
        }
        true
    })
}

fn notice(mutant: Mutant, mut seeds: std::ops::Range<u64>, steps: u64) -> bool {
    let found = seeds.find_map(|seed| (Scenario { steps, mutant: Some(mutant), ..Scenario::of(seed) }).run().err());
    let noticed = found.is_some();
    match found {
        Some(broken) => println!("{}: seed {}: {}", mutant.name(), broken.scenario.seed, broken.violation),
        None => eprintln!("{}: nobody notices", mutant.name()),
    }
    noticed
}
