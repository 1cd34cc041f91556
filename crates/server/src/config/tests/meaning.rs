//! What some settings mean beyond what all have in common.

use std::net::IpAddr;

use super::*;

#[test]
fn proxies_are_addresses_or_networks() {
    let config = load("trusted_proxies = ['10.0.0.0/8', '::1']").unwrap();
    assert!(config.trusted_proxies[0].contains(&"10.1.2.3".parse::<IpAddr>().unwrap()));
    assert_eq!(load("trusted_proxies = '10.0.0.1, 10.0.0.2'").unwrap().trusted_proxies.len(), 2);
    let error = load("trusted_proxies = '10.0.0.1, nonsense'").unwrap_err().to_string();
    assert!(error.contains("item 2"), "{error}");
}

#[test]
fn turn_servers_come_with_their_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "CANARY\n").unwrap();
    let uris = "turn_uris = 'turn:a.test:3478?transport=udp, turns:a.test:5349'";
    let config = load(&format!("{uris}\nturn_secret_file = '{}'", file.display())).unwrap();
    assert_eq!(config.turn_uris, ["turn:a.test:3478?transport=udp", "turns:a.test:5349"]);
    assert_eq!(config.turn_secret.as_ref().unwrap().0.expose(), "CANARY");
    assert_eq!(load("stun_uris = ['stun:a.test']").unwrap().stun_uris, ["stun:a.test"]);
    for wrong in [
        uris,
        "turn_secret = 'x'",
        "turn_uris = 'turn:a.test'\nturn_secret = ''",
        "turn_uris = 'stun:a.test'\nturn_secret = 'x'",
        "stun_uris = 'turn:a.test'",
        "stun_uris = 'a.test'",
        "stun_uris = ['stun:a b']",
    ] {
        assert!(load(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn ten_thousand_clients_find_room_and_so_do_those_who_look_after_them() {
    let config = Config::default();
    let sockets_max = config.hub().sockets_max;
    assert!(sockets_max >= 10_000 && config.connections_max - sockets_max >= 500);
}

#[test]
fn half_a_tls_setting_is_refused() {
    assert!(load("tls_cert = 'a.pem'").is_err());
}
