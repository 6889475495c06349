//! Machines in one thread: what a machine spawns lives and dies with it, and reads its own clock.
//!
//! openraft's simulated runtime gives virtual time and a fixed order. This one, around it, knows on whose behalf each task runs: a
//! machine that loses power takes its tasks with it, wherever they are, and a machine whose clock drifts sleeps accordingly.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::FutureExt;
use kontiki_raft::simulation::runtime::{AsyncRuntime, Instant, OptionalSend};
use openraft_rt_sim::{SimInstant, SimJoinError, SimJoinHandle, SimRuntime, SimSleep, SimTimeout};

thread_local! {
    static CURRENT: RefCell<Option<Arc<Machine>>> = const { RefCell::new(None) };
}

/// Parts per thousand of true time by which a clock that does not drift runs.
pub const TRUE_RATE: u64 = 1_000;

/// One life of one machine, from power on to power off.
#[derive(Debug)]
pub struct Machine {
    off: AtomicBool,
    next: AtomicU64,
    /// Tasks that have begun and not ended: whom to wake when the power goes.
    tasks: Mutex<BTreeMap<u64, Waker>>,
    clock: Mutex<Clock>,
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    rate: u64,
    /// When the rate was set: truly, and by this clock.
    since: (Duration, Duration),
}

impl Clock {
    fn local(&self, now: Duration) -> Duration {
        self.since.1 + scaled(now.saturating_sub(self.since.0), self.rate, TRUE_RATE)
    }
}

fn scaled(duration: Duration, by: u64, of: u64) -> Duration {
    let nanos = duration.as_nanos() * u128::from(by) / u128::from(of);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl Machine {
    pub fn start() -> Arc<Self> {
        let clock = Mutex::new(Clock { rate: TRUE_RATE, since: (Duration::ZERO, Duration::ZERO) });
        Arc::new(Machine { off: AtomicBool::new(false), next: AtomicU64::new(0), tasks: Mutex::default(), clock })
    }

    /// From now on its clock runs at another rate; it does not jump.
    pub fn set_rate(&self, rate: u64) {
        let now = true_now();
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        *clock = Clock { rate, since: (now, clock.local(now)) };
    }

    fn clock(&self) -> Clock {
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its tasks stop where they are, and are dropped before anything else happens to them.
    pub fn power_off(&self) {
        self.off.store(true, Ordering::SeqCst);
        let tasks = std::mem::take(&mut *self.tasks());
        tasks.into_values().for_each(Waker::wake);
    }

    pub fn is_off(&self) -> bool {
        self.off.load(Ordering::SeqCst)
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<u64, Waker>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a task on this machine.
    pub fn spawn<F>(self: &Arc<Self>, task: F) -> SimJoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        SimRuntime::spawn(OnMachine { machine: self.clone(), number, task: Some(Box::pin(task)) })
    }
}

/// A task of a machine. Once the power is off it is dropped and never ends.
struct OnMachine<F> {
    machine: Arc<Machine>,
    number: u64,
    task: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for OnMachine<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let outside = enter(Some(this.machine.clone()));
        let polled = if this.machine.is_off() {
            this.task = None;
            Poll::Pending
        } else {
            this.task.as_mut().map_or(Poll::Pending, |task| task.poll_unpin(context))
        };
        enter(outside);
        if !this.machine.is_off() {
            let mut tasks = this.machine.tasks();
            match polled {
                Poll::Ready(_) => drop(tasks.remove(&this.number)),
                Poll::Pending => drop(tasks.insert(this.number, context.waker().clone())),
            }
        }
        polled
    }
}

/// Goes on on behalf of a machine, or of none; says on whose before.
fn enter(machine: Option<Arc<Machine>>) -> Option<Arc<Machine>> {
    CURRENT.with(|current| current.replace(machine))
}

fn current() -> Option<Arc<Machine>> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Time since the simulation began, as nobody in it can know it.
pub fn true_now() -> Duration {
    SimInstant::try_now().map_or(Duration::ZERO, SimInstant::elapsed_since_start)
}

/// Sleeps by true time.
pub async fn sleep(duration: Duration) {
    SimRuntime::sleep(duration).await;
}

/// A moment by the clock of the machine that looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalInstant(Duration);

/// Every clock begins a day in, so that nothing lies before it.
const BEGIN: Duration = Duration::from_secs(86_400);

impl Instant for LocalInstant {
    fn now() -> Self {
        let now = true_now();
        LocalInstant(BEGIN + current().map_or(now, |machine| machine.clock().local(now)))
    }
}

impl Add<Duration> for LocalInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        LocalInstant(self.0 + duration)
    }
}

impl AddAssign<Duration> for LocalInstant {
    fn add_assign(&mut self, duration: Duration) {
        self.0 += duration;
    }
}

impl Sub<Duration> for LocalInstant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        LocalInstant(self.0 - duration)
    }
}

impl SubAssign<Duration> for LocalInstant {
    fn sub_assign(&mut self, duration: Duration) {
        self.0 -= duration;
    }
}

impl Sub for LocalInstant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// How long a machine's clock takes, truly, to advance so far: never a moment less, or whoever sleeps until a moment would wake before it.
fn true_duration(local: Duration) -> Duration {
    match current() {
        Some(machine) if machine.clock().rate != TRUE_RATE => scaled(local, TRUE_RATE, machine.clock().rate) + ROUNDING,
        _ => local + ROUNDING,
    }
}

/// What two roundings down may lose.
const ROUNDING: Duration = Duration::from_nanos(2);

/// The runtime of all machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machines;

impl AsyncRuntime for Machines {
    type JoinError = SimJoinError;
    type JoinHandle<T: OptionalSend + 'static> = SimJoinHandle<T>;
    type Sleep = SimSleep;
    type Instant = LocalInstant;
    type TimeoutError = <SimRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = SimTimeout<T>;
    type ThreadLocalRng = <SimRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <SimRuntime as AsyncRuntime>::Mpsc;
    type Watch = <SimRuntime as AsyncRuntime>::Watch;
    type Oneshot = <SimRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <SimRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(task: T) -> SimJoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match current() {
            Some(machine) => machine.spawn(task),
            None => SimRuntime::spawn(task),
        }
    }

    fn sleep(duration: Duration) -> SimSleep {
        SimRuntime::sleep(true_duration(duration))
    }

    fn sleep_until(deadline: LocalInstant) -> SimSleep {
        Self::sleep(deadline - LocalInstant::now())
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> SimTimeout<F> {
        SimRuntime::timeout(true_duration(duration), future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: LocalInstant, future: F) -> SimTimeout<F> {
        Self::timeout(deadline - LocalInstant::now(), future)
    }

    fn is_panic(error: &SimJoinError) -> bool {
        SimRuntime::is_panic(error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        SimRuntime::thread_rng()
    }

    fn new(_threads: usize) -> Self {
        Machines
    }

    /// The simulation itself is run by [`SimRuntime`].
    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        SimRuntime::with_seed(0).block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulate<T>(work: impl Future<Output = T>) -> T {
        SimRuntime::with_seed(0).block_on(work)
    }

    #[test]
    fn a_machine_without_power_does_nothing_more() {
        let done = Arc::new(AtomicBool::new(false));
        let seen = done.clone();
        simulate(async move {
            let machine = Machine::start();
            // What a task spawns is the machine's as well.
            machine.spawn(async move {
                Machines::spawn(async move {
                    Machines::sleep(Duration::from_secs(2)).await;
                    seen.store(true, Ordering::SeqCst);
                });
            });
            sleep(Duration::from_secs(1)).await;
            machine.power_off();
            sleep(Duration::from_secs(9)).await;
        });
        assert!(!done.load(Ordering::SeqCst));
        assert_eq!(Arc::strong_count(&done), 1, "its memory is gone");
    }

    #[test]
    fn a_fast_clock_wakes_its_machine_early_and_never_goes_back() {
        simulate(async {
            let machine = Machine::start();
            machine.set_rate(2 * TRUE_RATE);
            let task = machine.spawn(async {
                let begun = LocalInstant::now();
                Machines::sleep(Duration::from_secs(10)).await;
                LocalInstant::now() - begun
            });
            let slept = task.await.map(|slept| slept.as_millis());
            assert_eq!((slept, true_now().as_millis()), (Ok(10_000), 5_000));
            machine.set_rate(TRUE_RATE / 2);
            let later = machine.spawn(async { LocalInstant::now() }).await;
            assert!(later.is_ok_and(|later| later >= LocalInstant(BEGIN + Duration::from_secs(10))));
        });
    }
}
