//! What would otherwise become shell.
fn main() {}
