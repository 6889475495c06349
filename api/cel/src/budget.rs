//! What evaluations may cost, and why there is no result.

/// What evaluations may still cost.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: u64,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    Failed(String),
    OutOfBudget,
}

impl Budget {
    pub fn new(cost_max: u64) -> Self {
        Budget { left: cost_max }
    }

    /// What is left of it.
    pub fn left(&self) -> u64 {
        self.left
    }

    pub fn spend(&mut self, cost: u64) -> Result<(), RunError> {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(RunError::OutOfBudget)
            }
        }
    }
}

pub fn failed<T>(message: impl Into<String>) -> Result<T, RunError> {
    Err(RunError::Failed(message.into()))
}
