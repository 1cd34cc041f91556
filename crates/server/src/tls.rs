//! TLS, with a certificate that can be replaced while serving.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use respoke_core::secret::{Secret, SecretHash};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The certificate in use and the files it came from. Clones share it.
#[derive(Clone, Debug)]
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    /// What the files held when they were last looked at, whether it did or not.
    seen: Arc<Mutex<SecretHash>>,
}

/// What a look at the files found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Unchanged,
    Replaced,
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
        let files = Files::read(cert, key)?;
        let current = Arc::new(Current(ArcSwap::from_pointee(files.certified_key(cert, key)?)));
        let seen = Arc::new(Mutex::new(files.hash()));
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), current, seen })
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
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            self.look_and_tell().await;
        }
    }

    /// Looks at the files at once, and says in the log what came of it if they have changed.
    pub(crate) async fn look_and_tell(&self) {
        let certificate = self.clone();
        // A file system may stall, and the requests must not.
        let looked = tokio::task::spawn_blocking(move || certificate.look()).await;
        match looked {
            Ok(Ok(Look::Replaced)) => tracing::info!("the TLS certificate was replaced"),
            Ok(Err(error)) => tracing::error!(error = format!("{error:#}"), "the new TLS certificate is not usable"),
            Ok(Ok(Look::Unchanged)) | Err(_) => {}
        }
    }

    /// Takes what the files hold now. Their contents are compared: time stamps and sizes may be those of before, and a
    /// link may lead elsewhere. What was found to be of no use is not said again until it changes.
    fn look(&self) -> anyhow::Result<Look> {
        let files = Files::read(&self.cert, &self.key);
        let found = files.as_ref().map_or(ABSENT, Files::hash);
        if std::mem::replace(&mut *self.seen.lock(), found) == found {
            return Ok(Look::Unchanged);
        }
        self.current.0.store(Arc::new(files?.certified_key(&self.cert, &self.key)?));
        Ok(Look::Replaced)
    }
}

/// Stands for files that cannot be read.
const ABSENT: SecretHash = SecretHash::from_bytes([0; 32]);
/// Bytes of the longest PEM file: far more than any chain, and a path to something endless ends.
const PEM_LEN_MAX: u64 = 1024 * 1024;

/// What the two files hold at one moment.
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(cert: &Path, key: &Path) -> anyhow::Result<Self> {
        let read = |name: &str, path: &Path| {
            let mut bytes = Vec::new();
            let read = File::open(path).and_then(|file| file.take(PEM_LEN_MAX).read_to_end(&mut bytes));
            read.with_context(|| format!("{name}: {} cannot be read", path.display()))?;
            // Some editors put a byte order mark before the text, and a PEM file is text.
            if bytes.starts_with("\u{feff}".as_bytes()) {
                bytes.drain(.."\u{feff}".len());
            }
            anyhow::Ok(bytes)
        };
        Ok(Self { cert: read("tls_cert", cert)?, key: read("tls_key", key)? })
    }

    fn hash(&self) -> SecretHash {
        let parts = [&self.cert, &self.key].map(|bytes| *SecretHash::of(bytes).as_bytes());
        SecretHash::of(parts.as_flattened())
    }

    fn certified_key(&self, cert: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
        let chain = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<Vec<_>, _>>()
            .ok()
            .with_context(|| format!("tls_cert: {} is no PEM file", cert.display()))?;
        anyhow::ensure!(!chain.is_empty(), "tls_cert: {} holds no certificate", cert.display());
        // The library's text may hold the line that it stumbled over, and that the key.
        let key_der = PrivateKeyDer::from_pem_slice(&self.key)
            .ok()
            .with_context(|| format!("tls_key: {} holds no private key in PEM form", key.display()))?;
        CertifiedKey::from_der(chain, key_der, &rustls::crypto::ring::default_provider())
            .with_context(|| format!("{} and {} do not fit together", cert.display(), key.display()))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // `Secret` wipes what it holds.
        drop(String::from_utf8(std::mem::take(&mut self.key)).map(Secret::new));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::*;

    /// A certificate and a key, as PEM.
    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_is_noticed_by_what_it_is_whatever_its_time_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let write = |path: &Path, text: &str| {
            // In place: neither inode nor time stamp tells.
            fs::write(path, text).unwrap();
            File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
        };
        let [first, second] = [made(), made()];
        let put = |(cert_pem, key_pem): &(String, String)| {
            write(&cert, cert_pem);
            write(&key, key_pem);
        };
        put(&first);
        let certificate = Certificate::load(&cert, &key).unwrap();
        let in_use = || certificate.current.0.load().cert.clone();
        let begun = in_use();
        assert_eq!(certificate.look().unwrap(), Look::Unchanged);

        put(&second);
        assert_eq!(certificate.look().unwrap(), Look::Replaced);
        let renewed = in_use();
        assert_ne!(renewed, begun);
        assert_eq!(certificate.look().unwrap(), Look::Unchanged);

        // Half of a replacement: what is in use stays, the other half completes it, and it is complained of once.
        write(&cert, &first.0);
        assert!(certificate.look().is_err());
        assert_eq!((certificate.look().unwrap(), in_use()), (Look::Unchanged, renewed.clone()));
        write(&key, &first.1);
        assert_eq!((certificate.look().unwrap(), in_use()), (Look::Replaced, begun));

        fs::remove_file(&key).unwrap();
        assert!(certificate.look().is_err());
        assert_eq!(certificate.look().unwrap(), Look::Unchanged);
        put(&second);
        assert_eq!((certificate.look().unwrap(), in_use()), (Look::Replaced, renewed));
    }

    #[test]
    fn pem_files_may_begin_with_a_byte_order_mark() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let (cert_text, key_text) = made();
        fs::write(&cert, format!("\u{feff}{cert_text}")).unwrap();
        fs::write(&key, format!("\u{feff}{key_text}")).unwrap();
        Certificate::load(&cert, &key).unwrap();
    }

    #[test]
    fn a_key_stays_out_of_errors() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        fs::write(&cert, made().0).unwrap();
        for text in [
            "CANARY",
            "-----BEGIN PRIVATE KEY-----\nCANARY\n",
            "-----BEGIN CANARY",
            "-----BEGIN CANARY-----\nQ0FOQVJZ\n-----END CANARY-----\n",
        ] {
            fs::write(&key, text).unwrap();
            let error = format!("{:#}", Certificate::load(&cert, &key).unwrap_err());
            assert!(error.contains("tls_key") && !error.contains("CANARY") && !error.contains("67, 65"), "{error}");
        }
    }
}
