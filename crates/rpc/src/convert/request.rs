use std::sync::Arc;
use std::time::Instant;

use model::{Matcher, MatcherOp, TimeRange};
use runtime::MemoryPart;
use wire::{
    LabelsRequest, MetadataRequest, Meter, Projection, QueryRequest, RawRequest, SelectBudget, SelectRequest,
    SeriesRange,
};

use super::{Malformed, labels, run};
use crate::generated::firn;
use crate::generated::firn::matcher::Op;
use crate::limit_names;

fn matcher_to_wire(matcher: &Matcher) -> firn::Matcher {
    let op = match matcher.op {
        MatcherOp::Equal => Op::Equal,
        MatcherOp::NotEqual => Op::NotEqual,
        MatcherOp::Regex => Op::Regex,
        MatcherOp::NotRegex => Op::NotRegex,
    };
    firn::Matcher { name: matcher.name.clone(), op: op.into(), value: matcher.value.clone() }
}

pub(super) fn selector_to_wire(matchers: &[Matcher]) -> firn::Selector {
    firn::Selector { matchers: matchers.iter().map(matcher_to_wire).collect() }
}

pub(super) fn matchers(matchers: &[firn::Matcher]) -> Result<Vec<Matcher>, Malformed> {
    let one = |matcher: &firn::Matcher| {
        let op = match Op::try_from(matcher.op) {
            Ok(Op::Equal) => MatcherOp::Equal,
            Ok(Op::NotEqual) => MatcherOp::NotEqual,
            Ok(Op::Regex) => MatcherOp::Regex,
            Ok(Op::NotRegex) => MatcherOp::NotRegex,
            Err(_) => return Err(Malformed(format!("unknown operator {} of a matcher", matcher.op))),
        };
        Matcher::new(&matcher.name, op, &matcher.value).map_err(|e| Malformed(e.to_string()))
    };
    matchers.iter().map(one).collect()
}

fn limit_to_wire(meter: &Meter) -> firn::Limit {
    firn::Limit { name: meter.name().to_string(), limit: meter.limit(), used: meter.used() }
}

pub(super) fn budget_to_wire(budget: &SelectBudget) -> firn::Budget {
    firn::Budget {
        series: Some(limit_to_wire(&budget.series)),
        samples: Some(limit_to_wire(&budget.samples)),
        bytes: Some(limit_to_wire(&budget.bytes)),
    }
}

/// What a query may still use here, by what it had used where it came from; bytes are this process's own as well.
pub(crate) fn budget_of(
    budget: Option<firn::Budget>,
    deadline: Instant,
    memory: &MemoryPart,
) -> Arc<SelectBudget> {
    let firn::Budget { series, samples, bytes } = budget.unwrap_or_default();
    let meter = |limit: Option<firn::Limit>, name: &'static str| {
        let limit = limit.unwrap_or_default();
        let name = if limit.name.is_empty() { name } else { limit_names::known(&limit.name) };
        Meter::carried_on(name, limit.limit, limit.used)
    };
    Arc::new(SelectBudget {
        series: meter(series, "max_series_per_query"),
        samples: meter(samples, "max_samples_per_query"),
        bytes: meter(bytes, "max_bytes_per_query").taken_from(memory.clone()),
        deadline: Some(deadline),
    })
}

pub(crate) fn select_to_wire(request: &SelectRequest) -> firn::SelectRequest {
    firn::SelectRequest {
        matchers: request.matchers.iter().map(matcher_to_wire).collect(),
        start_ms: request.range.start,
        end_ms: request.range.end,
        budget: Some(budget_to_wire(&request.budget)),
        min_table_version: request.min_table_version,
        within: request.within.as_ref().map(within_to_wire),
        projection: projection_to_wire(&request.projection),
    }
}

fn projection_to_wire(projection: &Projection) -> Option<firn::Projection> {
    let (without, names) = match projection {
        Projection::All => return None,
        Projection::Only(names) => (false, names),
        Projection::Without(names) => (true, names),
    };
    Some(firn::Projection { without, names: names.to_vec() })
}

fn projection(projection: Option<firn::Projection>) -> Projection {
    let Some(firn::Projection { without, mut names }) = projection else { return Projection::All };
    names.sort_unstable();
    if without { Projection::Without(names.into()) } else { Projection::Only(names.into()) }
}

pub(crate) fn select_request(
    request: firn::SelectRequest,
    budget: Arc<SelectBudget>,
) -> Result<SelectRequest, Malformed> {
    Ok(SelectRequest {
        matchers: matchers(&request.matchers)?,
        range: TimeRange::new(request.start_ms, request.end_ms),
        within: request.within.as_ref().map(within).transpose()?,
        projection: projection(request.projection),
        budget,
        min_table_version: request.min_table_version,
    })
}

fn within_to_wire(within: &SeriesRange) -> firn::SeriesRange {
    firn::SeriesRange { first: run(&within.first), last: run(&within.last) }
}

fn within(within: &firn::SeriesRange) -> Result<SeriesRange, Malformed> {
    Ok(SeriesRange { first: labels(&within.first)?, last: labels(&within.last)? })
}

pub(crate) fn raw_to_wire(request: &RawRequest) -> firn::RawRequest {
    firn::RawRequest {
        selectors: request.selectors.iter().map(|matchers| selector_to_wire(matchers)).collect(),
        start_ms: request.range.start,
        end_ms: request.range.end,
        within: request.within.as_ref().map(within_to_wire),
        max_samples: request.max_samples,
    }
}

pub(crate) fn raw_request(request: &firn::RawRequest) -> Result<RawRequest, Malformed> {
    let selectors = request.selectors.iter().map(|selector| matchers(&selector.matchers));
    Ok(RawRequest {
        selectors: selectors.collect::<Result<_, Malformed>>()?,
        range: TimeRange::new(request.start_ms, request.end_ms),
        within: request.within.as_ref().map(within).transpose()?,
        max_samples: request.max_samples,
    })
}

pub(crate) fn labels_to_wire(request: &LabelsRequest, name: &str) -> firn::LabelsRequest {
    firn::LabelsRequest {
        selectors: request.selectors.iter().map(|matchers| selector_to_wire(matchers)).collect(),
        start_ms: request.range.start,
        end_ms: request.range.end,
        limit: request.limit as u64,
        budget: Some(budget_to_wire(&request.budget)),
        min_table_version: request.min_table_version,
        name: name.to_string(),
    }
}

pub(crate) fn labels_request(
    request: firn::LabelsRequest,
    budget: Arc<SelectBudget>,
) -> Result<LabelsRequest, Malformed> {
    let selectors = request.selectors.iter().map(|selector| matchers(&selector.matchers));
    Ok(LabelsRequest {
        selectors: selectors.collect::<Result<_, Malformed>>()?,
        range: TimeRange::new(request.start_ms, request.end_ms),
        limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
        budget,
        min_table_version: request.min_table_version,
    })
}

pub(crate) fn metadata_to_wire(request: &MetadataRequest) -> firn::MetadataRequest {
    firn::MetadataRequest {
        family: request.family.clone(),
        budget: Some(budget_to_wire(&request.budget)),
        min_table_version: request.min_table_version,
    }
}

pub(crate) fn metadata_request(request: firn::MetadataRequest, budget: Arc<SelectBudget>) -> MetadataRequest {
    MetadataRequest { family: request.family, budget, min_table_version: request.min_table_version }
}

pub(crate) fn query_to_wire(request: &QueryRequest) -> firn::QueryRequest {
    firn::QueryRequest {
        query: request.query.clone(),
        start_ms: request.start_ms,
        end_ms: request.end_ms,
        step_ms: request.step_ms,
        lookback_ms: request.lookback_ms,
        timeout_ms: request.timeout_ms,
        stats_per_step: request.stats_per_step,
    }
}

pub(crate) fn query_request(request: firn::QueryRequest) -> QueryRequest {
    QueryRequest {
        query: request.query,
        start_ms: request.start_ms,
        end_ms: request.end_ms,
        step_ms: request.step_ms,
        lookback_ms: request.lookback_ms,
        timeout_ms: request.timeout_ms,
        stats_per_step: request.stats_per_step,
    }
}
