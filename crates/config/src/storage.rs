use std::fmt;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where data lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the tables lie: a folder, `s3://bucket/prefix`, or `memory://`.
    pub url: String,
    /// Folder of the write-ahead log.
    pub wal_dir: String,
    /// How `s3://` is reached.
    pub s3: S3,
}

/// How a bucket is reached. What is left empty comes from the environment, under the names that AWS's own tools use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3 {
    /// Address of the store; AWS's when empty.
    pub endpoint: String,
    /// Region; `us-east-1` when neither this nor the environment names one.
    pub region: String,
    /// Public half of a key. Without a key: the environment, a web identity, the container, the machine.
    pub access_key_id: String,
    /// Secret half of the key.
    pub secret_access_key: Secret,
    /// Token of a key that expires.
    pub session_token: Secret,
    /// Whether the bucket stands in the path and not in the host name.
    pub force_path_style: PathStyle,
    /// Whether requests may go over HTTP without TLS.
    pub insecure: bool,
    /// File of PEM certificates of authorities to trust beside the usual ones.
    pub ca_file: String,
}

/// Where the bucket stands in an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PathStyle {
    /// In the path if an endpoint is named, since few stores but AWS's have a host name per bucket.
    #[default]
    Auto,
    /// In the path.
    Always,
    /// In the host name.
    Never,
}

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// A store, by its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location<'a> {
    /// In memory, for tests.
    Memory,
    /// A folder.
    Folder(&'a Path),
    /// A bucket.
    S3 {
        /// Its name.
        bucket: &'a str,
        /// The folder in it, without slashes at its ends; may be empty.
        prefix: &'a str,
    },
}

/// What stands for a secret where the configuration is shown.
const HIDDEN: &str = "<hidden>";

impl Default for Config {
    fn default() -> Config {
        Config { url: "./data/tables".to_string(), wal_dir: "./data/wal".to_string(), s3: S3::default() }
    }
}

impl Config {
    /// The store that `url` means. A store that we do not speak to is not taken for the name of a folder: the data
    /// would lie beside us.
    pub fn location(&self) -> Result<Location<'_>, String> {
        let unknown = || {
            format!("storage.url: {:?} is neither a folder nor s3://bucket/prefix nor memory://", self.url)
        };
        if self.url == "memory://" {
            return Ok(Location::Memory);
        }
        if let Some(rest) = self.url.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if bucket.is_empty() || !bucket.chars().all(is_name) {
                return Err(format!("storage.url: {bucket:?} is no name of a bucket"));
            }
            return Ok(Location::S3 { bucket, prefix: prefix.trim_matches('/') });
        }
        let folder = self.url.strip_prefix("file://").unwrap_or(&self.url);
        if folder.is_empty() || folder.contains("://") {
            return Err(unknown());
        }
        Ok(Location::Folder(Path::new(folder)))
    }

    /// Everything that makes no sense, with its key.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        violations.extend(self.location().err());
        violations.extend(self.s3.violations());
        violations
    }
}

impl S3 {
    fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        if self.access_key_id.is_empty() != self.secret_access_key.is_empty() {
            violations.push(
                "storage.s3.access_key_id and storage.s3.secret_access_key: one is set and the other is not"
                    .to_string(),
            );
        }
        let secrets =
            [("secret_access_key", &self.secret_access_key), ("session_token", &self.session_token)];
        for (key, _) in secrets.iter().filter(|(_, secret)| secret.0 == HIDDEN) {
            violations.push(format!("storage.s3.{key}: {HIDDEN} is what is shown in its place"));
        }
        if self.endpoint.starts_with("http://") && !self.insecure {
            violations.push(format!(
                "storage.s3.endpoint: {} is without TLS, which takes storage.s3.insecure: true",
                self.endpoint
            ));
        }
        let scheme = self.endpoint.split_once("://").map(|(scheme, _)| scheme);
        if scheme.is_some_and(|scheme| scheme != "http" && scheme != "https") || self.endpoint.contains('@') {
            violations
                .push(format!("storage.s3.endpoint: {:?} is no http:// or https:// address", self.endpoint));
        }
        violations
    }

    /// The endpoint with its scheme and without a slash at its end; `None` when AWS's is meant.
    pub fn endpoint_url(&self) -> Option<String> {
        let endpoint = self.endpoint.trim_end_matches('/');
        match endpoint {
            "" => None,
            _ if endpoint.contains("://") => Some(endpoint.to_string()),
            _ if self.insecure => Some(format!("http://{endpoint}")),
            _ => Some(format!("https://{endpoint}")),
        }
    }
}

impl Secret {
    /// The text itself, for whoever must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.to_string())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "" } else { HIDDEN })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

impl Serialize for PathStyle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            PathStyle::Auto => "auto",
            PathStyle::Always => "true",
            PathStyle::Never => "false",
        })
    }
}

impl<'de> Deserialize<'de> for PathStyle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PathStyle, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Boolean(bool),
            Text(String),
        }
        match Given::deserialize(deserializer)? {
            Given::Boolean(true) => Ok(PathStyle::Always),
            Given::Boolean(false) => Ok(PathStyle::Never),
            Given::Text(text) => match text.as_str() {
                "auto" => Ok(PathStyle::Auto),
                "true" => Ok(PathStyle::Always),
                "false" => Ok(PathStyle::Never),
                _ => Err(serde::de::Error::custom(format!("{text:?} is neither auto nor true nor false"))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Config {
        Config { url: url.to_string(), ..Config::default() }
    }

    #[test]
    fn an_address_is_a_folder_a_bucket_or_memory_and_nothing_else() {
        assert_eq!(at("memory://").location(), Ok(Location::Memory));
        assert_eq!(at("file:///var/firn").location(), Ok(Location::Folder(Path::new("/var/firn"))));
        assert_eq!(at("./data").location(), Ok(Location::Folder(Path::new("./data"))));
        assert_eq!(at("s3://b").location(), Ok(Location::S3 { bucket: "b", prefix: "" }));
        let nested = Location::S3 { bucket: "b.c", prefix: "x/y" };
        assert_eq!(at("s3://b.c/x/y/").location(), Ok(nested));
        for bad in ["", "s3://", "s3:///x", "s3://key:secret@b/x", "gs://b", "file://"] {
            assert!(at(bad).location().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_secret_is_in_no_output() {
        let s3 = S3 { secret_access_key: "hush".into(), session_token: "hush".into(), ..S3::default() };
        let config = Config { s3, ..Config::default() };
        assert!(!format!("{config:?}").contains("hush"));
        assert_eq!(format!("{:?}", config.s3.secret_access_key), HIDDEN);
    }

    #[test]
    fn what_cannot_work_is_named_by_its_key() {
        let check = |s3: S3, key: &str| {
            let violations = Config { s3, ..Config::default() }.violations();
            assert!(violations.len() == 1 && violations[0].contains(key), "{key}: {violations:?}");
        };
        let with = |endpoint: &str| S3 { endpoint: endpoint.to_string(), ..S3::default() };
        check(with("http://127.0.0.1:9000"), "storage.s3.insecure");
        check(with("ftp://x"), "storage.s3.endpoint");
        check(S3 { access_key_id: "a".to_string(), ..S3::default() }, "storage.s3.secret_access_key");
        let shown = S3 { session_token: HIDDEN.into(), ..S3::default() };
        check(shown, "storage.s3.session_token");
        assert_eq!(with("minio:9000").endpoint_url().as_deref(), Some("https://minio:9000"));
        let insecure = S3 { insecure: true, ..with("minio:9000/") };
        assert_eq!(insecure.endpoint_url().as_deref(), Some("http://minio:9000"));
    }
}
