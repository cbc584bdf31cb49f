//! TLS for a connection that is there. The machine's authorities are read for each connection and not kept: they
//! are many, and requests are few.

use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::{HttpError, Request};

pub(super) async fn over<S>(stream: S, request: &Request) -> Result<TlsStream<S>, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |reason: String| HttpError::Tls { place: request.place(), reason };
    let name =
        ServerName::try_from(request.url.host().to_owned()).map_err(|error| failed(error.to_string()))?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(authorities(request.ca_file.as_deref())?)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map_err(|error| {
        let reason = error.to_string();
        // A connection that broke says nothing about certificates, and the next one may hold.
        match error.downcast::<rustls::Error>() {
            Ok(_) => failed(reason),
            Err(_) => HttpError::Cut { place: request.place(), reason },
        }
    })
}

fn authorities(own: Option<&Path>) -> Result<RootCertStore, HttpError> {
    let mut store = RootCertStore::empty();
    let machine = rustls_native_certs::load_native_certs();
    let (trusted, _) = store.add_parsable_certificates(machine.certs);
    if trusted == 0 && own.is_none() {
        // Every certificate will be refused; this is why.
        tracing::warn!("this machine has no certificates of authorities, so no https server can be trusted");
    }
    let Some(path) = own else { return Ok(store) };
    let bad = |reason: String| HttpError::CaFile { path: path.to_owned(), reason };
    let mut count = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))? {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        store.add(certificate).map_err(|error| bad(error.to_string()))?;
        count += 1;
    }
    match count {
        0 => Err(bad("there is none in it".to_owned())),
        _ => Ok(store),
    }
}
