//! What differs between the present and the past, and in which order it is changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kontiki_kinds::{Deletion, KINDS, Kind, KindRef, Kinds, by_storage_resource, quota::concerns};
use kontiki_model::{Head, Key, Revision, Scope, Status};
use kontiki_raft::{Expect, ListOptions, Mutation, ReadError, Stored, backup::Archive};
use serde_json::Value;

use super::{
    compare::{Becomes, compare},
    refused,
    selection::{Judged, Selection},
};
use crate::{
    admission::NAMESPACES,
    core::Core,
    failure, limits,
    rest::{
        View,
        claims::{self, Holding},
        object::{self, Sealed},
        plan::Change,
        store::read_failed,
    },
};

const QUOTAS: &str = "resourcequotas";

/// Everything that differs, and what is left alone.
#[derive(Default)]
pub struct Plan {
    /// Those of the present, and those that come back.
    pub kinds: Kinds,
    /// In the order in which it is changed.
    pub differences: Vec<Difference>,
    pub unchanged: usize,
    /// How many objects are left as they are, by reason.
    pub left: BTreeMap<&'static str, usize>,
    /// What cannot be restored, and why.
    pub refused: Vec<(Key, String)>,
}

pub struct Difference {
    pub key: Key,
    pub action: Action,
    pub uid: String,
    /// The revisions of the object now and then.
    pub present: Option<Revision>,
    pub past: Option<Revision>,
    sealed: Option<Sealed>,
    /// Values that only one object may hold (addresses, ports), and what tells of them.
    takes: Vec<Taken>,
    gives_back: Vec<(Key, Revision)>,
    /// What the first step of a replacement gives back: between the two nobody holds it.
    frees: Vec<(Key, Revision)>,
    /// Its namespace in this revision, where the object comes into one that is there: that must not begin to end meanwhile.
    home: Option<(Key, Revision)>,
    /// Its namespace, as it is now, where the object changes what writes in there are held against.
    rebounds: Option<(Key, Option<Stored>)>,
    /// Quotas that forget what is used, because what comes back is charged to nobody.
    forgets: Vec<(Key, Revision, Sealed)>,
    kind: KindRef,
    /// Position in the order; see [`rank`].
    rank: (u8, usize),
}

/// What an object holds that it does not hold now.
struct Taken {
    key: Key,
    holding: Holding,
    /// The revision of what is there then.
    held: Option<Revision>,
}

impl Taken {
    /// It is somebody else's, unless they give it back.
    fn is_held(&self) -> bool {
        self.held.is_some() && !self.holding.is_told
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Create,
    Update,
    Replace,
    Delete,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Update => "update",
            Action::Replace => "replace",
            Action::Delete => "delete",
        }
    }
}

impl Plan {
    /// Compares. Reads the disk for as long as that takes.
    pub fn make(core: &Core, archive: &Archive, to: Revision, selection: &Selection) -> Result<Plan, Status> {
        let past = archive.keys_at(to).map_err(|error| refused(&error))?;
        let (present, _) = core.log.keys().map_err(|error| read_failed(&error))?;
        let selection = selection.and_past(archive, to, &past)?;
        let view = View::of(&core.log, true);
        let mut plan = Plan { kinds: selection.known().clone(), ..Plan::default() };
        let homes = homes();
        let is_known = |name: &str| {
            let home = Key::new(homes.as_str(), "", name);
            past.contains_key(&home) || present.contains_key(&home)
        };
        if let Some(unknown) = selection.namespaces().find(|name| !is_known(name)) {
            let message = format!("there is no namespace {unknown:?}, neither now nor at revision {to}");
            return Err(failure::bad_request(message));
        }
        // What is in them was on its way out with them.
        let mut closing = BTreeSet::new();
        for key in past.keys().filter(|key| key.resource == homes) {
            let was = match archive.get_at(key, to) {
                Ok(was) => was,
                // Told of below, where it is restored too.
                Err(ReadError::Compacted { .. } | ReadError::Sealed(_)) => continue,
                Err(error) => return Err(read_failed(&error)),
            };
            closing.extend(was.filter(|was| was.head.deletion.is_some()).map(|_| key.name.as_str()));
        }
        let keys: BTreeSet<&Key> = past.keys().chain(present.keys()).collect();
        for key in keys {
            let kind = match selection.judge(key) {
                Judged::Restored(kind) => kind,
                Judged::Outside => continue,
                Judged::Left(why) => {
                    *plan.left.entry(why).or_default() += 1;
                    continue;
                }
            };
            let was = match past.contains_key(key).then(|| archive.get_at(key, to)).transpose() {
                Ok(was) => was.flatten(),
                Err(ReadError::Compacted { .. }) => {
                    *plan.left.entry("what the snapshot no longer knows").or_default() += 1;
                    continue;
                }
                Err(ReadError::Sealed(unopened)) => {
                    plan.refused.push((key.clone(), format!("in the snapshot, {unopened}")));
                    continue;
                }
                Err(error) => return Err(read_failed(&error)),
            };
            let is = core.stored(key)?;
            // It would only be taken away again.
            if closing.contains(key.namespace.as_str()) || is_gone_from_going(is.as_ref(), was.as_ref()) {
                *plan.left.entry("what was being deleted then").or_default() += 1;
                continue;
            }
            match compare(&kind, is.as_ref(), was.as_ref())? {
                None => plan.unchanged += 1,
                Some(Becomes::Deleted) if kind.needs(&key.name) => {
                    *plan.left.entry("what the cluster does not work without").or_default() += 1;
                }
                Some(becomes) => {
                    plan.differences.push(difference(&view, &kind, key, (is.as_ref(), was.as_ref()), becomes)?);
                }
            }
        }
        plan.refuse_homeless(core);
        plan.settle_claims(core);
        plan.order();
        plan.recount(core)?;
        Ok(plan)
    }

    /// An address that came back must not be somebody else's by now.
    fn settle_claims(&mut self, core: &Core) {
        // What is refused gives nothing back, which others may have counted on.
        loop {
            let freed: BTreeSet<Key> = self.differences.iter().flat_map(|one| keys(&one.frees)).cloned().collect();
            for taken in self.differences.iter_mut().flat_map(|one| &mut one.takes) {
                let there = core.log.head(&taken.key).map(|(revision, _)| revision);
                taken.held = there.filter(|_| !freed.contains(&taken.key));
            }
            let Some(blocked) = self.blocked() else { break };
            let difference = self.differences.remove(blocked);
            let held = difference.takes.iter().filter(|taken| taken.is_held());
            let names: BTreeSet<_> = held.map(|taken| taken.key.name.as_str()).collect();
            let why = format!("another object holds {} now", names.into_iter().collect::<Vec<_>>().join(", "));
            self.refused.push((difference.key, why));
        }
        let takes = self.differences.iter().flat_map(|one| &one.takes);
        let taken: BTreeSet<Key> = takes.map(|taken| taken.key.clone()).collect();
        for difference in &mut self.differences {
            // What another object takes over is written once, by that one.
            difference.gives_back.retain(|(key, _)| !taken.contains(key));
        }
    }

    /// A later look may refuse what an earlier one meant to do: what it needs is somebody else's by then.
    pub fn amend(&mut self, later: Plan) {
        let news = later.refused.into_iter().filter(|(key, _)| !self.refused.iter().any(|(known, _)| known == key));
        let news: Vec<_> = news.collect();
        self.differences.retain(|one| !news.iter().any(|(key, _)| *key == one.key));
        self.refused.extend(news);
    }

    /// The first that takes what nobody gives back.
    fn blocked(&self) -> Option<usize> {
        let given_back: BTreeSet<&Key> = self.differences.iter().flat_map(|one| keys(&one.gives_back)).collect();
        let blocked =
            |one: &Difference| one.takes.iter().any(|taken| taken.is_held() && !given_back.contains(&taken.key));
        self.differences.iter().position(blocked)
    }

    /// Nothing comes back into a namespace that is neither there to stay nor comes back.
    fn refuse_homeless(&mut self, core: &Core) {
        let resource = homes();
        let is_namespace = |one: &&Difference| one.key.resource == resource && one.sealed.is_some();
        let coming: BTreeSet<String> =
            self.differences.iter().filter(is_namespace).map(|one| one.key.name.clone()).collect();
        for mut one in std::mem::take(&mut self.differences) {
            let namespace = one.key.namespace.as_str();
            if one.sealed.is_none() || namespace.is_empty() || coming.contains(namespace) {
                self.differences.push(one);
                continue;
            }
            let home = Key::new(resource.as_str(), "", namespace);
            let why = match core.log.head(&home) {
                None => "its namespace is not there; restore the Namespace as well",
                Some((_, head)) if one.is_new() && head.deletion.is_some() => {
                    "its namespace is being deleted; restore the Namespace as well"
                }
                Some((revision, _)) => {
                    one.home = one.is_new().then_some((home, revision));
                    self.differences.push(one);
                    continue;
                }
            };
            self.refused.push((one.key, why.to_owned()));
        }
    }

    fn order(&mut self) {
        let owners: HashMap<&str, &Head> =
            self.differences.iter().filter_map(|one| Some((one.uid.as_str(), &one.sealed.as_ref()?.head))).collect();
        let ranks: Vec<_> = self.differences.iter().map(|one| rank(one, &owners)).collect();
        for (difference, rank) in self.differences.iter_mut().zip(ranks) {
            difference.rank = rank;
        }
        self.differences.sort_by(|left, right| (left.rank, &left.key).cmp(&(right.rank, &right.key)));
    }

    /// What comes back is charged to nobody. So the quotas that bound it do not know any more what is used: until the quota
    /// controller has counted, nothing is let in that uses more. They forget with the last that comes into their namespace.
    fn recount(&mut self, core: &Core) -> Result<(), Status> {
        let declared = by_storage_resource(QUOTAS).expect("quotas are a kind of the list");
        let mut coming: BTreeMap<String, (usize, Vec<KindRef>)> = BTreeMap::new();
        for (place, one) in self.differences.iter_mut().enumerate() {
            if one.key.resource == QUOTAS
                && let Some(sealed) = &mut one.sealed
            {
                *sealed = forgetful(declared, &sealed.body)?.unwrap_or_else(|| sealed.clone());
            } else if one.is_new() && one.kind.measure.is_some() && !one.key.namespace.is_empty() {
                let (last, kinds) = coming.entry(one.key.namespace.clone()).or_default();
                *last = place;
                if !kinds.iter().any(|kind| kind.storage_resource() == one.key.resource) {
                    kinds.push(one.kind.clone());
                }
            }
        }
        let written: BTreeSet<Key> = self.differences.iter().map(|one| one.key.clone()).collect();
        for (namespace, (last, kinds)) in coming {
            let scope = Scope { resource: QUOTAS.to_owned(), namespace: Some(namespace) };
            let quotas = core.log.list(&scope, ListOptions::default()).map_err(|error| read_failed(&error))?;
            for quota in quotas.items.iter().filter(|quota| !written.contains(&quota.key)) {
                let bounds = tree(&quota.body)?;
                if !kinds.iter().any(|kind| concerns(&bounds, kind)) {
                    continue;
                }
                if let Some(sealed) = forgetful(declared, &quota.body)? {
                    self.differences[last].forgets.push((quota.key.clone(), quota.revision, sealed));
                }
            }
        }
        Ok(())
    }

    /// The commands that make it so, in order. One, wherever that is possible.
    pub fn commands(&self) -> Vec<Change> {
        let mut commands = Packer::default();
        // A name can change hands only in two steps: a command touches a key once.
        for replaced in self.differences.iter().filter(|one| one.action == Action::Replace) {
            commands.add(replaced.deletion(), None);
        }
        commands.end();
        for difference in &self.differences {
            commands.add(difference.change(), difference.home.as_ref());
        }
        commands.end();
        commands.done
    }
}

/// Where the objects are that others live in.
fn homes() -> String {
    let kind = KINDS.iter().find(|kind| kind.deletion == Deletion::SpecFinalizers);
    kind.map(|kind| kind.storage_resource()).unwrap_or_default()
}

/// Whether an object was being deleted then, and is not there any more.
fn is_gone_from_going(is: Option<&Stored>, was: Option<&Stored>) -> bool {
    was.is_some_and(|was| was.head.deletion.is_some() && is.is_none_or(|is| is.head.uid != was.head.uid))
}

/// Cluster-scoped objects first, then owners before what they own; then removals, the other way round.
fn rank(difference: &Difference, owners: &HashMap<&str, &Head>) -> (u8, usize) {
    let cluster = difference.key.namespace.is_empty();
    let Some(sealed) = &difference.sealed else { return (if cluster { 3 } else { 2 }, 0) };
    let (mut depth, mut head) = (0, Some(&sealed.head));
    while let Some(one) = head.filter(|_| depth < limits::OWNERS_DEPTH_MAX) {
        head = one.owners.iter().find_map(|owner| owners.get(owner.uid.as_str()).copied());
        depth += 1;
    }
    (u8::from(!cluster), depth)
}

/// A quota that does not know what is used, if it did.
fn forgetful(kind: &'static Kind, body: &[u8]) -> Result<Option<Sealed>, Status> {
    let mut quota = tree(body)?;
    let status = quota.get_mut("status").and_then(Value::as_object_mut);
    if status.and_then(|status| status.shift_remove("used")).is_none() {
        return Ok(None);
    }
    object::seal_as_it_is(kind, quota).map(Some)
}

fn tree(body: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(failure::internal)
}

fn keys(seen: &[(Key, Revision)]) -> impl Iterator<Item = &Key> {
    seen.iter().map(|(key, _)| key)
}

fn difference(
    view: &View<'_>,
    kind: &KindRef,
    key: &Key,
    (is, was): (Option<&Stored>, Option<&Stored>),
    becomes: Becomes,
) -> Result<Difference, Status> {
    let (action, sealed) = match becomes {
        Becomes::Created(sealed) => (Action::Create, Some(sealed)),
        Becomes::Updated(sealed) => (Action::Update, Some(sealed)),
        Becomes::Replaced(sealed) => (Action::Replace, Some(sealed)),
        Becomes::Deleted => (Action::Delete, None),
    };
    let (is_tree, becomes) =
        (is.map(|is| tree(&is.body)).transpose()?, sealed.as_ref().map(|sealed| tree(&sealed.body)).transpose()?);
    let held = is_tree.as_ref().map(|is| claims::held(view, kind, is)).transpose()?.unwrap_or_default();
    let wanted = becomes.as_ref().map(|becomes| claims::holdings(view, kind, becomes)).transpose()?.unwrap_or_default();
    // What it holds and goes on holding is not touched, unless it is another object that holds it then.
    let same = action == Action::Update;
    let goes_on = |key: &Key| same && wanted.contains_key(key);
    let gives_back: Vec<_> = held.iter().filter(|(key, _)| !goes_on(key)).cloned().collect();
    let takes = wanted.into_iter().filter(|(key, _)| !(same && keys(&held).any(|held| held == key)));
    let takes = takes.map(|(key, holding)| Taken { key, holding, held: None }).collect();
    let (frees, gives_back) = match action {
        Action::Replace => (gives_back, Vec::new()),
        Action::Create | Action::Update | Action::Delete => (Vec::new(), gives_back),
    };
    let rebounds = match &becomes {
        Some(becomes) if (kind.rebounds)(becomes, is_tree.as_ref().filter(|_| same)) => {
            let namespace = Key::new(NAMESPACES.resource, "", &*key.namespace);
            let present = view.get(&namespace).map_err(|error| read_failed(&error))?;
            Some((namespace, present))
        }
        Some(_) | None => None,
    };
    let uid = sealed.as_ref().map(|sealed| &sealed.head.uid).or(is.map(|is| &is.head.uid));
    Ok(Difference {
        key: key.clone(),
        action,
        uid: uid.cloned().unwrap_or_default(),
        present: is.map(|is| is.revision),
        past: was.map(|was| was.revision),
        sealed,
        takes,
        gives_back,
        frees,
        home: None,
        rebounds,
        forgets: Vec::new(),
        kind: kind.clone(),
        rank: (0, 0),
    })
}

impl Difference {
    fn expected(&self) -> Expect {
        self.present.map_or(Expect::Absent, Expect::Revision)
    }

    /// Whether it comes into its namespace.
    fn is_new(&self) -> bool {
        matches!(self.action, Action::Create | Action::Replace)
    }

    /// The first step of a replacement.
    fn deletion(&self) -> Change {
        let mut change = Change::default();
        change.expect(&self.key, self.expected());
        change.mutations.push(Mutation::Delete { key: self.key.clone(), last: None });
        give_back(&self.frees, &mut change);
        change
    }

    fn change(&self) -> Change {
        let mut change = Change::default();
        let expected = if self.action == Action::Replace { Expect::Absent } else { self.expected() };
        change.expect(&self.key, expected);
        match &self.sealed {
            Some(sealed) => change.put(&self.key, sealed),
            None => change.mutations.push(Mutation::Delete { key: self.key.clone(), last: None }),
        }
        for Taken { key, holding, held } in &self.takes {
            change.expect(key, held.map_or(Expect::Absent, Expect::Revision));
            if held.is_none() || !holding.is_told {
                change.put(key, &holding.holder);
            }
        }
        give_back(&self.gives_back, &mut change);
        for (key, revision, sealed) in &self.forgets {
            change.expect(key, Expect::Revision(*revision));
            change.put(key, sealed);
        }
        if let Some((key, present)) = self.rebounds.clone() {
            change.renew(key, present);
        }
        change
    }
}

fn give_back(seen: &[(Key, Revision)], change: &mut Change) {
    for (key, revision) in seen {
        change.expect(key, Expect::Revision(*revision));
        change.mutations.push(Mutation::Delete { key: key.clone(), last: None });
    }
}

/// Puts as much into one command as it may hold.
#[derive(Default)]
struct Packer {
    done: Vec<Change>,
    open: Change,
    bytes: usize,
    /// Namespaces that the open command relies on: once for all that comes into one.
    homes: BTreeSet<Key>,
}

impl Packer {
    fn add(&mut self, change: Change, home: Option<&(Key, Revision)>) {
        let renewed: usize = change.renewals.values().flatten().map(|present| bytes_of(present.body.len())).sum();
        let bytes: usize = renewed + change.mutations.iter().map(bytes).sum::<usize>();
        let parts = |change: &Change| change.mutations.len().max(change.preconditions.len()) + change.renewals.len();
        let (parts, open) = (parts(&change) + 1, parts(&self.open));
        if open + parts > limits::RESTORE_COMMAND_PARTS_MAX || self.bytes + bytes > limits::RESTORE_COMMAND_BYTES_MAX {
            self.end();
        }
        self.bytes += bytes;
        if let Some((home, revision)) = home
            && self.homes.insert(home.clone())
        {
            self.open.expect(home, Expect::Revision(*revision));
        }
        self.open.preconditions.extend(change.preconditions);
        self.open.mutations.extend(change.mutations);
        change.renewals.into_iter().for_each(|(key, present)| self.open.renew(key, present));
    }

    fn end(&mut self) {
        if !self.open.mutations.is_empty() {
            self.open.settle();
            self.done.push(std::mem::take(&mut self.open));
        }
        self.homes.clear();
        self.bytes = 0;
    }
}

/// At most so much: what a head holds is also in the body.
fn bytes(mutation: &Mutation) -> usize {
    match mutation {
        Mutation::Put { body, .. } => bytes_of(body.len()),
        Mutation::Delete { .. } => bytes_of(0),
    }
}

fn bytes_of(body: usize) -> usize {
    const AROUND: usize = 1024;
    AROUND + 2 * body
}
