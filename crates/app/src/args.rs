use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value};

/// What the command line says.
#[derive(Debug, Default)]
pub(crate) struct Args {
    /// `-config.file`
    pub(crate) config_file: Option<String>,
    /// `-config.expand-env`
    pub(crate) expand_env: bool,
    /// `-print-config`
    pub(crate) print_config: bool,
    /// `-config.verify`
    pub(crate) verify: bool,
    /// `-health`
    pub(crate) health: bool,
    /// `-health.url`
    pub(crate) health_url: String,
    /// Values for keys of the configuration: path and text.
    pub(crate) values: Vec<(Vec<String>, String)>,
}

/// Reads Go-style flags. Every key of the configuration is a flag: its path with dots, and dashes for underscores.
pub(crate) fn parse(argv: impl IntoIterator<Item = String>, defaults: &Value) -> Result<Args, clap::Error> {
    let leaves = leaves(defaults);
    let matches = command(&leaves).try_get_matches_from(argv.into_iter().map(double_dash))?;
    let values = leaves.iter().filter_map(|leaf| given(&matches, leaf)).collect();
    Ok(Args {
        config_file: matches.get_one::<String>("config.file").cloned(),
        expand_env: matches.get_flag("config.expand-env"),
        print_config: matches.get_flag("print-config"),
        verify: matches.get_flag("config.verify"),
        health: matches.get_flag("health"),
        health_url: matches.get_one::<String>("health.url").cloned().unwrap_or_default(),
        values,
    })
}

/// A key of the configuration that holds a value and no further keys.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    /// Its path.
    pub(crate) path: Vec<String>,
    /// Its default, which tells the type.
    pub(crate) default: Value,
}

impl Leaf {
    pub(crate) fn flag(&self) -> String {
        self.path.join(".").replace('_', "-")
    }

    /// The environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        format!("FIRN_{}", self.path.join("__").to_uppercase())
    }
}

/// The leaves of the configuration. An empty map is free-form and comes from the file only.
pub(crate) fn leaves(defaults: &Value) -> Vec<Leaf> {
    let mut found = Vec::new();
    collect(defaults, &mut Vec::new(), &mut found);
    found
}

/// `text` as the type of the leaf's default; a text that does not parse stays a text and is refused by name later.
pub(crate) fn typed(default: &Value, text: &str) -> Value {
    match default {
        Value::String(_) => Value::String(text.to_string()),
        // A list may be written as in YAML, or as its members with commas between.
        Value::Array(_) if !text.starts_with('[') => {
            text.split(',').map(str::trim).filter(|member| !member.is_empty()).map(Value::from).collect()
        }
        _ => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_string())),
    }
}

/// An object that holds `value` at `path` and nothing else.
pub(crate) fn nested(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |inner, key| Value::Object(Map::from_iter([(key.clone(), inner)])))
}

fn collect(value: &Value, path: &mut Vec<String>, found: &mut Vec<Leaf>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                path.push(key.clone());
                collect(value, path, found);
                path.pop();
            }
        }
        leaf => found.push(Leaf { path: path.clone(), default: leaf.clone() }),
    }
}

fn command(leaves: &[Leaf]) -> Command {
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
    };
    let mut command = Command::new("firn")
        .about("Firn: metrics in, Delta Lake at rest, PromQL out")
        .version(env!("CARGO_PKG_VERSION"))
        .arg(
            Arg::new("config.file")
                .long("config.file")
                .value_name("PATH")
                .help("YAML file with the configuration"),
        )
        .arg(switch(
            "config.expand-env",
            "Replace ${NAME} and ${NAME:-default} in the file by the environment",
        ))
        .arg(switch("config.verify", "Check the configuration and exit"))
        .arg(switch("health", "Ask a running process whether it is ready; the answer is the exit code"))
        .arg(
            Arg::new("health.url")
                .long("health.url")
                .value_name("URL")
                .default_value("http://127.0.0.1:9009/ready")
                .help("Whom -health asks"),
        )
        .arg(switch("print-config", "Print the configuration in force as YAML and exit"));
    for leaf in leaves {
        let boolean = leaf.default.is_boolean();
        let mut arg = Arg::new(leaf.flag()).long(leaf.flag()).help(format!("Default: {}", leaf.default));
        if boolean {
            arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
        }
        command = command.arg(arg.value_name("VALUE").allow_hyphen_values(!boolean));
    }
    command
}

fn given(matches: &ArgMatches, leaf: &Leaf) -> Option<(Vec<String>, String)> {
    let text = matches.get_one::<String>(&leaf.flag())?;
    Some((leaf.path.clone(), text.clone()))
}

/// `-server.http-listen-port=80`, as Go programs take it, becomes `--server.http-listen-port=80`.
fn double_dash(arg: String) -> String {
    let single = arg.strip_prefix('-').is_some_and(|rest| rest.len() > 1 && !rest.starts_with('-'));
    let negative_number = arg[arg.len().min(1)..].starts_with(|c: char| c.is_ascii_digit());
    if single && !negative_number { format!("-{arg}") } else { arg }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values(argv: &[&str]) -> Result<Vec<(String, String)>, clap::Error> {
        let defaults = json!({"target": "all", "on": false, "server": {"http_listen_port": 9009}});
        let argv = std::iter::once("firn").chain(argv.iter().copied()).map(str::to_string);
        let args = parse(argv, &defaults)?;
        Ok(args.values.into_iter().map(|(path, text)| (path.join("."), text)).collect())
    }

    #[test]
    fn lists_are_written_with_commas_or_as_json() {
        let list = |text: &str| typed(&json!([]), text);
        assert_eq!(list("a=h:1, b=h:2"), json!(["a=h:1", "b=h:2"]));
        assert_eq!(list(r#"["a=h:1"]"#), json!(["a=h:1"]));
        assert_eq!(list(""), json!([]));
    }

    #[test]
    fn flags_are_go_style_and_cover_every_key() {
        let expected = vec![("server.http_listen_port".to_string(), "80".to_string())];
        assert_eq!(values(&["-server.http-listen-port=80"]).unwrap(), expected);
        assert_eq!(values(&["--server.http-listen-port", "80"]).unwrap(), expected);
        assert_eq!(values(&["-on"]).unwrap(), [("on".to_string(), "true".to_string())]);
        assert_eq!(values(&["-on=false"]).unwrap(), [("on".to_string(), "false".to_string())]);
        assert!(values(&["-server.no-such-key=1"]).is_err());
    }
}
