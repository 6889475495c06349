//! Simulation, fault injection on real processes, history checkers, reports.
