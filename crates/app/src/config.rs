use std::collections::BTreeSet;
use std::env;
use std::fs;

use config::storage::Location;
use figment::Figment;
use figment::providers::Serialized;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::args::{Args, Leaf, leaves, nested, typed};
use crate::{bytes, expand, logs};

/// The target that is every role of the binary.
pub(crate) const ALL: &str = "all";

/// Everything that can be configured, the sum of what the components have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which role this process plays; `all` is every role that the binary has.
    pub target: String,
    /// Whether each request must name its tenant in `X-Scope-OrgID`.
    pub multitenancy_enabled: bool,
    /// The memory that the process may use, such as `256MiB`; `auto` takes the container's limit, `0` is none.
    pub memory_limit: String,
    /// The port and the logs.
    pub server: server::Config,
    /// Where data lie.
    pub storage: config::storage::Config,
    /// Pushes.
    pub distributor: config::distributor::Config,
    /// The log and the head.
    pub ingester: config::ingester::Config,
    /// Tables.
    pub bucket: config::bucket::Config,
    /// Reading blocks.
    pub scan: config::scan::Config,
    /// Merging, retention, deletion.
    pub compactor: config::compactor::Config,
    /// Evaluation.
    pub querier: config::querier::Config,
    /// Waiting for a querier.
    pub query_frontend: config::query_frontend::Config,
    /// The ingesters and their shards.
    pub cluster: config::cluster::Config,
    /// Calls between processes.
    pub rpc: config::rpc::Config,
    /// What tenants may do.
    pub limits: limits::LimitsConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            target: ALL.to_string(),
            multitenancy_enabled: false,
            memory_limit: "auto".to_string(),
            server: server::Config::default(),
            storage: config::storage::Config::default(),
            distributor: config::distributor::Config::default(),
            ingester: config::ingester::Config::default(),
            bucket: config::bucket::Config::default(),
            scan: config::scan::Config::default(),
            compactor: config::compactor::Config::default(),
            querier: config::querier::Config::default(),
            query_frontend: config::query_frontend::Config::default(),
            cluster: config::cluster::Config::default(),
            rpc: config::rpc::Config::default(),
            limits: limits::LimitsConfig::default(),
        }
    }
}

/// A source of values: its name for messages, and the values as a tree.
struct Layer {
    source: String,
    tree: Value,
}

impl Config {
    /// Defaults, then the file, the environment and the flags, each over the one before. All violations at once.
    /// `roles` are those that the binary has.
    pub(crate) fn load(args: &Args, roles: &[&str]) -> Result<Config, Vec<String>> {
        let defaults = Config::tree();
        let mut violations = Vec::new();
        let mut layers = Vec::new();
        match file_layer(args) {
            Ok(layer) => layers.extend(layer),
            Err(violation) => violations.push(violation),
        }
        layers.extend(environment_layers(&defaults, env::vars(), &mut violations));
        layers.extend(flag_layers(&defaults, args));
        for layer in &layers {
            check_keys(&defaults, &layer.tree, &mut Vec::new(), &layer.source, &mut violations);
        }
        if !violations.is_empty() {
            return Err(violations);
        }
        let config = extract(&layers)?;
        config.check(roles)?;
        Ok(config)
    }

    /// The defaults as a tree.
    pub(crate) fn tree() -> Value {
        serde_json::to_value(Config::default()).unwrap_or_default()
    }

    /// The configuration as YAML.
    pub(crate) fn yaml(&self) -> Result<String, String> {
        serde_saphyr::to_string(self).map_err(|e| e.to_string())
    }

    /// The configuration in force as YAML, without its secrets; what `/config` shows.
    pub fn shown(&self) -> String {
        self.yaml().unwrap_or_default()
    }

    /// Every key as a flag with its value, by name, without secrets.
    pub fn flags(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
        let in_force = serde_json::to_value(self).unwrap_or_default();
        let mut flags: Vec<(String, String)> =
            leaves(&in_force).iter().map(|leaf| (leaf.flag(), text(&leaf.default))).collect();
        flags.sort();
        flags
    }

    /// The memory limit in bytes, 0 for none.
    pub fn memory_limit_bytes(&self) -> Result<u64, String> {
        match self.memory_limit.as_str() {
            "auto" => Ok(runtime::container_limit().unwrap_or(0)),
            text => bytes::parse(text).map_err(|e| format!("memory_limit: {e}")),
        }
    }

    /// Every rule that one key alone cannot break.
    fn check(&self, roles: &[&str]) -> Result<(), Vec<String>> {
        let mut violations = Vec::new();
        if self.target != ALL && !roles.contains(&self.target.as_str()) {
            let known = roles.join(", ");
            violations
                .push(format!("target: {:?} is not a role of this binary, which has: {known}", self.target));
        }
        violations.extend(self.memory_limit_bytes().err());
        violations
            .extend(logs::filter(&self.server.log_level).err().map(|e| format!("server.log_level: {e}")));
        if !["logfmt", "json"].contains(&self.server.log_format.as_str()) {
            violations
                .push(format!("server.log_format: {:?} is neither logfmt nor json", self.server.log_format));
        }
        violations.extend(self.storage.violations());
        let role = if self.target == ALL { roles.first().copied() } else { Some(self.target.as_str()) };
        let alone = role.is_some_and(|role| ["ingester", "querier", "compactor"].contains(&role));
        if alone && self.storage.location() == Ok(Location::Memory) {
            violations.push(
                "storage.url: memory:// is this process's own; roles apart share a folder or a bucket"
                    .to_string(),
            );
        }
        violations
            .extend(self.ingester.violations().into_iter().map(|violation| format!("ingester.{violation}")));
        violations.extend(self.bucket.violations());
        violations.extend(self.compactor.violations());
        violations.extend(self.querier.violations());
        violations.extend(self.query_frontend.violations());
        violations.extend(self.cluster.violations());
        violations.extend(self.rpc.violations());
        violations.extend(self.limits.violations());
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }
}

fn file_layer(args: &Args) -> Result<Option<Layer>, String> {
    let Some(path) = &args.config_file else { return Ok(None) };
    let mut text = fs::read_to_string(path).map_err(|e| format!("read {path}: {e}"))?;
    if args.expand_env {
        text = expand::expand(&text, |name| env::var(name).ok())?;
    }
    let tree: Value = serde_saphyr::from_str(&text).map_err(|e| format!("{path}: {e}"))?;
    let tree = if tree.is_null() { Value::Object(serde_json::Map::new()) } else { tree };
    Ok(Some(Layer { source: path.clone(), tree }))
}

/// Variables of the test suite share our prefix and are none of our keys.
const NOT_KEYS: [&str; 4] = ["FIRN_FAULT", "FIRN_CACHE", "FIRN_SHARED", "FIRN_REQUIRE_PARTS"];

/// Kubernetes gives each pod variables about the services beside it; for one called `firn` they look like ours.
fn is_of_others(name: &str) -> bool {
    let service_link =
        name.contains("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || name.contains("_PORT_");
    let service_link = service_link || name.ends_with("_PORT");
    NOT_KEYS.contains(&name) || (service_link && !name.contains("__"))
}

fn environment_layers(
    defaults: &Value,
    variables: impl Iterator<Item = (String, String)>,
    violations: &mut Vec<String>,
) -> Vec<Layer> {
    let leaves = leaves(defaults);
    let mut layers = Vec::new();
    let ours = variables.filter(|(name, _)| name.starts_with("FIRN_") && !is_of_others(name));
    for (name, text) in ours {
        match leaves.iter().find(|leaf| leaf.variable() == name) {
            Some(Leaf { path, default }) => {
                layers.push(Layer { source: name, tree: nested(path, typed(default, &text)) });
            }
            None => violations.push(format!("environment variable {name} is not a key of the configuration")),
        }
    }
    layers
}

fn flag_layers(defaults: &Value, args: &Args) -> Vec<Layer> {
    let leaves = leaves(defaults);
    let layer = |(path, text): &(Vec<String>, String)| {
        let leaf = leaves.iter().find(|leaf| leaf.path == *path)?;
        let tree = nested(path, typed(&leaf.default, text));
        Some(Layer { source: format!("flag -{}", path.join(".").replace('_', "-")), tree })
    };
    args.values.iter().filter_map(layer).collect()
}

/// Collects keys that do not exist, and values that their key does not take when it is set alone.
fn check_keys(
    defaults: &Value,
    given: &Value,
    path: &mut Vec<String>,
    source: &str,
    violations: &mut Vec<String>,
) {
    match (defaults, given) {
        (Value::Object(known), Value::Object(given)) if !known.is_empty() => {
            for (key, value) in given {
                path.push(key.clone());
                match known.get(key) {
                    Some(default) => check_keys(default, value, path, source, violations),
                    None => violations.push(unknown(path, known.keys(), source)),
                }
                path.pop();
            }
        }
        _ => {
            let alone = Figment::from(Serialized::defaults(Config::default()))
                .merge(Serialized::defaults(nested(path, given.clone())));
            if let Err(errors) = alone.extract::<Config>() {
                let reasons: Vec<String> = errors.into_iter().map(|e| e.kind.to_string()).collect();
                violations.push(format!("{source}: {}: {}", path.join("."), reasons.join("; ")));
            }
        }
    }
}

fn unknown<'a>(path: &[String], known: impl Iterator<Item = &'a String>, source: &str) -> String {
    let known: BTreeSet<&str> = known.map(String::as_str).collect();
    let known: Vec<&str> = known.into_iter().collect();
    format!("{source}: unknown key {}; known here: {}", path.join("."), known.join(", "))
}

fn extract(layers: &[Layer]) -> Result<Config, Vec<String>> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    for layer in layers {
        figment = figment.merge(Serialized::defaults(&layer.tree));
    }
    figment.extract().map_err(|errors| errors.into_iter().map(|e| e.to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(yaml: &str) -> Result<Config, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("firn.yaml");
        fs::write(&path, yaml).unwrap();
        Config::load(
            &Args { config_file: Some(path.display().to_string()), ..Args::default() },
            &["distributor"],
        )
    }

    #[test]
    fn every_violation_is_listed_at_once() {
        let violations = load(
            "target: all\nserver: {http_listen_port: many, http_lisen_address: x}\nnonsense: 1\nlimits: {defaults: {query_timeout: soon}, overrides: {a: {max_serie: 1}}}\n",
        )
        .unwrap_err();
        let text = violations.join("\n");
        for part in ["http_listen_port", "http_lisen_address", "nonsense", "query_timeout", "max_serie"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert_eq!(violations.len(), 5, "{text}");
    }

    #[test]
    fn values_that_components_refuse_are_listed_with_the_others() {
        let violations = load(
            "target: querier\nstorage: {url: 'gs://bucket/x'}\ningester: {window: 7m}\nbucket: {commit_attempts: 0}\nquerier: {max_concurrent: 0}\n",
        )
        .unwrap_err();
        let text = violations.join("\n");
        for part in
            ["target", "storage.url", "ingester.window", "bucket.commit_attempts", "querier.max_concurrent"]
        {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert_eq!(violations.len(), 5, "{text}");
        for url in ["memory://", "file:///var/firn", "./data/tables", "/data", "s3://bucket/x"] {
            assert!(load(&format!("storage: {{url: '{url}'}}\n")).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_store_that_nobody_else_sees_is_refused_for_a_role_apart() {
        let load = |target: &str| {
            let mut config = Config { target: target.to_string(), ..Config::default() };
            config.storage.url = "memory://".to_string();
            config.check(&[ALL, "distributor", "ingester"])
        };
        assert!(load("ingester").unwrap_err()[0].contains("memory://"));
        assert_eq!((load(ALL), load("distributor")), (Ok(()), Ok(())));
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let config = Config::default();
        assert_eq!(load(&config.yaml().unwrap()).unwrap(), config);
    }

    #[test]
    fn the_environment_sets_keys_and_unknown_ones_are_refused() {
        let variables = [
            ("FIRN_SERVER__HTTP_LISTEN_PORT", "80"),
            ("FIRN_NO_SUCH", "1"),
            ("FIRN_FAULT", "x"),
            ("FIRN_PORT_9009_TCP", "tcp://10.0.0.1"),
        ];
        let variables = variables.into_iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let mut violations = Vec::new();
        let layers = environment_layers(&Config::tree(), variables, &mut violations);
        assert_eq!(extract(&layers).unwrap().server.http_listen_port, 80);
        assert_eq!(violations, ["environment variable FIRN_NO_SUCH is not a key of the configuration"]);
    }

    #[test]
    fn flags_tell_every_value_in_force_and_no_secret() {
        let config = load(
            "storage: {s3: {access_key_id: public, secret_access_key: hush}}\nlimits: {overrides: {a: {max_series: 7}}}\n",
        );
        let flags = config.unwrap().flags();
        let flag = |name: &str| flags.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        assert_eq!(flag("server.http-listen-port"), Some("9009"));
        assert_eq!(flag("storage.s3.access-key-id"), Some("public"));
        assert_eq!(flag("limits.overrides.a.max-series"), Some("7"));
        assert!(flags.iter().all(|(_, value)| !value.contains("hush")));
        assert!(flags.is_sorted() && flags.len() > 50);
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(load("").unwrap(), Config::default());
        assert_eq!(load("# nothing\n").unwrap(), Config::default());
    }

    #[test]
    fn the_page_about_configuration_names_every_key_with_its_default_and_no_other() {
        let page = include_str!("../../../docs/configuration.md");
        let cell = |cell: &str| cell.trim_matches(['|', ' ', '`']).to_string();
        let rows = page.lines().map(|row| row.split(" | ").map(cell).collect::<Vec<String>>());
        let documented: BTreeSet<(String, String)> = rows
            .filter(|row| row.len() == 4 && row[0] != "key")
            .map(|row| (row[0].clone(), row[2].clone()))
            .collect();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
        let there_are: BTreeSet<(String, String)> =
            leaves(&Config::tree()).iter().map(|leaf| (leaf.path.join("."), text(&leaf.default))).collect();
        assert_eq!(documented, there_are);
    }
}
