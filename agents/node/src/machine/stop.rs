//! Why a container is stopped while its pod lives on, or with it, and the words Kubernetes has for it.

/// The cause of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The pod ends.
    PodEnds,
    LivenessProbe,
    StartupProbe,
    PostStartHook,
    /// The pod now asks for another image.
    DefinitionChanged,
    /// The pod now lets it use something else, and says that this takes a restart.
    Resized,
    /// Another container has ended in a way that restarts all.
    AllRestart,
}

impl Stop {
    /// Whether the container may do something before it is told to end.
    pub fn runs_hook(self) -> bool {
        self != Stop::AllRestart
    }

    /// The message of the `Killing` event.
    pub fn message(self, container: &str) -> String {
        match self {
            Stop::PodEnds | Stop::AllRestart => format!("Stopping container {container}"),
            Stop::LivenessProbe => format!("Container {container} failed liveness probe, will be restarted"),
            Stop::StartupProbe => format!("Container {container} failed startup probe, will be restarted"),
            Stop::PostStartHook => "FailedPostStartHook".to_owned(),
            Stop::Resized => format!("Container {container} resize requires restart"),
            Stop::DefinitionChanged => format!("Container {container} definition changed, will be restarted"),
        }
    }
}
