//! A connection that moves, and what comes of it in another order than it was said.

use respoke_core::ports::Moved;

use super::*;

const JO: u8 = 1;

fn at(id: u32) -> Node {
    Node { id: NodeId(id), incarnation: Incarnation(1) }
}

fn hall() -> Interest {
    Interest::Group(app(), GroupName::parse("hall").unwrap())
}

/// Who is in the room and in the hall at node 1, as all know.
fn known() -> Kept {
    let mut kept = Kept::default();
    let all = [interest(), hall(), observers()];
    for interest in &all {
        kept.hold(interest);
    }
    let asked = kept.unsurveyed(&all);
    kept.surveyed(&asked, &[]);
    for group in [interest(), hall()] {
        assert!(kept.joined((at(1), 1), group, &jo(), connection(JO)));
    }
    assert!(kept.observed((at(1), 2), app(), &jo(), connection(JO), None));
    kept
}

/// It goes on in the room alone.
fn moved(from: u32) -> Moved {
    let (endpoint, groups) = (jo(), vec![room()]);
    Moved { app_id: app(), endpoint, connection: connection(JO), from: at(from), groups, presence: None }
}

fn node_of(kept: &Kept) -> Option<Node> {
    kept.there.get(&connection(JO)).map(|there| there.node)
}

/// It moves to another node, and was in the hall no more.
fn moves(kept: &mut Kept, (from, to): (u32, u32)) -> Vec<News> {
    kept.moved(Some((at(to), 7)), &moved(from), Instant::now())
}

#[test]
fn it_is_the_other_nodes_and_out_of_what_it_left() {
    let mut kept = known();
    let news = moves(&mut kept, (1, 2));
    let [News::Gone(Going { departed, observed: false })] = &news[..] else { panic!("{news:?}") };
    assert_eq!(departed.groups, [GroupName::parse("hall").unwrap()]);
    assert_eq!(node_of(&kept), Some(at(2)));
    assert_eq!((kept.is_there(&interest(), connection(JO)), kept.is_there(&hall(), connection(JO))), (true, false));
    assert!(moves(&mut kept, (2, 3)).is_empty());
}

#[test]
fn what_the_first_node_said_before_changes_nothing() {
    let mut kept = known();
    moves(&mut kept, (1, 2));
    let (one, number) = (at(1), 9);
    assert!(!kept.left((one, number), &interest(), connection(JO)));
    assert!(!kept.joined((one, number), hall(), &jo(), connection(JO)));
    assert!(!kept.observed((one, number), app(), &jo(), connection(JO), None));
    assert!(kept.group_ended((one, number), &interest(), &[connection(JO)]).is_empty());
    let departed = Departed { app_id: app(), endpoint: jo(), connection: connection(JO), groups: vec![room()] };
    assert!(kept.departed((one, number), departed.clone(), Instant::now()).is_none());
    assert_eq!((node_of(&kept), kept.is_there(&interest(), connection(JO))), (Some(at(2)), true));
    // What the second says does.
    let going = kept.departed((at(2), 8), departed, Instant::now()).expect("it is told");
    assert_eq!((going.departed.groups, going.observed), (vec![room()], true));
}

/// That it moved was lost on its way.
#[test]
fn who_parks_says_nothing_of_one_that_another_node_has() {
    let mut kept = known();
    kept.parks(at(1));
    assert!(!kept.joined((at(2), 5), interest(), &jo(), connection(JO)), "those here know");
    assert_eq!(node_of(&kept), Some(at(2)));
    assert!(!kept.joined((at(1), 9), hall(), &jo(), connection(JO)));
    let departed = Departed { app_id: app(), endpoint: jo(), connection: connection(JO), groups: vec![room()] };
    assert!(kept.departed((at(1), 10), departed, Instant::now()).is_none());
    assert_eq!(node_of(&kept), Some(at(2)));
}

#[test]
fn of_two_moves_that_come_in_the_wrong_order_the_later_holds() {
    let mut kept = known();
    moves(&mut kept, (2, 3));
    assert_eq!(node_of(&kept), Some(at(3)));
    assert!(moves(&mut kept, (1, 2)).is_empty());
    assert_eq!(node_of(&kept), Some(at(3)));
}

#[test]
fn no_leave_is_taken_of_one_that_moved_before_that_was_its_turn() {
    let mut kept = known();
    kept.lost(at(1), 1);
    moves(&mut kept, (1, 2));
    let (_, going) = kept.take_leave(10, Instant::now()).expect("a node is lost");
    assert!(going.is_empty(), "{going:?}");
    assert!(kept.is_there(&interest(), connection(JO)));
    assert_eq!((node_of(&kept), kept.count(&interest()).map(|count| count.known)), (Some(at(2)), Some(1)));
}

#[test]
fn one_that_is_this_nodes_own_is_no_others() {
    let mut kept = known();
    let news = kept.moved(None, &moved(1), Instant::now());
    assert!(matches!(&news[..], [News::Gone(_)]), "{news:?}");
    assert_eq!((node_of(&kept), kept.count(&interest()).map(|count| count.known)), (None, Some(0)));
    kept.lost(at(1), 1);
    assert!(kept.take_leave(10, Instant::now()).is_none());
}
