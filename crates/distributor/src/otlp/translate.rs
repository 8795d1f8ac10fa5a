//! From an `ExportMetricsServiceRequest` to series: the walk over resources, scopes and metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Metadata, MetricType};
use wire::RefusalReason;

use super::families::{Family, Given, SeriesName};
use super::header::{
    CUMULATIVE, DELTA, EXPONENTIAL, GAUGE, HISTOGRAM, Header, SUM, metric_type, read_header,
    temporality_message,
};
use super::keys::Key;
use super::labels::{Attributes, Context, Extra, Fixed, push_label};
use super::names::{Kind, Naming};
use super::points::Point;
use super::{Points, Scratch};
use crate::intake::{DecodeError, Found, Intake, Mark};
use crate::proto::{Malformed, Reader, Wire};
use crate::remote_write::description;

/// One request on its way from protobuf to columns.
pub(super) struct Translator<'a, 'i> {
    pub(super) body: &'a [u8],
    pub(super) intake: &'a mut Intake<'i>,
    pub(super) metadata: &'a mut Vec<Metadata>,
    pub(super) scratch: &'a mut Scratch,
    pub(super) points: Points,
    naming: Naming,
    /// The most bytes that label runs may take: a bucket of sixteen bytes has all labels of its point.
    max_bytes: usize,
    /// Nanoseconds of the earliest and the latest point of the resource.
    pub(super) span: Option<(u64, u64)>,
}

/// What the points of a metric have in common.
pub(super) struct Metric {
    pub(super) family: Arc<Family>,
    /// Field number of its kind of data.
    pub(super) data: u32,
    /// Whether its points are differences since the last ones.
    pub(super) is_delta: bool,
}

const SERVICE_NAME: &str = "service.name";
const SERVICE_NAMESPACE: &str = "service.namespace";
const SERVICE_INSTANCE: &str = "service.instance.id";
const IDENTIFYING: [&str; 3] = [SERVICE_NAMESPACE, SERVICE_NAME, SERVICE_INSTANCE];

/// Half of the time that a query looks back: with a sample as often as this, `target_info` is always found.
const TARGET_INFO_STEP: u64 = 150_000_000_000;
/// More samples of `target_info` than this are not made of one resource: about 17 days. A point without a time, which
/// means 1970, would make millions of them.
const MAX_TARGET_INFO: u64 = 10_000;

impl<'a, 'i> Translator<'a, 'i> {
    pub(super) fn new(
        body: &'a [u8],
        intake: &'a mut Intake<'i>,
        metadata: &'a mut Vec<Metadata>,
        scratch: &'a mut Scratch,
        max_bytes: usize,
    ) -> Translator<'a, 'i> {
        let naming = Naming::of(intake.rules.limits);
        scratch.plans.reset();
        scratch.families.under(naming, intake.rules.seed);
        let points = Points::default();
        Translator { body, intake, metadata, scratch, points, naming, max_bytes, span: None }
    }

    /// Translates the whole request.
    pub(super) fn run(&mut self) -> Result<(), DecodeError> {
        let mut request = Reader::new(self.body);
        while let Some(resource) = next_message(&mut request, 1)? {
            self.resource_metrics(resource)?;
        }
        Ok(())
    }

    fn resource_metrics(&mut self, message: Reader<'a>) -> Result<(), DecodeError> {
        // The resource may stand behind its metrics, and in pieces.
        let mut resource = std::mem::take(&mut self.scratch.resource);
        resource.clear();
        let mut pieces = message.clone();
        while let Some(piece) = next_message(&mut pieces, 1)? {
            // A character of a value may take six to be written as JSON.
            self.intake.expect_bytes(piece.rest().len())?;
            read_attributes(piece, 1, &mut resource)?;
        }
        let labels = self.resource_labels(&resource);
        self.enter(labels.values());
        self.span = None;
        let mut scopes = message;
        while let Some(scope) = next_message(&mut scopes, 2)? {
            if self.intake.rules.limits.otel_promote_scope_metadata {
                let labels = self.scope_labels(scope.clone(), labels.clone())?;
                self.enter(labels.values());
            }
            let mut metrics = scope;
            while let Some(metric) = next_message(&mut metrics, 2)? {
                self.metric(metric)?;
            }
        }
        let outcome = self.target_info(&mut resource);
        self.scratch.resource = resource;
        outcome
    }

    /// The labels that every series of a resource has.
    fn resource_labels(&mut self, resource: &Attributes) -> BTreeMap<String, Fixed> {
        let mut labels = BTreeMap::new();
        let limits = self.intake.rules.limits;
        let all = limits.promote_all_otel_resource_attributes;
        let names = if all {
            &limits.ignore_otel_resource_attributes
        } else {
            &limits.promote_otel_resource_attributes
        };
        if all || !names.is_empty() {
            for (key, value) in resource.iter(self.body) {
                let is_named = std::str::from_utf8(key).is_ok_and(|key| names.contains(key));
                // An attribute that cannot name a label is left out: its series have the others.
                if is_named != all
                    && let Some(name) = self.scratch.plans.name(self.naming, key)
                {
                    set(&mut labels, name, value, false);
                }
            }
        }
        self.add_identity(resource, &mut labels);
        labels
    }

    /// `job` and `instance`, from the name of the service and its instance.
    fn add_identity(&self, resource: &Attributes, labels: &mut BTreeMap<String, Fixed>) {
        let get = |key| resource.get(self.body, key);
        if let Some(name) = get(SERVICE_NAME) {
            let job = match get(SERVICE_NAMESPACE) {
                Some(namespace) => [namespace, b"/", name].concat(),
                None => name.to_vec(),
            };
            if !job.is_empty() {
                set(labels, "job".to_string(), &job, true);
            }
        }
        if let Some(instance) = get(SERVICE_INSTANCE)
            && !instance.is_empty()
        {
            set(labels, "instance".to_string(), instance, true);
        }
    }

    /// From here on the series have these labels beside their own.
    fn enter<'l>(&mut self, labels: impl Iterator<Item = &'l Fixed>) {
        self.scratch.fixed.clear();
        self.scratch.fixed.extend(labels.cloned());
        self.scratch.fixed_key = Key::of_fixed(&self.scratch.fixed, self.intake.rules.seed);
        self.scratch.plans.forget();
    }

    /// Adds what is known about the scope, if it has a name.
    fn scope_labels(
        &mut self,
        mut message: Reader<'a>,
        mut labels: BTreeMap<String, Fixed>,
    ) -> Result<BTreeMap<String, Fixed>, Malformed> {
        let mut attributes = Attributes::default();
        let (mut name, mut version, mut schema_url): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
        while !message.is_done() {
            let (number, wire) = message.tag()?;
            match number {
                1 => {
                    let mut scope = message.message(wire)?;
                    read_attributes(scope.clone(), 3, &mut attributes)?;
                    while !scope.is_done() {
                        let (number, wire) = scope.tag()?;
                        match number {
                            1 => name = scope.bytes(wire)?,
                            2 => version = scope.bytes(wire)?,
                            _ => scope.skip(number, wire)?,
                        }
                    }
                }
                3 => schema_url = message.bytes(wire)?,
                _ => message.skip(number, wire)?,
            }
        }
        if name.is_empty() {
            return Ok(labels);
        }
        for (key, value) in attributes.iter(self.body) {
            let key = [b"otel_scope_", key].concat();
            if let Some(name) = self.scratch.plans.name(self.naming, &key) {
                set(&mut labels, name, value, true);
            }
        }
        for (label, value) in [("name", name), ("version", version), ("schema_url", schema_url)] {
            set(&mut labels, format!("otel_scope_{label}"), value, true);
        }
        Ok(labels)
    }

    fn metric(&mut self, message: Reader<'a>) -> Result<(), DecodeError> {
        let header = read_header(message)?;
        let Some((data, ref messages)) = header.data else { return Ok(()) };
        let is_delta = header.temporality == DELTA;
        let takes_delta = self.intake.rules.limits.otel_native_delta_ingestion;
        let is_total = header.temporality == CUMULATIVE || (is_delta && takes_delta);
        if matches!(data, SUM | HISTOGRAM | EXPONENTIAL) && !is_total {
            return self.refuse_all(messages.clone(), data, RefusalReason::DeltaTemporality, || {
                temporality_message(&header)
            });
        }
        let kind = match data {
            GAUGE => Kind::Gauge,
            SUM if header.is_monotonic => Kind::Counter,
            _ => Kind::Other,
        };
        let given = Given { name: header.name, unit: header.unit, kind, data };
        let family = match self.scratch.families.get(given) {
            Ok(family) => family,
            Err(why) => {
                return self.refuse_all(messages.clone(), data, RefusalReason::Untranslatable, || why);
            }
        };
        let metric = Metric { family, data, is_delta };
        let n_before = self.points.received;
        let mut point = std::mem::take(&mut self.scratch.point);
        let outcome = self.all_points(&metric, messages.clone(), &mut point);
        self.scratch.point = point;
        outcome?;
        if self.points.received > n_before {
            self.describe(&metric, metric_type(data, is_delta, header.is_monotonic), &header);
        }
        Ok(())
    }

    fn all_points(
        &mut self,
        metric: &Metric,
        mut messages: Reader<'a>,
        point: &mut Point,
    ) -> Result<(), DecodeError> {
        while let Some(mut points) = next_message(&mut messages, metric.data)? {
            while let Some(message) = next_message(&mut points, 1)? {
                self.points.received += 1;
                self.point(metric, message, point)?;
            }
        }
        Ok(())
    }

    fn describe(&mut self, metric: &Metric, metric_type: MetricType, header: &Header<'_>) {
        let Family { name, unit, .. } = &*metric.family;
        self.add_metadata(name.as_bytes(), metric_type, header.description, unit.as_bytes());
    }

    fn add_metadata(&mut self, family: &[u8], metric_type: MetricType, help: &[u8], unit: &[u8]) {
        self.intake.counts.metadata += 1;
        let max_len = self.intake.rules.limits.max_metadata_length as usize;
        match description(metric_type, family, help, unit, max_len) {
            Some(description) => self.metadata.push(description),
            None => self.intake.counts.metadata_dropped += 1,
        }
    }

    /// Refuses all points of a metric.
    fn refuse_all(
        &mut self,
        mut messages: Reader<'a>,
        data: u32,
        reason: RefusalReason,
        message: impl FnOnce() -> String,
    ) -> Result<(), DecodeError> {
        let mut n = 0;
        while let Some(mut points) = next_message(&mut messages, data)? {
            while next_message(&mut points, 1)?.is_some() {
                n += 1;
            }
        }
        self.points.received += n;
        self.points.refused += n;
        if n > 0 {
            self.intake.refused.refuse(reason, n, message);
        }
        Ok(())
    }

    /// Refuses one point.
    pub(super) fn refuse(&mut self, reason: RefusalReason, message: impl FnOnce() -> String) {
        self.points.refused += 1;
        self.intake.refused.refuse(reason, 1, message);
    }

    /// The series that a name and perhaps a bound make of a point. Its run is only written when it is not known.
    /// `None`, and the point is refused, when that cannot be.
    #[inline]
    pub(super) fn find(
        &mut self,
        point: &mut Point,
        name: &SeriesName,
        extra: (Extra, &[u8]),
    ) -> Result<Option<(Found, Mark)>, DecodeError> {
        self.check_size()?;
        let key = self.scratch.fixed_key.and(name.key).and(point.key);
        let key = match extra.0 {
            Extra::None => key,
            Extra::Le | Extra::Quantile => key.and(Key::of(extra.1, self.intake.rules.seed)),
        };
        let found = match self.intake.known(key.as_run_hash()) {
            Some(found) => found,
            None if !self.write_run(point, name, extra)? => return Ok(None),
            None => self.intake.work_out_as(&self.scratch.run, key.as_run_hash())?,
        };
        let mark = Mark::of(self.intake.columns(&found));
        Ok(Some((found, mark)))
    }

    #[inline]
    fn check_size(&self) -> Result<(), DecodeError> {
        match self.intake.n_appended() > self.max_bytes {
            true => Err(DecodeError::Expands { limit: self.max_bytes as u64 }),
            false => Ok(()),
        }
    }

    /// The series with the run that lies in the scratch.
    fn find_run(&mut self) -> Result<(Found, Mark), DecodeError> {
        self.check_size()?;
        let run = &self.scratch.run[..];
        let found = match self.intake.expected(run, None) {
            Some((place, _)) => Found::Series(place),
            None => self.intake.look_up(run, None)?,
        };
        let mark = Mark::of(self.intake.columns(&found));
        Ok((found, mark))
    }

    pub(super) fn finish(&mut self, found: &Found, mark: Mark) -> Result<(), DecodeError> {
        Ok(self.intake.finish(found, mark, &self.scratch.run)?)
    }

    /// Writes the label run of a point into the scratch. False, and the point is refused, when that cannot be.
    pub(super) fn write_run(
        &mut self,
        point: &mut Point,
        name: &SeriesName,
        extra: (Extra, &[u8]),
    ) -> Result<bool, Malformed> {
        point.read_attributes(self.body)?;
        let Scratch { plans, run, fixed, .. } = &mut *self.scratch;
        let context = Context { naming: self.naming, fixed };
        let written = plans.write(run, self.body, &point.attributes, context, &name.label, extra);
        match written {
            Ok(()) => Ok(true),
            Err(why) => {
                self.refuse(RefusalReason::Untranslatable, || why);
                Ok(false)
            }
        }
    }

    /// Adds the series that tells the attributes of a resource, over the time of its points.
    fn target_info(&mut self, resource: &mut Attributes) -> Result<(), DecodeError> {
        let Some((earliest, latest)) = self.span else { return Ok(()) };
        let n_identifying = IDENTIFYING.iter().filter(|key| resource.get(self.body, key).is_some()).count();
        if resource.len() <= n_identifying {
            return Ok(());
        }
        let mut labels = BTreeMap::new();
        self.add_identity(resource, &mut labels);
        if !self.intake.rules.limits.otel_keep_identifying_resource_attributes {
            resource.remove(self.body, &IDENTIFYING);
        }
        self.enter(labels.values());
        let mut name = Vec::new();
        push_label(&mut name, b"__name__", b"target_info");
        let Scratch { plans, run, fixed, .. } = &mut *self.scratch;
        let context = Context { naming: self.naming, fixed };
        let extra = (Extra::None, &[][..]);
        // A resource that cannot be told leaves its series as they are.
        if plans.write(run, self.body, resource, context, &name, extra).is_err() || !has_identity(run) {
            return Ok(());
        }
        let earliest = earliest as i64;
        let latest = latest as i64;
        let n =
            (latest.saturating_sub(earliest).max(0) as u64).div_ceil(TARGET_INFO_STEP).min(MAX_TARGET_INFO);
        self.intake.expect_bytes(n as usize * 2)?;
        let (found, mark) = self.find_run()?;
        let first = earliest.max(latest.saturating_sub((n * TARGET_INFO_STEP) as i64));
        let columns = self.intake.columns(&found);
        for i in 0..n {
            let at = first.saturating_add((i * TARGET_INFO_STEP) as i64);
            columns.push_float(at.div_euclid(1_000_000), 0, 1.0);
        }
        columns.push_float(latest.div_euclid(1_000_000), 0, 1.0);
        self.finish(&found, mark)?;
        if matches!(found, Found::Series(_)) {
            self.add_metadata(b"target_info", MetricType::Gauge, b"Target metadata", b"");
        }
        Ok(())
    }
}

/// Puts a label in the place of one with the same name. An empty value takes a label away that does not win.
fn set(labels: &mut BTreeMap<String, Fixed>, name: String, value: &[u8], wins: bool) {
    if value.is_empty() && !wins {
        labels.remove(&name);
        return;
    }
    let fixed = Fixed { name: name.clone(), value: value.to_vec(), wins };
    labels.insert(name, fixed);
}

fn has_identity(run: &[u8]) -> bool {
    model::runs(run).any(|(name, value)| matches!(name, "job" | "instance") && !value.is_empty())
}

/// Reads the attributes that lie in field `number` of a message.
fn read_attributes(
    mut message: Reader<'_>,
    number: u32,
    attributes: &mut Attributes,
) -> Result<(), Malformed> {
    while let Some(attribute) = next_message(&mut message, number)? {
        attributes.read(attribute)?;
    }
    Ok(())
}

/// The next message in field `number`; what stands between is skipped.
#[inline]
pub(super) fn next_message<'a>(
    reader: &mut Reader<'a>,
    number: u32,
) -> Result<Option<Reader<'a>>, Malformed> {
    while !reader.is_done() {
        let (found, wire): (u32, Wire) = reader.tag()?;
        if found == number {
            return reader.message(wire).map(Some);
        }
        reader.skip(found, wire)?;
    }
    Ok(None)
}
