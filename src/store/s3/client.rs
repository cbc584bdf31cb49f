//! Makes the client: where it connects, by which way, whom it trusts, who it says it is. Must not know objects.

use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};

use crate::base::secret::SecretSource;
use crate::store::StoreError;
use crate::store::s3::options::{S3Credentials, S3Options};
use crate::store::s3::transport::Watched;
use crate::store::s3::whole::WholeAnswers;

/// Where nothing says another region, and where servers of one's own do not care.
const USUAL_REGION: &str = "us-east-1";
/// Keys from files are read again after this time.
const KEYS_HOLD: Duration = Duration::from_secs(300);
const FROM_FILES: &str = "keys of the configuration";

/// What calls need to know besides the client.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub client: Client,
    /// TLS does not protect what is sent, so its hash is signed.
    pub plain: bool,
    /// A server of one's own, not Amazon's.
    pub own_endpoint: bool,
}

pub(super) async fn connect(options: &S3Options) -> Result<Connection, StoreError> {
    let http = http_client(options)?;
    let endpoint = options.endpoint.clone().or_else(endpoint_of_environment);
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(options.connect_timeout).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .region(region(options, endpoint.is_some()))
        // What is stored has hashes of our own; other servers stumble over the ones that are the default.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    let shared = with_credentials(loader, &options.credentials).load().await;
    let mut config = aws_sdk_s3::config::Builder::from(&shared).interceptor(WholeAnswers);
    if let Some(endpoint) = &options.endpoint {
        config = config.endpoint_url(endpoint);
    }
    let own_endpoint = endpoint.is_some() || shared.endpoint_url().is_some();
    config = config.force_path_style(options.path_style.unwrap_or(own_endpoint));
    let plain = endpoint.as_deref().or(shared.endpoint_url()).is_some_and(|url| url.starts_with("http://"));
    Ok(Connection { client: Client::from_conf(config.build()), plain, own_endpoint })
}

/// The names that all of Amazon's tools know, the particular one first.
fn endpoint_of_environment() -> Option<String> {
    let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    named("AWS_ENDPOINT_URL_S3").or_else(|| named("AWS_ENDPOINT_URL"))
}

/// The instance's own region is asked for only at Amazon: elsewhere nobody answers, and asking takes seconds.
fn region(options: &S3Options, own_endpoint: bool) -> RegionProviderChain {
    let named = match &options.credentials {
        S3Credentials::Profile(name) => ProfileFileRegionProvider::builder().profile_name(name).build(),
        _ => ProfileFileRegionProvider::builder().build(),
    };
    let chain = RegionProviderChain::first_try(options.region.clone().map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(named);
    let chain = if own_endpoint { chain } else { chain.or_default_provider() };
    chain.or_else(USUAL_REGION)
}

fn with_credentials(loader: ConfigLoader, credentials: &S3Credentials) -> ConfigLoader {
    match credentials {
        S3Credentials::Chain => loader,
        S3Credentials::Profile(name) => loader.profile_name(name),
        S3Credentials::Anonymous => loader.no_credentials(),
        S3Credentials::Keys { access_key_id, secret_access_key, session_token } => loader
            .credentials_provider(Keys {
                access_key_id: access_key_id.clone(),
                secret_access_key: secret_access_key.clone(),
                session_token: session_token.clone(),
            }),
    }
}

/// Proxies are those of the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).
fn http_client(options: &S3Options) -> Result<SharedHttpClient, StoreError> {
    let trusted = match &options.ca_file {
        None => TrustStore::default(),
        Some(path) => TrustStore::default().with_pem_certificate(certificates(options, path)?),
    };
    let tls = TlsContext::builder()
        .with_trust_store(trusted)
        .build()
        .map_err(|error| broken(options, std::io::Error::other(error)))?;
    let client = Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls.clone()).build()
    });
    Ok(SharedHttpClient::new(Watched { inner: client, limit: options.stall_timeout }))
}

/// Looked at here, because the client would use a file without certificates as if it were one.
fn certificates(options: &S3Options, path: &Path) -> Result<Vec<u8>, StoreError> {
    let named = |error: std::io::Error| {
        let kind = error.kind();
        broken(options, std::io::Error::new(kind, format!("the certificates in {}: {error}", path.display())))
    };
    let bytes = std::fs::read(path).map_err(named)?;
    let begin = b"-----BEGIN CERTIFICATE-----";
    if bytes.windows(begin.len()).any(|window| window == begin) {
        return Ok(bytes);
    }
    Err(named(std::io::Error::new(std::io::ErrorKind::InvalidData, "there are none, in PEM form")))
}

fn broken(options: &S3Options, source: std::io::Error) -> StoreError {
    StoreError::Io { location: options.location(), source }
}

/// Keys given by the configuration, read when they are asked for.
#[derive(Debug)]
struct Keys {
    access_key_id: SecretSource,
    secret_access_key: SecretSource,
    session_token: Option<SecretSource>,
}

impl Keys {
    fn read(&self) -> Result<Credentials, CredentialsError> {
        let id = read(&self.access_key_id)?;
        let secret = read(&self.secret_access_key)?;
        let token = self.session_token.as_ref().map(read).transpose()?;
        let until = SystemTime::now() + KEYS_HOLD;
        Ok(Credentials::new(id, secret, token, Some(until), FROM_FILES))
    }
}

impl ProvideCredentials for Keys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(self.read())
    }
}

fn read(source: &SecretSource) -> Result<String, CredentialsError> {
    match source {
        SecretSource::Value(secret) => Ok(secret.reveal().to_owned()),
        SecretSource::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                CredentialsError::invalid_configuration(format!("{}: {error}", path.display()))
            })?;
            match text.trim() {
                "" => Err(CredentialsError::invalid_configuration(format!("{} is empty", path.display()))),
                text => Ok(text.to_owned()),
            }
        }
    }
}
