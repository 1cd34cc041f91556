mod server;

pub(crate) use self::server::NatsServer;
use super::*;

pub(crate) fn options(servers: &str, node: Node) -> NatsOptions {
    let servers = NatsServers::parse(servers).unwrap();
    NatsOptions { servers, credentials: None, root_certificate: None, cluster: [7; 16], node }
}
