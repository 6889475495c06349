//! ServiceCIDRs: taken into use when they are made, and kept, when they are deleted, for as long as an address of theirs is held that
//! no other range has. The API server gives out addresses of those that are ready, and none of one that goes.

use std::net::IpAddr;

use k8s_openapi::{
    api::networking::v1::{IPAddress, ServiceCIDR},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kontiki_informer::{Change, Informer, ObjectKey, Queue};
use kontiki_kinds::names::{network, parse_cidr};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::{
    ControllerError,
    context::{Context, gone_is_fine, settled},
    protection,
};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const READY: &str = "Ready";

/// What a range is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is new: nothing must be given out of it that could be pulled away from under its holder.
    Protect,
    Ready,
    /// It is to go, but somebody holds an address of it.
    Held,
    Release,
    Nothing,
}

#[derive(Clone)]
struct Controller {
    context: Context,
    ranges: Informer<ServiceCIDR>,
    queue: Queue<ObjectKey>,
}

pub async fn run(context: Context) {
    let queue: Queue<ObjectKey> = Queue::default();
    let of_range = queue.clone();
    let ranges = context.informer::<ServiceCIDR>(vec![Box::new(move |change: &Change<ServiceCIDR>| {
        if let Some(range) = &change.new {
            of_range.add(ObjectKey::of(&**range));
        }
    })]);
    let (gone, of_address) = (ranges.clone(), queue.clone());
    let addresses = context.informer::<IPAddress>(vec![Box::new(move |change: &Change<IPAddress>| {
        if change.new.is_none() {
            look_at_going(&gone, &of_address);
        }
    })]);
    if !ranges.synced().await || !addresses.synced().await {
        return;
    }
    let controller = Controller { context, ranges, queue: queue.clone() };
    let cancel = controller.context.cancel.clone();
    queue
        .drain(1, cancel, move |key| {
            let controller = controller.clone();
            async move { settled("servicecidr", &key, controller.reconcile(&key).await) }
        })
        .await;
}

/// What they wait for may have come.
fn look_at_going(ranges: &Informer<ServiceCIDR>, queue: &Queue<ObjectKey>) {
    let all = ranges.list(None);
    let going = all.iter().filter(|range| range.metadata.deletion_timestamp.is_some());
    going.for_each(|range| queue.add(ObjectKey::of(&**range)));
}

impl Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        let Some(range) = self.ranges.get(key) else { return Ok(()) };
        let client = self.context.clients.caused_by(range.resource_version().as_deref());
        let api: Api<ServiceCIDR> = Api::all(client.clone());
        // Of the API itself: a copy may not know the last address yet.
        let (others, addresses) = match range.metadata.deletion_timestamp {
            None => (Vec::new(), Vec::new()),
            Some(_) => {
                let others = api.list(&ListParams::default()).await?.items;
                (others, Api::<IPAddress>::all(client).list(&ListParams::default()).await?.items)
            }
        };
        let name = range.name_any();
        match decide(&range, &others, &addresses) {
            Verdict::Nothing => {
                if range.metadata.deletion_timestamp.is_none() {
                    look_at_going(&self.ranges, &self.queue);
                }
                Ok(())
            }
            Verdict::Release => protection::release(&api, &*range, FINALIZER).await,
            Verdict::Protect => {
                let finalizers: Vec<&str> = range.finalizers().iter().map(String::as_str).chain([FINALIZER]).collect();
                let version = range.resource_version();
                let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
                gone_is_fine(api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await)?;
                Ok(())
            }
            verdict @ (Verdict::Ready | Verdict::Held) => {
                let conditions = conditions(&range, &condition(verdict == Verdict::Ready));
                let version = range.resource_version();
                let patch = json!({"metadata": {"resourceVersion": version}, "status": {"conditions": conditions}});
                gone_is_fine(api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await)?;
                Ok(())
            }
        }
    }
}

fn decide(range: &ServiceCIDR, others: &[ServiceCIDR], addresses: &[IPAddress]) -> Verdict {
    let protected = range.finalizers().iter().any(|one| one == FINALIZER);
    let said = |wanted: &str| {
        let conditions = range.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == READY && condition.status == wanted)
    };
    match (range.metadata.deletion_timestamp.is_some(), protected) {
        (true, false) => Verdict::Nothing,
        (true, true) if !is_needed(range, others, addresses) => Verdict::Release,
        (true, true) if said("False") => Verdict::Nothing,
        (true, true) => Verdict::Held,
        (false, false) => Verdict::Protect,
        (false, true) if said("True") => Verdict::Nothing,
        (false, true) => Verdict::Ready,
    }
}

/// Whether somebody holds an address that only this range has.
fn is_needed(range: &ServiceCIDR, others: &[ServiceCIDR], addresses: &[IPAddress]) -> bool {
    let stays =
        |other: &&ServiceCIDR| other.metadata.uid != range.metadata.uid && other.metadata.deletion_timestamp.is_none();
    let held = addresses.iter().filter_map(|address| address.name_any().parse::<IpAddr>().ok());
    held.filter(|address| has(range, *address)).any(|address| !others.iter().filter(stays).any(|one| has(one, address)))
}

fn has(range: &ServiceCIDR, address: IpAddr) -> bool {
    let blocks = range.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten()).filter_map(|block| parse_cidr(block));
    blocks.into_iter().any(|(base, length)| base.is_ipv4() == address.is_ipv4() && network(address, length) == base)
}

fn condition(ready: bool) -> Condition {
    let (status, reason, message) = match ready {
        true => ("True", "", "Kubernetes Service CIDR is ready"),
        false => (
            "False",
            "Terminating",
            "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
        ),
    };
    Condition {
        last_transition_time: Time(Timestamp::now()),
        message: message.to_owned(),
        observed_generation: None,
        reason: reason.to_owned(),
        status: status.to_owned(),
        type_: READY.to_owned(),
    }
}

/// With those of others.
fn conditions(range: &ServiceCIDR, own: &Condition) -> Vec<Condition> {
    let known = range.status.iter().flat_map(|status| status.conditions.iter().flatten());
    known.filter(|condition| condition.type_ != READY).chain([own]).cloned().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;

    use super::*;

    fn range(name: &str, block: &str, rest: Value) -> ServiceCIDR {
        let mut object = json!({"metadata": {"name": name, "uid": name}, "spec": {"cidrs": [block]}});
        for (member, value) in rest.as_object().unwrap() {
            match member.as_str() {
                "ready" => {
                    object["status"] = json!({"conditions": [{"type": "Ready", "status": value, "message": "",
                    "reason": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
                }
                member => object["metadata"][member] = value.clone(),
            }
        }
        serde_json::from_value(object).unwrap()
    }

    fn address(name: &str) -> IPAddress {
        serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
    }

    #[test]
    fn a_range_is_protected_before_it_is_ready_and_stays_while_it_is_needed() {
        let protected = json!([FINALIZER]);
        let going = |ready: &str| {
            let when = "2026-01-01T00:00:00Z";
            range("a", "10.1.0.0/28", json!({"finalizers": protected, "deletionTimestamp": when, "ready": ready}))
        };
        let wider = |rest: Value| range("b", "10.1.0.0/16", rest);
        let held = [address("10.1.0.7"), address("fd00::1")];
        let cases = [
            (range("a", "10.1.0.0/28", json!({})), vec![], Verdict::Protect),
            (range("a", "10.1.0.0/28", json!({"finalizers": protected})), vec![], Verdict::Ready),
            (range("a", "10.1.0.0/28", json!({"finalizers": protected, "ready": "True"})), vec![], Verdict::Nothing),
            (going("True"), vec![], Verdict::Held),
            (going("True"), vec![going("True")], Verdict::Held),
            (going("False"), vec![], Verdict::Nothing),
            (going("True"), vec![wider(json!({}))], Verdict::Release),
            (going("True"), vec![wider(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}))], Verdict::Held),
        ];
        for (range, others, expected) in cases {
            assert_eq!(decide(&range, &others, &held), expected, "{range:?} beside {others:?}");
        }
        for elsewhere in ["10.1.0.16", "10.0.255.255"] {
            assert_eq!(decide(&going("True"), &[], &[address(elsewhere)]), Verdict::Release, "{elsewhere}");
        }
    }
}
