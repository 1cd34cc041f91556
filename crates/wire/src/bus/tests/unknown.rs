//! What is of a kind that only another build knows is read as far as to know what it is, and damage is none of that.

use super::*;

/// No build knows a kind of this number.
const KIND: u8 = 250;

fn read(item: &[u8]) -> Result<Item, BusCodecError> {
    let frame = frame_item(NODE, NODE, 5, item);
    let read = Frame::decode(&frame)?;
    assert_eq!(read.encode().unwrap(), frame, "it is kept as it is");
    let Content::Item { number: 5, item } = read.content else { panic!("{read:?}") };
    Ok(item)
}

fn what_is(item: &[u8]) -> UnknownIs {
    match read(item).unwrap() {
        Item::Unknown(Unknown { is, .. }) => is,
        known => panic!("{known:?}"),
    }
}

#[test]
fn each_class_is_known_by_these_bytes() {
    let app = [1; 16];
    let ask = [0, 0, 0, 0, 0, 0, 0, 9];
    let known = [0, 0, 0, 0, 0, 0, 0, 4];
    let endpoint = [0, 0, 0, 2, b'j', b'o'];
    let question = UnknownIs::Question { ask: 9 };
    let answer = UnknownIs::Answer { ask: 9 };
    let cases: &[(UnknownIs, &[&[u8]])] = &[
        (UnknownIs::Other, &[&[0, KIND]]),             // a delivery
        (UnknownIs::Other, &[&[0, 0], &app, &[KIND]]), // a push for an audience
        (UnknownIs::Other, &[&[0, 3, KIND]]),          // a change
        (UnknownIs::Counted, &[&[0, 7, KIND]]),        // something counted
        (UnknownIs::News, &[&[1, KIND]]),              // news of interests
        (question, &[&[2], &ask, &[KIND]]),
        (question, &[&[2], &ask, &[20, KIND]]),               // one about books
        (question, &[&[2], &ask, &[1], &app, &[KIND]]),       // one about connections of a holder
        (question, &[&[2], &ask, &[6], &app, &app, &[KIND]]), // a deed
        (answer, &[&[3], &ask, &known, &[KIND]]),
        (answer, &[&[3], &ask, &known, &[20, KIND]]),
        (answer, &[&[3], &ask, &known, &[5, KIND]]), // what came of a deed
        (UnknownIs::Other, &[&[7, KIND]]),           // a notice
        (UnknownIs::Other, &[&[KIND]]),              // something else altogether
    ];
    for (expected, parts) in cases {
        let head = parts.concat();
        for rest in [&[][..], &endpoint, &[0xFF; 300]] {
            assert_eq!(what_is(&[&head[..], rest].concat()), *expected, "{head:?}");
        }
    }
}

/// Its numbers have to be there, or nobody knows what is meant.
#[test]
fn what_is_cut_short_before_its_kind_is_damaged() {
    for item in [&[][..], &[0], &[1], &[2], &[2, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 0, 9], &[3; 17], &[7]] {
        assert_eq!(read(item).unwrap_err(), BusCodecError::CutShort, "{item:?}");
    }
}

#[test]
fn nothing_of_it_is_printed() {
    let printed = format!("{:?}", read(&[&[0, KIND][..], b"a secret"].concat()).unwrap());
    assert!(printed.ends_with("bytes: Piece(10 bytes) })"), "{printed}");
}

proptest! {
    /// Whatever stands behind the kind, of whatever length.
    #[test]
    fn it_reads_back_and_never_panics(head in prop::sample::select(vec![0_u8, 1, 2, 3, 7]), rest in vec(any::<u8>(), 0..300)) {
        let _ = read(&[&[head][..], &rest].concat());
        let number = [0; 8];
        let of_kind = |kind: u8| match head {
            2 => [&[head][..], &number, &[kind], &rest].concat(),
            3 => [&[head][..], &number, &number, &[kind], &rest].concat(),
            _ => [&[head, kind][..], &rest].concat(),
        };
        let item = read(&of_kind(KIND)).unwrap();
        prop_assert!(matches!(item, Item::Unknown(_)));
        let whole = item.encode().unwrap();
        prop_assert_eq!(&whole, &of_kind(KIND));
        prop_assert_eq!(Item::decode(&whole).unwrap().encode().unwrap(), whole);
    }
}
