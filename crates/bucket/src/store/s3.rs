//! A bucket, and who we are to it.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use config::storage::{PathStyle, S3};
use futures::stream::BoxStream;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, Certificate, ClientOptions, CopyOptions, GetOptions, GetResult, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    RetryConfig,
};

use super::StoreError;

/// What the environment may say, under the names that AWS's tools read. All else that begins with `AWS_` is not ours to
/// follow: it could turn conditional puts off.
const ENVIRONMENT: [AmazonS3ConfigKey; 15] = [
    AmazonS3ConfigKey::AccessKeyId,
    AmazonS3ConfigKey::SecretAccessKey,
    AmazonS3ConfigKey::Token,
    AmazonS3ConfigKey::Region,
    AmazonS3ConfigKey::DefaultRegion,
    AmazonS3ConfigKey::Endpoint,
    AmazonS3ConfigKey::S3Endpoint,
    AmazonS3ConfigKey::WebIdentityTokenFile,
    AmazonS3ConfigKey::RoleArn,
    AmazonS3ConfigKey::RoleSessionName,
    AmazonS3ConfigKey::StsEndpoint,
    AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
    AmazonS3ConfigKey::ContainerCredentialsFullUri,
    AmazonS3ConfigKey::ContainerAuthorizationTokenFile,
    AmazonS3ConfigKey::MetadataEndpoint,
];

/// The longest a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A bucket, or a folder of it, by its name.
#[derive(Debug)]
pub(super) struct S3Store {
    inner: Arc<dyn ObjectStore>,
    name: String,
}

pub(super) type Environment = HashMap<AmazonS3ConfigKey, String>;

/// What of the environment concerns a bucket.
pub(super) fn environment(variables: impl Iterator<Item = (String, String)>) -> Environment {
    let of_aws = variables.filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty());
    let keyed = of_aws.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)));
    keyed.filter(|(key, _)| ENVIRONMENT.contains(key)).collect()
}

/// Prepares to speak to a bucket. `timeout` is what a request may take with all its repetitions.
pub(super) fn open(
    bucket: &str,
    prefix: &str,
    config: &S3,
    environment: Environment,
    timeout: Duration,
) -> std::result::Result<S3Store, StoreError> {
    let endpoint = endpoint(config, &environment);
    let mut name = format!("s3://{bucket}");
    if !prefix.is_empty() {
        name = format!("{name}/{prefix}");
    }
    if let Some(endpoint) = &endpoint {
        name = format!("{name} at {endpoint}");
    }
    let failed = |reason: &dyn fmt::Display| StoreError::new(&name, reason);
    // With an endpoint in the environment nobody has said whether it may be without TLS; with one of ours we have.
    let is_open = config.insecure;
    if endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")) && !is_open {
        return Err(failed(&"the endpoint is without TLS, which takes storage.s3.insecure: true"));
    }
    let options = client_options(config, timeout).map_err(|e| failed(&e))?;
    let mut builder = builder(config, environment).with_client_options(options).with_bucket_name(bucket);
    builder = at_endpoint(builder, bucket, config, endpoint.as_deref());
    let store = builder.with_retry(retries(timeout)).build().map_err(|e| failed(&e))?;
    let inner: Arc<dyn ObjectStore> = match prefix {
        "" => Arc::new(store),
        _ => Arc::new(PrefixStore::new(store, prefix)),
    };
    Ok(S3Store { inner, name })
}

fn endpoint(config: &S3, environment: &Environment) -> Option<String> {
    let named = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let from_environment = || named.iter().find_map(|key| environment.get(key)).cloned();
    let endpoint = config.endpoint_url().or_else(from_environment)?;
    Some(endpoint.trim_end_matches('/').to_string())
}

/// Credentials and region: a key that is configured stands for itself, otherwise the environment tells.
fn builder(config: &S3, environment: Environment) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::new().with_conditional_put(S3ConditionalPut::ETagMatch);
    let has_key = !config.access_key_id.is_empty();
    let not_ours = |key: &AmazonS3ConfigKey| match key {
        AmazonS3ConfigKey::S3Endpoint | AmazonS3ConfigKey::Endpoint => true,
        AmazonS3ConfigKey::Region | AmazonS3ConfigKey::DefaultRegion => !config.region.is_empty(),
        _ => has_key,
    };
    for (key, value) in environment.into_iter().filter(|(key, _)| !not_ours(key)) {
        builder = builder.with_config(key, value);
    }
    if !config.region.is_empty() {
        builder = builder.with_region(&config.region);
    }
    if has_key {
        builder = builder
            .with_access_key_id(&config.access_key_id)
            .with_secret_access_key(config.secret_access_key.reveal());
        if !config.session_token.is_empty() {
            builder = builder.with_token(config.session_token.reveal());
        }
    }
    builder
}

fn at_endpoint(
    builder: AmazonS3Builder,
    bucket: &str,
    config: &S3,
    endpoint: Option<&str>,
) -> AmazonS3Builder {
    let in_host = match config.force_path_style {
        PathStyle::Auto => endpoint.is_none(),
        PathStyle::Always => false,
        PathStyle::Never => true,
    };
    let builder = builder.with_virtual_hosted_style_request(in_host);
    match endpoint.map(|endpoint| (endpoint, endpoint.split_once("://"))) {
        None => builder,
        // The library leaves it to us to put the bucket into the host name.
        Some((_, Some((scheme, host)))) if in_host => {
            builder.with_endpoint(format!("{scheme}://{bucket}.{host}"))
        }
        Some((endpoint, _)) => builder.with_endpoint(endpoint),
    }
}

fn client_options(config: &S3, timeout: Duration) -> std::result::Result<ClientOptions, String> {
    let attempt = attempt(timeout);
    let mut options = ClientOptions::new()
        .with_allow_http(config.insecure)
        .with_timeout(attempt)
        .with_connect_timeout(attempt.min(CONNECT_TIMEOUT));
    if !config.ca_file.is_empty() {
        let told = |e: &dyn fmt::Display| format!("storage.s3.ca_file {}: {e}", config.ca_file);
        let pem = std::fs::read(&config.ca_file).map_err(|e| told(&e))?;
        for certificate in Certificate::from_pem_bundle(&pem).map_err(|e| told(&e))? {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

/// A request that hangs is given up early enough for two more.
fn attempt(timeout: Duration) -> Duration {
    (timeout / 3).max(Duration::from_millis(100))
}

/// What is safe to repeat is repeated until the time is nearly over: answers of 5xx and 429, and connections that were
/// refused; lost answers too where the same request twice is as good as once. A commit is put if absent and its lost
/// answer is not repeated here: the commit looks what became of it.
fn retries(timeout: Duration) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 30,
        retry_timeout: timeout.saturating_sub(attempt(timeout)),
    }
}

impl fmt::Display for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Environment {
        environment(pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())))
    }

    fn opened(config: &S3, of: &[(&str, &str)]) -> std::result::Result<String, String> {
        let opened = open("b", "x/y", config, variables(of), Duration::from_secs(60));
        opened.map(|store| format!("{store} {:?}", store.inner)).map_err(|e| e.to_string())
    }

    #[test]
    fn the_environment_gives_credentials_and_cannot_turn_conditional_puts_off() {
        let of = variables(&[
            ("AWS_ACCESS_KEY_ID", "k"),
            ("AWS_CONDITIONAL_PUT", "disabled"),
            ("AWS_SKIP_SIGNATURE", "true"),
            ("AWS_REGION", ""),
            ("HOME", "/"),
        ]);
        assert_eq!(of, HashMap::from([(AmazonS3ConfigKey::AccessKeyId, "k".to_string())]));
    }

    #[test]
    fn a_store_is_called_by_its_bucket_prefix_and_endpoint() {
        let plain = opened(&S3::default(), &[]).unwrap();
        assert!(plain.starts_with("s3://b/x/y "), "{plain}");
        assert!(plain.contains("https://b.s3.us-east-1.amazonaws.com"), "{plain}");
        let config = S3 { endpoint: "minio:9000".to_string(), insecure: true, ..S3::default() };
        let named = opened(&config, &[("AWS_ENDPOINT_URL_S3", "https://elsewhere")]).unwrap();
        assert!(named.starts_with("s3://b/x/y at http://minio:9000 "), "{named}");
        assert!(named.contains("http://minio:9000/b\""), "the bucket is in the path: {named}");
        let hosted = S3 { force_path_style: PathStyle::Never, ..config };
        let hosted = opened(&hosted, &[]).unwrap();
        assert!(hosted.contains("http://b.minio:9000\""), "the bucket is in the host: {hosted}");
        let other = opened(&S3::default(), &[("AWS_ENDPOINT_URL", "https://r2.example/")]).unwrap();
        assert!(other.starts_with("s3://b/x/y at https://r2.example "), "{other}");
    }

    #[test]
    fn an_endpoint_without_tls_is_taken_only_when_that_is_said() {
        let error = opened(&S3::default(), &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]).unwrap_err();
        assert!(error.contains("storage.s3.insecure") && error.contains("s3://b/x/y"), "{error}");
        let config = S3 { ca_file: "/nonexistent.pem".to_string(), ..S3::default() };
        let error = opened(&config, &[]).unwrap_err();
        assert!(error.contains("storage.s3.ca_file"), "{error}");
    }

    #[test]
    fn a_key_of_the_configuration_is_not_mixed_with_a_token_of_the_environment() {
        let config = S3 {
            access_key_id: "ours".to_string(),
            secret_access_key: "hush".into(),
            region: "eu-x".to_string(),
            ..S3::default()
        };
        let theirs = [("AWS_SESSION_TOKEN", "theirs"), ("AWS_REGION", "us-y"), ("AWS_ACCESS_KEY_ID", "z")];
        let shown = opened(&config, &theirs).unwrap();
        assert!(shown.contains("eu-x") && !shown.contains("us-y"), "{shown}");
        assert!(!shown.contains("theirs") && !shown.contains("\"z\""), "{shown}");
    }
}
