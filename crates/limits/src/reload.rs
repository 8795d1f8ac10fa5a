use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use runtime::{Clock, PromDuration, Service, Shutdown};
use serde::{Deserialize, Serialize};

use crate::{Limits, LimitsConfig, LimitsError, LimitsHandle, Overrides};

/// The file of overrides: read at the start, and again while the process runs. A file that makes no sense changes
/// nothing.
#[derive(Debug)]
pub struct Reload {
    config: LimitsConfig,
    handle: LimitsHandle,
    clock: Clock,
    metrics: Metrics,
    state: Arc<Mutex<State>>,
}

/// What `/runtime_config` shows; clones see the same.
#[derive(Debug, Clone)]
pub struct OverridesView {
    defaults: Limits,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The file, if there is one.
    file: Option<PathBuf>,
    /// Of the content that was looked at last, good or bad.
    hash: Option<u64>,
    /// Overrides in force: those of the configuration, and over them those of the file.
    overrides: BTreeMap<String, Overrides>,
    loaded_ms: i64,
    /// Why the file's present content is not in force.
    failure: Option<String>,
}

#[derive(Debug, Default)]
struct Metrics {
    is_good: Gauge,
    reloads: Counter,
    failures: Counter,
}

/// The file of overrides is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// It cannot be read.
    #[error("limits.overrides_file: read {file}: {reason}")]
    Read {
        /// Its path.
        file: String,
        /// Why not.
        reason: String,
    },
    /// It is larger than such a file can be.
    #[error("limits.overrides_file: {file} has {bytes} bytes, at most {MAX_FILE_BYTES} are read")]
    TooLarge {
        /// Its path.
        file: String,
        /// Its length.
        bytes: u64,
    },
    /// It is not YAML, or has a key that does not exist, or a value that its key does not take.
    #[error("limits.overrides_file: {file}: {reason}")]
    Parse {
        /// Its path.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// What it says makes no sense.
    #[error("limits.overrides_file: {0}")]
    Limits(#[from] LimitsError),
}

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Content {
    overrides: BTreeMap<String, Overrides>,
}

/// A hundred thousand tenants with ten limits each.
const MAX_FILE_BYTES: u64 = 64 << 20;

impl Reload {
    /// Reads the file for the first time; a bad one is an error then.
    pub fn open(
        config: &LimitsConfig,
        handle: LimitsHandle,
        clock: Clock,
        registry: &mut Registry,
    ) -> Result<Reload, ReloadError> {
        let file = (!config.overrides_file.is_empty()).then(|| PathBuf::from(&config.overrides_file));
        let state = State { file, overrides: config.overrides.clone(), ..State::default() };
        let metrics = Metrics::register(registry);
        let state = Arc::new(Mutex::new(state));
        let reload = Reload { config: config.clone(), handle, clock, metrics, state };
        reload.load()?;
        Ok(reload)
    }

    /// For `/runtime_config`.
    pub fn view(&self) -> OverridesView {
        OverridesView { defaults: self.config.defaults.clone(), state: Arc::clone(&self.state) }
    }

    /// Looks at the file and puts its overrides in force if they changed. Reads the file as it goes.
    pub fn load(&self) -> Result<(), ReloadError> {
        let Some(file) = self.state.lock().file.clone() else { return Ok(()) };
        let outcome = self.load_file(&file);
        let failure = outcome.as_ref().err().map(ToString::to_string);
        self.metrics.is_good.set(i64::from(failure.is_none()));
        let mut state = self.state.lock();
        // What is wrong for longer is told once.
        let is_news = state.failure != failure;
        state.failure.clone_from(&failure);
        drop(state);
        if let Some(failure) = failure.filter(|_| is_news) {
            self.metrics.failures.inc();
            tracing::error!(error = failure, "the limits stay as they were");
        }
        outcome
    }

    fn load_file(&self, file: &Path) -> Result<(), ReloadError> {
        let text = read(file)?;
        let hash = hash(&text);
        let is_in_force = {
            let state = self.state.lock();
            state.hash == Some(hash) && state.failure.is_none()
        };
        if is_in_force { Ok(()) } else { self.put(file, &text, hash) }
    }

    fn put(&self, file: &Path, text: &str, hash: u64) -> Result<(), ReloadError> {
        self.state.lock().hash = Some(hash);
        let shown = file.display().to_string();
        let content: Content = match text.trim().is_empty() {
            true => Content::default(),
            false => serde_saphyr::from_str(text)
                .map_err(|e| ReloadError::Parse { file: shown.clone(), reason: one_line(&e.to_string()) })?,
        };
        let mut config = self.config.clone();
        for (tenant, overrides) in content.overrides {
            config.overrides.entry(tenant).or_default().merge(overrides);
        }
        self.handle.replace(&config)?;
        let n_tenants = config.overrides.len();
        let mut state = self.state.lock();
        state.overrides = config.overrides;
        state.loaded_ms = self.clock.now_ms();
        drop(state);
        self.metrics.reloads.inc();
        tracing::info!(file = shown, tenants = n_tenants, "limits of tenants read");
        Ok(())
    }
}

impl Service for Reload {
    const NAME: &'static str = "limits";
    type Error = ReloadError;

    async fn run(self, mut shutdown: Shutdown) -> Result<(), ReloadError> {
        let reload = Arc::new(self);
        let has_file = reload.state.lock().file.is_some();
        if !has_file {
            shutdown.wait().await;
            return Ok(());
        }
        loop {
            let period = reload.config.overrides_period.0;
            if runtime::timeout(period, shutdown.wait()).await.is_some() {
                return Ok(());
            }
            let this = Arc::clone(&reload);
            // What went wrong was told, and the next look may find it mended.
            let _told = runtime::blocking(move || this.load()).await;
        }
    }
}

impl OverridesView {
    /// Whether the file of overrides, if there is one, is in force as it is, and since when what is in force is; `None`
    /// where that is the configuration.
    pub fn in_force(&self) -> (bool, Option<i64>) {
        let state = self.state.lock();
        (state.failure.is_none(), (state.loaded_ms > 0).then_some(state.loaded_ms))
    }

    /// The overrides in force as YAML; with `only_differences` only what differs from the defaults.
    pub fn show(&self, only_differences: bool) -> String {
        let state = self.state.lock();
        let mut text = match (&state.file, &state.failure) {
            (None, _) => {
                "# there is no limits.overrides_file: these are the overrides of the configuration\n"
                    .to_string()
            }
            (Some(file), None) => format!("# {}, in force since {} ms\n", file.display(), state.loaded_ms),
            (Some(file), Some(failure)) => format!(
                "# {} is not in force: {}\n# in force since {} ms:\n",
                file.display(),
                one_line(failure),
                state.loaded_ms
            ),
        };
        let shown = match only_differences {
            true => {
                let differing = |(tenant, overrides): (&String, &Overrides)| {
                    let differing = overrides.differing(&self.defaults);
                    (differing != Overrides::default()).then(|| (tenant.clone(), differing))
                };
                let overrides = state.overrides.iter().filter_map(differing).collect();
                serde_saphyr::to_string(&Content { overrides })
            }
            false => {
                let whole = |(tenant, overrides): (&String, &Overrides)| {
                    (tenant.clone(), self.defaults.overridden(overrides))
                };
                let overrides: BTreeMap<String, Limits> = state.overrides.iter().map(whole).collect();
                serde_saphyr::to_string(&BTreeMap::from([("overrides", overrides)]))
            }
        };
        text.push_str(&shown.unwrap_or_else(|e| format!("# {e}\n")));
        text
    }
}

impl Metrics {
    fn register(registry: &mut Registry) -> Metrics {
        let registry = registry.sub_registry_with_prefix("limits");
        let metrics = Metrics::default();
        metrics.is_good.set(1);
        let help = "Whether the file of overrides is in force as it is";
        registry.register("last_reload_successful", help, metrics.is_good.clone());
        registry.register("reloads", "Changes of the file that were put in force", metrics.reloads.clone());
        let help = "Changes of the file that were not";
        registry.register("failed_reloads", help, metrics.failures.clone());
        metrics
    }
}

impl LimitsConfig {
    /// Every value that makes no sense, by its key.
    pub fn violations(&self) -> Vec<String> {
        let mut violations: Vec<String> =
            LimitsHandle::new(self).err().map(|e| e.to_string()).into_iter().collect();
        if self.overrides_period < PromDuration::secs(1) {
            violations.push(format!("limits.overrides_period: {} is below 1s", self.overrides_period));
        }
        violations
    }
}

fn read(file: &Path) -> Result<String, ReloadError> {
    let shown = || file.display().to_string();
    let fail = |e: std::io::Error| ReloadError::Read { file: shown(), reason: e.to_string() };
    let bytes = std::fs::metadata(file).map_err(fail)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(ReloadError::TooLarge { file: shown(), bytes });
    }
    std::fs::read_to_string(file).map_err(fail)
}

fn hash(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<&str>>().join(" ")
}

#[cfg(test)]
mod tests {
    use model::TenantId;

    use super::*;

    struct World {
        dir: tempfile::TempDir,
        handle: LimitsHandle,
        reload: Reload,
    }

    fn config(file: &Path) -> LimitsConfig {
        let a = Overrides { max_series: Some(5), ..Overrides::default() };
        LimitsConfig {
            overrides: BTreeMap::from([("a".to_string(), a)]),
            overrides_file: file.display().to_string(),
            ..LimitsConfig::default()
        }
    }

    fn world(text: &str) -> World {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("overrides.yaml");
        std::fs::write(&file, text).unwrap();
        let config = config(&file);
        let handle = LimitsHandle::new(&config).unwrap();
        let (clock, _) = Clock::manual(7);
        let reload = Reload::open(&config, handle.clone(), clock, &mut Registry::default()).unwrap();
        World { dir, handle, reload }
    }

    impl World {
        fn write(&self, text: &str) {
            std::fs::write(self.dir.path().join("overrides.yaml"), text).unwrap();
        }

        /// Two limits of a tenant.
        fn limits(&self, tenant: &str) -> (u64, u32) {
            let limits = self.handle.for_tenant(&TenantId::new(tenant).unwrap());
            (limits.max_series, limits.max_label_names_per_series)
        }
    }

    #[test]
    fn the_file_goes_over_the_configuration_key_by_key() {
        let world = world("overrides:\n  a: {max_label_names_per_series: 7}\n  b: {max_series: 9}\n");
        assert_eq!([world.limits("a"), world.limits("b"), world.limits("c")], [(5, 7), (9, 30), (0, 30)]);
        world.write("");
        world.reload.load().unwrap();
        assert_eq!(
            [world.limits("a"), world.limits("b")],
            [(5, 30), (0, 30)],
            "an empty file overrides nothing"
        );
    }

    #[test]
    fn a_change_moves_the_generation_and_the_same_content_does_not() {
        let world = world("overrides: {b: {max_series: 9}}\n");
        let before = world.handle.generation();
        world.write("overrides: {b: {max_series: 9}}\n");
        world.reload.load().unwrap();
        assert_eq!(world.handle.generation(), before);
        world.write("overrides: {b: {max_series: 10}}\n");
        world.reload.load().unwrap();
        assert!(world.handle.generation() > before);
        assert_eq!(world.limits("b").0, 10);
    }

    #[test]
    fn a_bad_file_keeps_the_old_limits_until_it_is_mended() {
        let world = world("overrides: {b: {max_series: 9}}\n");
        for (bad, part) in [
            ("overrides: {b: {max_serie: 1}}\n", "max_serie"),
            ("overrides: {b: {max_series: many}}\n", "max_series"),
            ("overides: {}\n", "overides"),
            ("overrides: [", "overrides.yaml"),
            ("overrides: {../x: {max_series: 1}}\n", "unsupported character"),
            ("overrides: {b: {ingestion_rate: -1}}\n", "ingestion_rate of b is -1"),
            ("overrides: {b: {metric_relabel_configs: [{action: hashmod, target_label: x}]}}\n", "modulus"),
        ] {
            world.write(bad);
            // The second look finds the same content, which is as bad as before.
            for _ in 0..2 {
                let error = world.reload.load().unwrap_err().to_string();
                assert!(error.contains(part), "{bad}: {error}");
            }
            assert_eq!(world.limits("b").0, 9, "{bad}");
            let shown = world.reload.view().show(true);
            assert!(shown.contains("is not in force") && shown.contains(part), "{shown}");
        }
        std::fs::remove_file(world.dir.path().join("overrides.yaml")).unwrap();
        assert!(world.reload.load().is_err());
        assert_eq!(world.limits("b").0, 9);
        world.write("overrides: {b: {max_series: 11}}\n");
        world.reload.load().unwrap();
        assert_eq!(world.limits("b").0, 11);
    }

    #[test]
    fn what_is_shown_reads_back_and_the_difference_leaves_out_what_does_not_differ() {
        let text = "overrides:\n  b: {max_series: 0, max_label_names_per_series: 4}\n  c: {max_series: 0}\n";
        let world = world(text);
        let view = world.reload.view();
        let differing: Content = serde_saphyr::from_str(&view.show(true)).unwrap();
        let tenants: Vec<&str> = differing.overrides.keys().map(String::as_str).collect();
        assert_eq!(tenants, ["a", "b"]);
        let b = Overrides { max_label_names_per_series: Some(4), ..Overrides::default() };
        assert_eq!(differing.overrides["b"], b);
        let whole: BTreeMap<String, BTreeMap<String, Limits>> =
            serde_saphyr::from_str(&view.show(false)).unwrap();
        assert_eq!(whole["overrides"].len(), 3);
        assert_eq!(whole["overrides"]["b"].max_label_names_per_series, 4);
    }

    #[test]
    fn a_bad_file_at_the_start_is_an_error() {
        let config = config(Path::new("/nonexistent/overrides.yaml"));
        let handle = LimitsHandle::new(&config).unwrap();
        let opened = Reload::open(&config, handle, Clock::manual(7).0, &mut Registry::default());
        assert!(matches!(opened.unwrap_err(), ReloadError::Read { .. }));
    }
}
