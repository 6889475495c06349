//! The simulated network: messages are lost, delayed, overtaken and doubled, and links are cut, one way or both.

use std::sync::Arc;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use kontiki_raft::simulation::runtime::AsyncRuntime;
use kontiki_raft::simulation::{Answer, Request, Wire};
use openraft_rt_sim::SimRuntime;

use super::limits::ANSWER_TIMEOUT;
use super::runtime::{Machines, sleep};
use super::world::World;

pub struct SimulatedNetwork(pub World);

type Reply = Result<Answer<Machines>, String>;

impl Wire<Machines> for SimulatedNetwork {
    fn ask(&self, from: u64, to: u64, request: Request<Machines>) -> BoxFuture<'static, Reply> {
        let world = self.0.clone();
        async move {
            if let Some((term, leader)) = request.leader() {
                let verdict = world.state().leaders.saw(term, leader);
                world.judge(verdict);
            }
            let (answer, answered) = oneshot::channel();
            // What is on its way arrives whatever becomes of its sender.
            SimRuntime::spawn(deliver(world, from, to, request, answer));
            match SimRuntime::timeout(ANSWER_TIMEOUT, answered).await {
                Ok(Ok(reply)) => reply,
                Ok(Err(_)) | Err(_) => Err(format!("no answer from server {to}")),
            }
        }
        .boxed()
    }
}

async fn deliver(world: World, from: u64, to: u64, request: Request<Machines>, answer: oneshot::Sender<Reply>) {
    let there = world.fate(from, to);
    if there.lost {
        // The asker waits in vain, and for as long as it likes.
        return sleep(ANSWER_TIMEOUT).await;
    }
    sleep(there.delay).await;
    let Some((machine, replica)) = world.server(to) else { return };
    if request.name() != "heartbeat" {
        world.note(format!("{from} -> {to} {}", request.name()));
    }
    if let Request::Snapshot(_, snapshot) = &request
        && let Some(server) = world.state().servers.get_mut(&to)
    {
        server.installed.insert(snapshot.manifest().revision);
    }
    let replica = Arc::new(replica);
    if there.twice {
        let (again, request) = (replica.clone(), request.clone());
        machine.spawn(async move { drop(again.serve(request).await) });
    }
    let (done, served) = oneshot::channel();
    machine.spawn(async move { drop(done.send(replica.serve(request).await)) });
    let Ok(reply) = served.await else { return };
    let back = world.fate(to, from);
    if !back.lost {
        sleep(back.delay).await;
        // Whoever asked may have gone.
        _ = answer.send(reply);
    }
}
