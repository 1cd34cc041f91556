//! TLS to the database: whom a connection trusts.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::dsn::error::DsnError;

/// Bytes of a file of certificates at most: that of a whole system has a quarter of a million.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// How connections are made private.
#[derive(Clone)]
pub enum Tls {
    /// They are not.
    None,
    /// Where the server offers it. Whoever is between can keep that from being seen.
    WhereOffered(MakeRustlsConnect),
    /// All of them, or there is none.
    Required(MakeRustlsConnect),
}

impl Tls {
    /// The same for the library, which is not told anywhere else.
    pub(crate) fn with(self, mut config: Config) -> (Config, Option<MakeRustlsConnect>) {
        let (mode, tls) = match self {
            Self::None => (SslMode::Disable, None),
            Self::WhereOffered(tls) => (SslMode::Prefer, Some(tls)),
            Self::Required(tls) => (SslMode::Require, Some(tls)),
        };
        // What the configuration demands by itself is not taken back: it fails where there is nothing to do it with.
        if config.get_ssl_mode() != SslMode::Require {
            config.ssl_mode(mode);
        }
        (config, tls)
    }
}

/// Whom a connection trusts.
pub(super) enum Trust {
    /// Whoever answers: what is sent is hidden from those who listen, not from those who take the server's place.
    Anybody,
    /// Whoever has a certificate that one of these signed.
    SignedBy(RootCertStore),
    /// Whoever has one that was made for the host's name.
    Named(RootCertStore),
}

pub(super) fn connector(trust: Trust) -> MakeRustlsConnect {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has ciphers for both versions");
    MakeRustlsConnect::new(match trust {
        Trust::Named(roots) => config.with_root_certificates(roots).with_no_client_auth(),
        Trust::Anybody => without_names(config, provider, None),
        Trust::SignedBy(roots) => without_names(config, provider, Some(roots)),
    })
}

fn without_names(
    config: rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>,
    provider: Arc<CryptoProvider>,
    roots: Option<RootCertStore>,
) -> ClientConfig {
    let verifier = Arc::new(WithoutNames { provider, roots });
    config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
}

/// The certificates in a file.
pub(super) fn roots_in(path: &Path) -> Result<RootCertStore, DsnError> {
    let unreadable = |error: std::io::Error| DsnError::File { path: path.to_owned(), kind: error.kind() };
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(DsnError::FileSize(path.to_owned()));
    }
    let text = std::fs::read(path).map_err(unreadable)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).filter_map(Result::ok));
    some(roots, || path.display().to_string())
}

/// The certificates that this machine trusts.
pub(super) fn roots_of_the_system() -> Result<RootCertStore, DsnError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    some(roots, || "this system".to_owned())
}

fn some(roots: RootCertStore, source_of_trust: impl FnOnce() -> String) -> Result<RootCertStore, DsnError> {
    if roots.is_empty() {
        return Err(DsnError::NoCertificate { source_of_trust: source_of_trust() });
    }
    Ok(roots)
}

/// Looks at who signed a certificate, or not even at that, and never at whom it names.
#[derive(Debug)]
struct WithoutNames {
    provider: Arc<CryptoProvider>,
    roots: Option<RootCertStore>,
}

impl ServerCertVerifier for WithoutNames {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
impl super::store::PostgresStore {
    /// Whether the server says that it was come to by TLS.
    pub(crate) async fn is_encrypted(&self) -> bool {
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        self.read(sql, &[]).await.expect("the server answers")[0].get(0)
    }
}
