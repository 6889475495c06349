//! `simulate FIRST_SEED [COUNT] [STEPS]`: runs seeds until one breaks a promise, and says which.

use std::process::ExitCode;

use kontiki_chaos::Simulation;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let [first, count, steps] =
        [(0, 0), (1, 1), (2, 500)].map(|(at, default)| numbers.get(at).copied().unwrap_or(default));
    for seed in first..first + count {
        match Simulation::run(seed, steps as usize).await {
            Ok(outcome) => println!("seed {seed}: {} revisions, every promise held", outcome.revision),
            Err(failure) => {
                eprintln!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
