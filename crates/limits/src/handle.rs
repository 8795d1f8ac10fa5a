use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use model::{TenantId, TenantIdError};
use parking_lot::RwLock;
use runtime::PromDuration;
use serde::{Deserialize, Serialize};

use crate::{Limits, Overrides};

/// The limits of all tenants, as configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// For tenants that are not named below, and for the limits that those do not name.
    pub defaults: Limits,
    /// By tenant id, what differs from the defaults.
    pub overrides: BTreeMap<String, Overrides>,
    /// A YAML file with `overrides` of the same form, which go over those above; read again when it changes.
    pub overrides_file: String,
    /// How often the file is looked at.
    pub overrides_period: PromDuration,
}

impl Default for LimitsConfig {
    fn default() -> LimitsConfig {
        LimitsConfig {
            defaults: Limits::default(),
            overrides: BTreeMap::new(),
            overrides_file: String::new(),
            // Mimir's default.
            overrides_period: PromDuration::secs(10),
        }
    }
}

/// The configured limits make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// An override for something that can never be a tenant.
    #[error("limits.overrides: {0}")]
    Tenant(#[from] TenantIdError),
    /// A rate that is negative, infinite or no number.
    #[error("limits: {key} of {tenant} is {value}, must be a number of at least 0")]
    NotANumber {
        /// The limit's key.
        key: &'static str,
        /// Whose limit.
        tenant: String,
        /// As configured.
        value: String,
    },
    /// Two ways to say which resource attributes become labels.
    #[error(
        "limits: {list} of {tenant} has no meaning while promote_all_otel_resource_attributes is {all}; leave one of the two out"
    )]
    Promotion {
        /// Whose limits.
        tenant: String,
        /// The list's key.
        list: &'static str,
        /// Whether all attributes are promoted.
        all: bool,
    },
}

/// Tells the limits of each tenant; clones share what is reloaded.
#[derive(Debug, Clone)]
pub struct LimitsHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    current: RwLock<Current>,
    generation: AtomicU64,
    /// How many processes of a kind share the limits that hold for all of them together.
    distributors: AtomicU32,
    ingesters: AtomicU32,
}

impl Shared {
    fn new(current: Current) -> Shared {
        Shared {
            current: RwLock::new(current),
            generation: AtomicU64::new(1),
            distributors: AtomicU32::new(1),
            ingesters: AtomicU32::new(1),
        }
    }
}

#[derive(Debug)]
struct Current {
    defaults: Arc<Limits>,
    tenants: HashMap<TenantId, Arc<Limits>>,
}

impl LimitsHandle {
    /// Limits as configured.
    pub fn new(config: &LimitsConfig) -> Result<LimitsHandle, LimitsError> {
        Ok(LimitsHandle { shared: Arc::new(Shared::new(Current::new(config)?)) })
    }

    /// The same limits for everyone, for tests and small set-ups.
    pub fn fixed(limits: Limits) -> LimitsHandle {
        let current = Current { defaults: Arc::new(limits), tenants: HashMap::new() };
        LimitsHandle { shared: Arc::new(Shared::new(current)) }
    }

    /// Says how many distributors and ingesters there are. Rates hold for all distributors together and numbers of
    /// series for all ingesters, while each of them counts its own: so each enforces its share.
    pub fn divide_among(&self, distributors: u32, ingesters: u32) {
        self.shared.distributors.store(distributors.max(1), Ordering::Relaxed);
        self.shared.ingesters.store(ingesters.max(1), Ordering::Relaxed);
    }

    /// One distributor's part of a rate.
    pub fn distributor_share(&self, rate: f64) -> f64 {
        rate / f64::from(self.shared.distributors.load(Ordering::Relaxed))
    }

    /// One ingester's part of a number of series, rounded up; 0 stays no limit.
    pub fn ingester_share(&self, n_series: u64) -> u64 {
        n_series.div_ceil(u64::from(self.shared.ingesters.load(Ordering::Relaxed)))
    }

    /// The limits of a tenant.
    pub fn for_tenant(&self, tenant: &TenantId) -> Arc<Limits> {
        let current = self.shared.current.read();
        Arc::clone(current.tenants.get(tenant).unwrap_or(&current.defaults))
    }

    /// Grows with every [`LimitsHandle::replace`]. Read it before the limits: whoever stores a verdict under
    /// the generation read first can only forget too early, never too late.
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// Puts other limits in place, for all clones; keeps the old ones when the new make no sense.
    pub fn replace(&self, config: &LimitsConfig) -> Result<(), LimitsError> {
        let next = Current::new(config)?;
        *self.shared.current.write() = next;
        self.shared.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

impl Default for LimitsHandle {
    fn default() -> LimitsHandle {
        LimitsHandle::fixed(Limits::default())
    }
}

impl Current {
    fn new(config: &LimitsConfig) -> Result<Current, LimitsError> {
        check(&config.defaults, "defaults")?;
        let mut tenants = HashMap::with_capacity(config.overrides.len());
        for (id, overrides) in &config.overrides {
            let limits = config.defaults.overridden(overrides);
            check(&limits, id)?;
            tenants.insert(TenantId::new(id)?, Arc::new(limits));
        }
        Ok(Current { defaults: Arc::new(config.defaults.clone()), tenants })
    }
}

fn check(limits: &Limits, tenant: &str) -> Result<(), LimitsError> {
    let rates =
        [("ingestion_rate", limits.ingestion_rate), ("ingestion_burst_size", limits.ingestion_burst_size)];
    for (key, value) in rates {
        if !value.is_finite() || value < 0.0 {
            let (tenant, value) = (tenant.to_string(), value.to_string());
            return Err(LimitsError::NotANumber { key, tenant, value });
        }
    }
    let all = limits.promote_all_otel_resource_attributes;
    let (list, names) = match all {
        true => ("promote_otel_resource_attributes", &limits.promote_otel_resource_attributes),
        false => ("ignore_otel_resource_attributes", &limits.ignore_otel_resource_attributes),
    };
    if names.is_empty() {
        return Ok(());
    }
    Err(LimitsError::Promotion { tenant: tenant.to_string(), list, all })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Result<LimitsConfig, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_tenant_has_its_own_limits_and_the_defaults_for_the_rest() {
        let config = config(
            r#"{"defaults": {"max_series": 10, "query_timeout": "30s"},
                "overrides": {"a": {"max_series": 20, "creation_grace_period": "1h30m"}}}"#,
        );
        let handle = LimitsHandle::new(&config.unwrap()).unwrap();
        let a = handle.for_tenant(&TenantId::new("a").unwrap());
        let b = handle.for_tenant(&TenantId::new("b").unwrap());
        assert_eq!((a.max_series, b.max_series), (20, 10));
        assert_eq!(a.query_timeout.to_string(), "30s");
        assert_eq!(a.creation_grace_period.millis(), 5_400_000);
        assert_eq!(b.creation_grace_period.millis(), 600_000);
    }

    #[test]
    fn a_key_that_does_not_exist_is_an_error_in_both_places() {
        assert!(config(r#"{"defaults": {"max_serie": 10}}"#).is_err());
        assert!(config(r#"{"overrides": {"a": {"max_serie": 10}}}"#).is_err());
        assert!(config(r#"{"default": {}}"#).is_err());
        assert!(config(r#"{"defaults": {"query_timeout": 30}}"#).is_err());
    }

    #[test]
    fn a_change_reaches_all_clones_and_moves_the_generation() {
        let handle = LimitsHandle::default();
        let clone = handle.clone();
        let before = clone.generation();
        handle.replace(&config(r#"{"defaults": {"max_series": 5}}"#).unwrap()).unwrap();
        assert_eq!(clone.for_tenant(&TenantId::anonymous()).max_series, 5);
        assert!(clone.generation() > before);
    }

    #[test]
    fn each_process_enforces_its_share_of_what_all_may_do() {
        let handle = LimitsHandle::default();
        assert_eq!((handle.distributor_share(90.0), handle.ingester_share(10)), (90.0, 10));
        handle.clone().divide_among(3, 4);
        assert_eq!((handle.distributor_share(90.0), handle.ingester_share(10)), (30.0, 3));
        assert_eq!((handle.ingester_share(0), handle.ingester_share(1)), (0, 1));
        handle.divide_among(0, 0);
        assert_eq!((handle.distributor_share(90.0), handle.ingester_share(10)), (90.0, 10));
    }

    #[test]
    fn limits_that_make_no_sense_leave_the_old_ones_in_place() {
        let handle = LimitsHandle::default();
        let bad = [
            r#"{"overrides": {"../x": {}}}"#,
            r#"{"defaults": {"ingestion_rate": -1}}"#,
            r#"{"overrides": {"a": {"ingestion_burst_size": -5}}}"#,
            r#"{"defaults": {"ignore_otel_resource_attributes": "a"}}"#,
            r#"{"overrides": {"a": {"promote_all_otel_resource_attributes": true, "promote_otel_resource_attributes": "a"}}}"#,
        ];
        for json in bad {
            assert!(handle.replace(&config(json).unwrap()).is_err(), "{json}");
        }
        assert_eq!(handle.generation(), LimitsHandle::default().generation());
    }

    #[test]
    fn what_is_printed_reads_back() {
        let limits = Limits::default();
        let text = serde_json::to_string(&limits).unwrap();
        assert_eq!(serde_json::from_str::<Limits>(&text).unwrap(), limits);
    }
}
