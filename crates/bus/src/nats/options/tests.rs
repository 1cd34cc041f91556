use respoke_core::ports::Incarnation;

use super::*;

#[test]
fn addresses_are_read_and_none_may_hold_a_secret() {
    let parse = |text| NatsServers::parse(text).map(|servers| servers.to_string()).map_err(|error| error.to_string());
    assert_eq!(parse("nats://one, tls://two:4333,three:1"), Ok("one:4222, two:4333, three:1".to_owned()));
    assert_eq!(parse("nats://[::1]:7"), Ok("::1:7".to_owned()));
    for (wrong, number, why) in [
        ("", 1, "no host"),
        ("nats://a,,b", 2, "no host"),
        ("nats://jo:hidden@a", 1, "a name or a password"),
        ("nats://a,nats://hidden@b", 2, "a name or a password"),
        ("nats://:hidden@b", 1, "a name or a password"),
        ("http://hidden", 1, "no address"),
        ("ws://hidden", 1, "neither nats:// nor tls://"),
        ("nats://hi dden:x:y", 1, "no address"),
    ] {
        let error = parse(wrong).unwrap_err();
        assert!(error.contains(&format!("address {number} ")) && error.contains(why), "{wrong}: {error}");
        assert!(!error.contains("hidden"), "{error}");
    }
}

#[test]
fn nodes_come_back_one_after_the_other_and_soon() {
    let node = |id| Node { id: NodeId(id), incarnation: Incarnation(1) };
    for attempt in 0..200 {
        let most = again_after(node(1), attempt);
        assert!(most <= AGAIN_AFTER_MAX && most >= AGAIN_AFTER / 2, "{attempt}: {most:?}");
        assert!(attempt < 9 || most >= AGAIN_AFTER_MAX / 2);
    }
    let at: std::collections::BTreeSet<_> = (0..64).map(|id| again_after(node(id), 9)).collect();
    assert!(at.len() > 50 && *at.last().unwrap() > *at.first().unwrap() + AGAIN_AFTER_MAX / 4, "{at:?}");
}

#[test]
fn what_is_in_its_subject_is_permitted() {
    assert_eq!(subject(&[0xab; 16], NodeId(7)), "respoked.abababababababababababababababab.7");
    let permitted = nats_permissions(&[0xab; 16]);
    assert_eq!(
        permitted,
        "permissions: { publish: \"respoked.abababababababababababababababab.*\", \
         subscribe: \"respoked.abababababababababababababababab.*\" }"
    );
}

fn options(credentials: Option<NatsCredentials>, root_certificate: Option<PathBuf>) -> NatsOptions {
    let node = Node { id: NodeId(1), incarnation: Incarnation(1) };
    let servers = NatsServers::parse("nats://localhost").unwrap();
    NatsOptions { servers, credentials, root_certificate, cluster: [0; 16], node }
}

#[test]
fn a_file_that_is_missing_or_holds_something_else_is_named_and_nothing_of_it_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let files: [fn(PathBuf) -> NatsOptions; 3] = [
        |path| options(Some(NatsCredentials::File(path)), None),
        |path| options(Some(NatsCredentials::NkeySeed(path)), None),
        |path| options(None, Some(path)),
    ];
    for of in files {
        let error = of(path.with_extension("none")).connect_options().unwrap_err();
        assert!(matches!(&error, NatsError::Unreadable { .. }), "{error:?}");
    }
    // Of an account, and not of a user.
    let account = nkeys::KeyPair::new_account().seed().unwrap();
    let seed = "SUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFL!";
    for (of, what) in files.into_iter().zip(["credentials of NATS", "seed of a user's nkey", "certificate"]) {
        for text in ["", "hidden", seed, &account, "-----BEGIN CERTIFICATE-----\nhidden\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, text).unwrap();
            let error = of(path.clone()).connect_options().unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(error.to_string().ends_with(&format!("holds no {what}")), "{told}");
            assert!(!told.contains("hidden") && !told.contains("AIO3") && !told.contains(&account), "{told}");
        }
    }
}
