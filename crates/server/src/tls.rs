//! TLS, with a certificate that can be replaced while serving.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The certificate in use and the files it came from.
#[derive(Debug)]
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificate {
    /// Reads certificate and key.
    ///
    /// # Errors
    ///
    /// Names the file that does not do.
    pub fn load(cert: &Path, key: &Path) -> anyhow::Result<Self> {
        let current = Arc::new(Current(ArcSwap::from_pointee(read(cert, key)?)));
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), current })
    }

    /// Settings of TLS that always use the present certificate, for HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    ///
    /// When the TLS library cannot be set up.
    pub fn server_config(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Reads the files again whenever they change, until `stop`. Files that do not do are logged, and the certificate
    /// in use stays.
    pub async fn keep_fresh(self, stop: CancellationToken) {
        let mut seen = self.modified();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let now = self.modified();
            if now == seen {
                continue;
            }
            seen = now;
            match read(&self.cert, &self.key) {
                Ok(key) => {
                    self.current.0.store(Arc::new(key));
                    tracing::info!("the TLS certificate was replaced");
                }
                Err(error) => tracing::error!(error = format!("{error:#}"), "the new TLS certificate is not usable"),
            }
        }
    }

    fn modified(&self) -> [Option<SystemTime>; 2] {
        [&self.cert, &self.key].map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
    }
}

fn read(cert: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("tls_cert: {} cannot be read", cert.display()))?;
    anyhow::ensure!(!chain.is_empty(), "tls_cert: {} holds no certificate", cert.display());
    let key_der =
        PrivateKeyDer::from_pem_file(key).with_context(|| format!("tls_key: {} cannot be read", key.display()))?;
    CertifiedKey::from_der(chain, key_der, &rustls::crypto::ring::default_provider())
        .with_context(|| format!("{} and {} do not fit together", cert.display(), key.display()))
}
