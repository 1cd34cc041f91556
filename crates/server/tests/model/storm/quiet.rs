//! What is compared once a storm is over and all has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use respoke_core::event::Presence;
use respoke_core::id::{ConnectionId, EndpointId, GroupName};
use respoke_core::ops::Context;
use respoke_core::page::PageRequest;
use respoke_core::ports::Interest;
use respoke_core::refusal::Refusal;
use respoke_hub::Counts;
use respoke_hub::inspected::{Inspected, Noting, OwnState};
use respoke_hub::ops::{Asker, Message, Publish, Unlimited};
use respoke_wire::bus::InterestHash;
use serde_json::json;

use super::super::doings::raw;
use super::super::home::{endpoint, group};
use super::clients::Shared;
use super::house::Node;
use super::ledger::{Heard, Ledger, Said, SocketNotes, Tale, Thing, To, Worth, YES};
use super::plan::{ENDPOINTS, GROUPS};

/// The nodes that live, each with its number and what it has.
struct Quiet {
    nodes: Vec<(usize, Arc<Node>, Inspected)>,
    /// What all have, and on which node.
    all: BTreeMap<ConnectionId, (usize, OwnState)>,
}

impl Quiet {
    fn of(shared: &Shared) -> Self {
        let living = shared.nodes.lock().clone();
        let living = living.into_iter().enumerate().filter_map(|(number, node)| Some((number, node?)));
        let nodes: Vec<_> = living.map(|(number, node)| (number, node.clone(), node.hub.inspected())).collect();
        let mut all = BTreeMap::new();
        for (number, _, has) in &nodes {
            all.extend(has.own.iter().map(|(id, state)| (*id, (*number, state.clone()))));
        }
        Self { nodes, all }
    }

    fn those(&self, is_meant: impl Fn(&OwnState) -> bool) -> BTreeSet<ConnectionId> {
        self.all.iter().filter(|(_, (_, state))| is_meant(state)).map(|(id, _)| *id).collect()
    }

    fn members(&self, name: &GroupName) -> BTreeSet<ConnectionId> {
        self.those(|state| state.groups.contains(name))
    }

    fn of_endpoint(&self, name: &EndpointId) -> BTreeSet<ConnectionId> {
        self.those(|state| state.endpoint == *name)
    }

    fn observers(&self, name: &EndpointId) -> BTreeSet<ConnectionId> {
        self.those(|state| state.observed.contains(name))
    }
}

/// Compares all that there is.
pub(super) async fn compare(shared: &Shared) -> Result<()> {
    let quiet = Quiet::of(shared);
    is_what_was_asked_for(&shared.ledger.lock(), &quiet)?;
    for (number, node, has) in &quiet.nodes {
        let said = |error: anyhow::Error| error.context(format!("on node {number}"));
        is_counted(&shared.ledger.lock(), *number, node, has).map_err(said)?;
        is_kept(&quiet, has).map_err(said)?;
        is_held(shared, &quiet, node, has).map_err(said)?;
    }
    for (number, node, _) in &quiet.nodes {
        is_answered(shared, &quiet, node).await.map_err(|error| error.context(format!("asked on node {number}")))?;
    }
    let ledger = shared.ledger.lock();
    words_were_heard(&ledger, &quiet)?;
    members_were_told(&ledger, &quiet)?;
    nobody_came_twice(&ledger)?;
    presence_was_told(&ledger, &quiet)?;
    ends_were_told(&ledger, &quiet)
}

fn kind(presence: Option<&Presence>) -> Option<String> {
    presence.map(|presence| serde_json::from_str(presence.kind.get()).unwrap())
}

/// What there is agrees with what was asked for, and what came of that.
fn is_what_was_asked_for(ledger: &Ledger, quiet: &Quiet) -> Result<()> {
    for id in quiet.all.keys() {
        ensure!(ledger.connections.contains_key(id), "nobody made {id}");
    }
    let is_possible = |id: ConnectionId, thing, first, is: Worth| {
        let possible = ledger.possible(id, thing, first);
        ensure!(possible.contains(&is), "{thing:?} of {id} is {is:?}, and may be {possible:?}");
        Ok(())
    };
    for id in ledger.connections.keys().copied().filter(|id| !ledger.is_killed(*id)) {
        let found = quiet.all.get(&id);
        is_possible(id, Thing::There, YES, found.and(YES))?;
        let Some((_, state)) = found else { continue };
        for name in GROUPS {
            is_possible(id, Thing::In(name), None, state.groups.contains(&group(name)).then_some("yes"))?;
        }
        for name in ENDPOINTS {
            is_possible(id, Thing::Observes(name), None, state.observed.contains(&endpoint(name)).then_some("yes"))?;
        }
        let said = kind(state.presence.as_ref());
        let possible = ledger.possible(id, Thing::Says, None);
        ensure!(possible.iter().any(|may| said.as_deref() == *may), "{id} says {said:?}, and may say {possible:?}");
    }
    Ok(())
}

/// What a hub counts is what there is, and it handed out just the frames that were heard.
fn is_counted(ledger: &Ledger, number: usize, node: &Node, has: &Inspected) -> Result<()> {
    let view = node.hub.view();
    let endpoints: BTreeSet<_> = has.own.values().map(|state| &state.endpoint).collect();
    let groups: BTreeSet<_> = has.own.values().flat_map(|state| &state.groups).collect();
    let due = Counts {
        connections: has.own.len(),
        endpoints: endpoints.len(),
        groups: groups.len(),
        members: has.own.values().map(|state| state.groups.len()).sum(),
        observers: has.own.values().map(|state| state.observed.len()).sum(),
    };
    ensure!(view.counts == due, "it counts {:?}, not {due:?}", view.counts);
    let heard = ledger.sockets.iter().filter(|socket| socket.node == number && !socket.killed);
    let heard = heard.map(|socket| socket.heard.len()).sum::<usize>();
    let delivered = view.figures.delivered.load(Ordering::Relaxed);
    ensure!(delivered == heard as u64, "it delivered {delivered} frames, of which {heard} were heard");
    Ok(())
}

/// What a hub keeps of others is what they have.
fn is_kept(quiet: &Quiet, has: &Inspected) -> Result<()> {
    ensure!(has.faults.is_empty(), "{:?}", has.faults);
    ensure!(has.untold == 0, "{} departures are untold", has.untold);
    let mut due: BTreeMap<Interest, usize> = BTreeMap::new();
    for state in has.own.values() {
        let groups = state.groups.iter().map(|group| Interest::Group(state.app_id, group.clone()));
        let observed = state.observed.iter().map(|name| Interest::Observers(state.app_id, name.clone()));
        groups.chain(observed).for_each(|interest| *due.entry(interest).or_default() += 1);
    }
    let kept: BTreeMap<_, _> = has.kept.iter().map(|(interest, kept)| (interest.clone(), kept.count)).collect();
    ensure!(kept == due, "it keeps {kept:?} for {due:?}");
    for (interest, kept) in &has.kept {
        let all = match interest {
            Interest::Group(_, name) => quiet.members(name),
            Interest::Observers(_, name) => quiet.of_endpoint(name),
            Interest::Endpoint(..) | Interest::Tails(..) => bail!("nothing is to be kept of {interest:?}"),
        };
        let there: BTreeMap<_, _> =
            kept.there.iter().map(|(id, (node, said))| (*id, (*node, kind(said.as_ref())))).collect();
        let due: BTreeMap<_, _> = all
            .into_iter()
            .filter(|id| !has.own.contains_key(id))
            .map(|id| {
                let (on, state) = &quiet.all[&id];
                let (_, on, _) = quiet.nodes.iter().find(|(number, ..)| number == on).unwrap();
                let said = if matches!(interest, Interest::Group(..)) {
                    there.get(&id).and_then(|(_, said)| said.clone())
                } else {
                    kind(state.presence.as_ref())
                };
                (id, (on.life, said))
            })
            .collect();
        let (more, less) = (beyond(&there, &due), beyond(&due, &there));
        ensure!(there == due, "of {interest:?} it keeps {more:?} that is not there, and not {less:?}");
        ensure!(kept.is_whole, "{interest:?} is not known of every node");
    }
    Ok(())
}

/// What is in the one and not so in the other.
fn beyond<'a, K: Ord, V: PartialEq>(one: &'a BTreeMap<K, V>, other: &BTreeMap<K, V>) -> Vec<(&'a K, &'a V)> {
    one.iter().filter(|(key, value)| other.get(key) != Some(value)).collect()
}

/// What is held on the bus is what its own connections need, and every other node knows it.
fn is_held(shared: &Shared, quiet: &Quiet, node: &Node, has: &Inspected) -> Result<()> {
    let app = shared.app;
    let mut due: BTreeMap<_, usize> = BTreeMap::new();
    for state in has.own.values() {
        let groups = state.groups.iter().map(|group| Interest::Group(app, group.clone()));
        let observed = state.observed.iter().map(|name| Interest::Observers(app, name.clone()));
        let own = [Interest::Endpoint(app, state.endpoint.clone())];
        for interest in groups.chain(observed).chain(own) {
            *due.entry(interest).or_default() += 1;
        }
    }
    let groups = GROUPS.map(|name| Interest::Group(app, group(name)));
    let endpoints = ENDPOINTS.map(endpoint);
    let of_endpoints = endpoints.map(|name| [Interest::Endpoint(app, name.clone()), Interest::Observers(app, name)]);
    let names: BTreeMap<InterestHash, Interest> = groups
        .into_iter()
        .chain(of_endpoints.into_iter().flatten())
        .map(|interest| ((&interest).into(), interest))
        .collect();
    let held: BTreeMap<_, _> =
        node.carried.held().into_iter().map(|((_, hash), count)| (names[&hash].clone(), count)).collect();
    let (more, less) = (beyond(&held, &due), beyond(&due, &held));
    ensure!(held == due, "it holds {more:?} that nothing needs, and not {less:?}");
    for (number, other, _) in quiet.nodes.iter().filter(|(_, other, _)| other.life != node.life) {
        let known = other.carried.known_of(node.life);
        let known = known.map(|known| known.into_iter().map(|(_, hash)| names[&hash].clone()).collect::<BTreeSet<_>>());
        let due = due.keys().cloned().collect();
        ensure!(known.as_ref() == Some(&due), "node {number} knows it to hold\n{known:#?}\nand that is\n{due:#?}");
    }
    Ok(())
}

fn refused(refusal: Refusal) -> anyhow::Error {
    let code = refusal.code();
    anyhow::Error::new(refusal).context(code)
}

/// Whatever is asked of a node is answered as it is.
async fn is_answered(shared: &Shared, quiet: &Quiet, node: &Node) -> Result<()> {
    let context = Context::internal();
    let mut asker = node.asker(shared.app, &context, &Unlimited);
    let hub = &node.hub;
    let mut names = Vec::new();
    for name in GROUPS.map(group) {
        let members = hub.members(&asker, &name).await.map_err(refused)?;
        let members: BTreeSet<_> = members.iter().map(|member| member.id).collect();
        ensure!(members == quiet.members(&name), "{name} has {members:?}, not {:?}", quiet.members(&name));
        names.extend((!members.is_empty()).then_some(name));
    }
    let groups = hub.groups(&asker, None, 10).await.map_err(refused)?;
    ensure!(groups == names, "groups are {groups:?}, not {names:?}");
    let ids =
        |connections: &[Arc<respoke_hub::Connection>]| connections.iter().map(|found| found.id).collect::<Vec<_>>();
    let every: Vec<_> = quiet.all.keys().copied().collect();
    let connections = ids(&hub.connections(&asker).await.map_err(refused)?);
    ensure!(connections == every, "connections are {connections:?}, not {every:?}");
    let (mut page, mut listed) = (PageRequest { limit: 3, after: None }, Vec::new());
    loop {
        let found = hub.connections_page(&asker, &page).await.map_err(refused)?;
        listed.extend(ids(&found.items));
        page.after = found.next;
        if page.after.is_none() {
            break;
        }
    }
    ensure!(listed == every, "pages have {listed:?}, not {every:?}");
    for name in ENDPOINTS.map(endpoint) {
        asker.endpoint_id = Some(name.clone());
        let states = hub.endpoint_state(&asker).await.map_err(refused)?;
        let states: BTreeMap<_, _> = states
            .into_iter()
            .map(|state| (state.connection.id, (state.groups.into_iter().collect(), kind(state.presence.as_ref()))))
            .collect();
        let due: BTreeMap<_, (BTreeSet<_>, _)> = quiet
            .of_endpoint(&name)
            .into_iter()
            .map(|id| (id, (quiet.all[&id].1.groups.clone(), kind(quiet.all[&id].1.presence.as_ref()))))
            .collect();
        let (more, less) = (beyond(&states, &due), beyond(&due, &states));
        ensure!(states == due, "{name} is answered to have {more:?} that is not so, and not {less:?}");
        let connections: BTreeSet<_> = ids(&hub.connections(&asker).await.map_err(refused)?).into_iter().collect();
        ensure!(connections == quiet.of_endpoint(&name), "{name} has {connections:?}");
        let groups = hub.groups_of(shared.app, &name).await.map_err(refused)?;
        let due: BTreeSet<_> = due.into_values().flat_map(|(groups, _)| groups).collect();
        ensure!(groups.iter().eq(&due), "{name} is in {groups:?}, not {due:?}");
    }
    Ok(())
}

/// Whether something that was said may be for a connection, if it came by then.
fn may_be_for(ledger: &Ledger, said: &Said, id: ConnectionId, came: u64) -> bool {
    let Some(at) = said.at else { return false };
    let was_there = ledger.may_be(id, Thing::There, at, came);
    was_there
        && match said.to {
            To::Group(name) => ledger.may_be(id, Thing::In(name), at, came),
            To::Endpoint(name, only) => ledger.connections[&id].endpoint == name && only.is_none_or(|only| only == id),
        }
}

/// What was said came to whom it was for, once, in order, and to nobody else. What did not come was told to be lost.
fn words_were_heard(ledger: &Ledger, quiet: &Quiet) -> Result<()> {
    let numbers: BTreeMap<_, _> =
        ledger.said.iter().enumerate().map(|(number, said)| (said.text.as_str(), number)).collect();
    for (socket, notes) in ledger.sockets.iter().enumerate().filter(|(_, notes)| !notes.killed) {
        let mut heard = BTreeMap::new();
        for (nth, tale) in notes.heard.iter().enumerate() {
            let Tale::Words(text, is_copy) = &tale.what else { continue };
            let number = numbers[text.as_str()];
            let said = &ledger.said[number];
            ensure!(heard.insert((number, *is_copy), nth).is_none(), "socket {socket} heard {text:?} twice");
            ensure!(said.socket != Some(socket), "socket {socket} heard {text:?}, which it said itself");
            // A connection that its client did not wait for has no name here.
            if !is_copy && !notes.is_left_unnamed {
                let is_due = notes.connections.iter().any(|id| may_be_for(ledger, said, *id, tale.at));
                ensure!(is_due, "socket {socket} heard {text:?} to {:?}, and was not there for it", said.to);
            }
        }
        in_order(ledger, socket, &heard)?;
    }
    for (id, (node, _)) in &quiet.all {
        all_came(ledger, *id, *node)?;
    }
    Ok(())
}

/// Of two things that one client said to the same, one after the other, the first came first, unless it was published past
/// this node.
fn in_order(ledger: &Ledger, socket: usize, heard: &BTreeMap<(usize, bool), usize>) -> Result<()> {
    let SocketNotes { node, opened, .. } = ledger.sockets[socket];
    for ((one, _), one_at) in heard.iter().filter(|((_, is_copy), _)| !is_copy) {
        let first = &ledger.said[*one];
        for ((other, _), other_at) in heard.iter().filter(|((_, is_copy), _)| !is_copy) {
            let second = &ledger.said[*other];
            let is_after = first.socket == second.socket && first.at < second.at;
            // A node that hears late of who joined sends what it said before that behind what it said since.
            let was_before = first.past.contains(&node) || first.at.is_some_and(|at| at < opened);
            let is_late = matches!(first.to, To::Group(_)) && was_before;
            ensure!(
                !is_after || one_at < other_at || is_late,
                "socket {socket} heard {:?} before {:?}, which was said before it",
                second.text,
                first.text
            );
        }
    }
    Ok(())
}

/// Whatever was said to a connection since it is certain that it was there for it has come, or was told to be lost.
fn all_came(ledger: &Ledger, id: ConnectionId, node: usize) -> Result<()> {
    let Some((_, there_since)) = ledger.stays(id, Thing::There) else { return Ok(()) };
    let socket = &ledger.sockets[ledger.connections[&id].socket];
    let missed: Vec<_> = socket.heard.iter().filter(|tale| tale.what == Tale::Missed).map(|tale| tale.at).collect();
    for said in &ledger.said {
        let Some(at) = said.at.filter(|at| *at > there_since) else { continue };
        let is_for = match said.to {
            To::Group(name) => ledger.stays(id, Thing::In(name)).is_some_and(|(_, since)| since < at),
            To::Endpoint(name, only) => ledger.connections[&id].endpoint == name && only.is_none_or(|only| only == id),
        };
        let is_told = said.node != node && missed.iter().any(|missed| *missed > at);
        if !is_for || is_told || said.socket == Some(ledger.connections[&id].socket) {
            continue;
        }
        let came = socket.heard.iter().any(|tale| tale.what == Tale::Words(said.text.clone(), false));
        ensure!(
            came,
            "{id} on node {node} never heard {:?}, which node {} said to {:?}",
            said.text,
            said.node,
            said.to
        );
    }
    Ok(())
}

/// Whoever stays in a group was told of each who came and went, by turns, and knows at the end who is there.
fn members_were_told(ledger: &Ledger, quiet: &Quiet) -> Result<()> {
    for id in quiet.all.keys() {
        let socket = &ledger.sockets[ledger.connections[id].socket];
        if socket.connections.len() > 1 {
            // What was told to which of them is not to be seen.
            continue;
        }
        for name in GROUPS {
            knows_of_itself(ledger, quiet, *id, name)?;
            let Some((from, since)) = ledger.stays(*id, Thing::In(name)) else { continue };
            for (other, noted) in ledger.connections.iter().filter(|(other, _)| *other != id) {
                let told = socket.heard.iter().filter(|tale| tale.at > from).filter_map(|tale| match &tale.what {
                    Tale::Joined(of, who) if who == other && of.as_str() == name => Some((tale.at, true)),
                    Tale::Left(of, who) if who == other && of.as_str() == name => Some((tale.at, false)),
                    _ => None,
                });
                let told: Vec<_> = told.collect();
                let is_member = quiet.all.get(other).is_some_and(|(_, state)| state.groups.contains(&group(name)));
                let what = || format!("{id} in {name} was told of {other} {told:?}, which is a member: {is_member}");
                if let Some((at, false)) = told.first()
                    && ledger.sockets[noted.socket].node == socket.node
                {
                    let first = ledger.first_wished(*id, Thing::In(name)).unwrap_or(from);
                    let may_be = |thing| ledger.may_be(*other, thing, first, *at);
                    ensure!(may_be(Thing::There) && may_be(Thing::In(name)), "of one who went before: {}", what());
                }
                ensure!(told.windows(2).all(|two| two[0].1 != two[1].1), "twice: {}", what());
                match told.last() {
                    Some((_, last)) => ensure!(*last == is_member, "wrong at the end: {}", what()),
                    None if is_member => {
                        let before = ledger.was_wished(*other, Thing::In(name), |worth| worth == YES, since);
                        ensure!(before, "never told: {}", what());
                    }
                    None => {}
                }
            }
        }
    }
    Ok(())
}

/// For as long as somebody is a member it is told of nobody twice in a row that it came, or that it went.
fn nobody_came_twice(ledger: &Ledger) -> Result<()> {
    for (number, socket) in ledger.sockets.iter().enumerate() {
        let [id] = socket.connections[..] else { continue };
        let mut last = BTreeMap::new();
        for tale in &socket.heard {
            let (of, who, came) = match &tale.what {
                Tale::Joined(of, who) => (of, *who, true),
                Tale::Left(of, who) => (of, *who, false),
                _ => continue,
            };
            let Some(name) = GROUPS.into_iter().find(|name| *name == of.as_str()) else { continue };
            if who == id {
                // What it reads late of before it was taken out comes after that was asked for.
                last.retain(|(of, _), _| *of != name);
                continue;
            }
            let before = last.insert((name, who), (tale.at, came));
            let Some((since, _)) = before.filter(|(_, before)| *before == came) else { continue };
            let was_there = [Thing::In(name), Thing::There];
            let was_there = was_there.into_iter().all(|thing| ledger.is_unbroken(id, thing, since, tale.at));
            ensure!(!was_there, "twice in a row: socket {number} in {name} was told of {who} that it came: {came}");
        }
    }
    Ok(())
}

/// Whoever observes an endpoint is told of each connection of it that is gone, if nothing was lost.
fn ends_were_told(ledger: &Ledger, quiet: &Quiet) -> Result<()> {
    for id in quiet.all.keys() {
        let socket = &ledger.sockets[ledger.connections[id].socket];
        if socket.heard.iter().any(|tale| tale.what == Tale::Missed) || ledger.stays(*id, Thing::There).is_none() {
            continue;
        }
        for gone in ledger.connections.keys().filter(|gone| !quiet.all.contains_key(gone) && !ledger.is_killed(**gone))
        {
            let is_told =
                |tale: &Heard| matches!(&tale.what, Tale::Said(who, kind) if who == gone && kind == "unavailable");
            let is_due = ledger.hears_of_end(*id, *gone);
            ensure!(!is_due || socket.heard.iter().any(is_told), "{id} was never told that {gone} is gone");
        }
    }
    Ok(())
}

/// Whoever is let join or leave by others is told so.
fn knows_of_itself(ledger: &Ledger, quiet: &Quiet, id: ConnectionId, name: &'static str) -> Result<()> {
    let socket = &ledger.sockets[ledger.connections[&id].socket];
    let told = socket.heard.iter().filter_map(|tale| match &tale.what {
        Tale::Joined(of, who) if *who == id && of.as_str() == name => Some((tale.at, true)),
        Tale::Left(of, who) if *who == id && of.as_str() == name => Some((tale.at, false)),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    let is_member = quiet.all[&id].1.groups.contains(&group(name));
    let takes_itself = ledger.takes_itself_for_member(id, name, &told);
    ensure!(
        takes_itself.is_none_or(|takes_itself| takes_itself == is_member),
        "{id} takes itself for a member of {name}: {takes_itself:?}, told {told:?}, and it is: {is_member}"
    );
    Ok(())
}

/// Whoever observes an endpoint knows at the end what each of its connections says, and of none that is gone that it says
/// anything.
fn presence_was_told(ledger: &Ledger, quiet: &Quiet) -> Result<()> {
    for id in quiet.all.keys() {
        let socket = &ledger.sockets[ledger.connections[id].socket];
        if socket.connections.len() > 1 {
            continue;
        }
        for name in ENDPOINTS {
            let Some((from, _)) = ledger.stays(*id, Thing::Observes(name)) else { continue };
            for (other, noted) in ledger.connections.iter().filter(|(other, _)| *other != id) {
                if noted.endpoint != name {
                    continue;
                }
                let mut told = socket.heard.iter().filter(|tale| tale.at > from).filter_map(|tale| match &tale.what {
                    Tale::Said(who, kind) if who == other => Some(kind.as_str()),
                    _ => None,
                });
                let said = quiet.all.get(other).and_then(|(_, state)| kind(state.presence.as_ref()));
                let (last, is) = (told.next_back().unwrap_or("unavailable"), said.as_deref().unwrap_or("unavailable"));
                ensure!(last == is, "{id} was told last that {other} of {name} is {last}, and it is {is}");
            }
        }
    }
    Ok(())
}

/// Says something to everybody once more, from every node: it comes to whom it is for, and is charged for as many.
pub(super) async fn probe(shared: &Shared) -> Result<()> {
    let quiet = Quiet::of(shared);
    let mut due = Vec::new();
    for (number, node, _) in &quiet.nodes {
        let (context, noting) = (Context::internal(), Noting::default());
        let asker = node.asker(shared.app, &context, &noting);
        let paid_for = |what: &str, due: usize| {
            let frames = noting.take_frames();
            ensure!(frames == due as u64, "on node {number} {what} is charged for {frames} of {due}");
            Ok(())
        };
        for name in GROUPS {
            let (text, for_whom) = (format!("probe of {name} from {number}"), quiet.members(&group(name)));
            let request = Publish { message: raw(&json!(text)), persist: false, once: None };
            node.hub.publish(&asker, &group(name), request).await.map_err(refused)?;
            paid_for(&format!("what is said to {name}"), for_whom.len())?;
            due.push((text, for_whom));
        }
        for name in ENDPOINTS {
            let (text, for_whom) = (format!("probe of {name} from {number}"), quiet.of_endpoint(&endpoint(name)));
            let (to, body) = (endpoint(name), raw(&json!(text)));
            let message = Message { to, to_connection: None, body, cc_self: false, once: None };
            node.hub.send(&asker, message).await.map_err(refused)?;
            paid_for(&format!("what is said to {name}"), for_whom.len())?;
            due.push((text, for_whom));
        }
        // Somebody of another node is to say something.
        if let Some((id, (_, state))) = quiet.all.iter().find(|(_, (on, _))| on != number) {
            let asker = Asker { connection_id: Some(*id), ..asker };
            let presence = Presence { kind: raw(&json!(format!("probe {number}"))), show: None, status: None };
            node.hub.set_presence(&asker, presence).await.map_err(refused)?;
            paid_for("a presence", quiet.observers(&state.endpoint).len())?;
        }
    }
    {
        // Probes are no part of what was said.
        let mut ledger = shared.ledger.lock();
        ledger.said.extend(due.iter().map(|(text, _)| Said::probe(text.clone())));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ledger = shared.ledger.lock();
    for id in quiet.all.keys() {
        let socket = &ledger.sockets[ledger.connections[id].socket];
        for (text, for_whom) in &due {
            let times = socket.heard.iter().filter(|tale| tale.what == Tale::Words(text.clone(), false)).count();
            ensure!(times == usize::from(for_whom.contains(id)), "{id} heard {text:?} {times} times");
        }
    }
    drop(ledger);
    for (number, _, has) in &Quiet::of(shared).nodes {
        let quiet = Quiet::of(shared);
        is_kept(&quiet, has).map_err(|error| error.context(format!("on node {number}, after the probes")))?;
    }
    Ok(())
}

/// Everybody went: nothing is left.
pub(super) fn is_empty(shared: &Shared) -> Result<()> {
    for (number, node, has) in Quiet::of(shared).nodes {
        let held = node.carried.held();
        let is_empty = has.own.is_empty() && has.kept.is_empty() && has.faults.is_empty() && has.untold == 0;
        ensure!(is_empty && held.is_empty(), "node {number} still has {has:?} and holds {held:?}");
    }
    Ok(())
}
