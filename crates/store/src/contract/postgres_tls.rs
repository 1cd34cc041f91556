//! Connections over TLS, to a server with a certificate of the test's own. They run where the contract runs on PostgreSQL, if
//! the programs of a server are installed.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::postgres::there_is_a_server;
use super::postgres_server::Server;
use crate::{Dsn, PostgresStore};

/// A server with a certificate, whose user has a password.
struct Private(Server);

impl Private {
    fn start() -> Option<Self> {
        let mut server = Server::make("scram-sha-256")?;
        let (ca, other) = (authority("one"), authority("another"));
        std::fs::write(server.folder().join("ca.pem"), &ca.0).unwrap();
        std::fs::write(server.folder().join("other.pem"), &other.0).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        server.write("server.pem", &params.signed_by(&key, &ca.1).unwrap().pem());
        server.write("server.key", &key.serialize_pem());
        let file = |name: &str| server.own().join(name).display().to_string();
        let (certificate, key) = (file("server.pem"), file("server.key"));
        server.start(&["ssl=on", &format!("ssl_cert_file={certificate}"), &format!("ssl_key_file={key}")]);
        Some(Self(server))
    }

    /// Opens a store there and says over what its connections run.
    async fn opened(&self, host: &str, options: &str) -> Result<&'static str, String> {
        let folder = self.0.folder().display();
        let options =
            options.replace("CA", &format!("{folder}/ca.pem")).replace("OTHER", &format!("{folder}/other.pem"));
        opened(&format!("postgres://respoked:canary@{host}:{}/postgres?{options}", self.0.port())).await
    }
}

async fn opened(address: &str) -> Result<&'static str, String> {
    let told = |error: &dyn std::error::Error| {
        let causes = std::iter::successors(Some(error), |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    };
    let options = Dsn::parse(address).unwrap().options().map_err(|error| told(&error))?;
    let store = PostgresStore::open(options).await.map_err(|error| told(&error))?;
    Ok(if store.is_encrypted().await { "TLS" } else { "plain" })
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_goes_as_far_as_the_address_says() {
    if !there_is_a_server() {
        return;
    }
    let Some(server) = Private::start() else { return };
    for (host, options, over) in [
        ("localhost", "sslmode=verify-full&sslrootcert=CA", "TLS"),
        ("localhost", "sslmode=verify-full&sslrootcert=CA&channel_binding=require", "TLS"),
        // By its name, found elsewhere.
        ("localhost", "sslmode=verify-full&sslrootcert=CA&hostaddr=127.0.0.1", "TLS"),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=CA", "TLS"),
        ("127.0.0.1", "sslmode=require&sslrootcert=CA", "TLS"),
        ("127.0.0.1", "sslmode=require", "TLS"),
        ("127.0.0.1", "sslmode=require&channel_binding=require", "TLS"),
        ("127.0.0.1", "sslmode=prefer", "TLS"),
        ("127.0.0.1", "", "TLS"),
        ("127.0.0.1", "sslmode=disable", "plain"),
    ] {
        assert_eq!(server.opened(host, options).await.as_deref(), Ok(over), "{host} {options}");
    }
    for (host, options, why) in [
        // It is made for another name.
        ("127.0.0.1", "sslmode=verify-full&sslrootcert=CA", "not valid for name"),
        ("localhost", "sslmode=verify-full&sslrootcert=OTHER", "UnknownIssuer"),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=OTHER", "UnknownIssuer"),
        ("127.0.0.1", "sslmode=require&sslrootcert=OTHER", "UnknownIssuer"),
        ("localhost", "sslmode=verify-full&sslrootcert=system", "UnknownIssuer"),
        ("127.0.0.1", "sslmode=disable&channel_binding=require", "channel binding"),
    ] {
        let refused = server.opened(host, options).await.expect_err(options);
        assert!(refused.contains(why), "{host} {options}: {refused}");
        assert!(!refused.contains("canary"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_refused_where_it_is_required() {
    let Some(plain) = std::env::var_os("TEST_POSTGRES") else { return };
    let plain = plain.to_str().expect("it is text");
    for mode in ["require", "verify-full"] {
        let refused = opened(&format!("{plain}?sslmode={mode}")).await.expect_err(mode);
        assert!(refused.contains("server does not support TLS"), "{refused}");
    }
}
