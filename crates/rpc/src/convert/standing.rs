//! How samples stand, and what answers rest on.

use model::TimeRange;
use wire::bytes::put_i64s;
use wire::{Fingerprint, QueryRequest, Standing};

use super::series::{column, i64s};
use super::{Malformed, query_request, query_to_wire};
use crate::generated::firn;

pub(crate) fn standing_to_wire(standing: &Standing) -> firn::StandingResponse {
    firn::StandingResponse { open: ranges_to_wire(&standing.open), table_version: standing.table_version }
}

pub(crate) fn standing(response: &firn::StandingResponse) -> Result<Standing, Malformed> {
    let open = ranges(&response.open)?;
    Ok(Standing { open, prints: Vec::new(), table_version: response.table_version })
}

pub(crate) fn fingerprints_to_wire(request: &QueryRequest, parts: &[TimeRange]) -> firn::FingerprintsRequest {
    firn::FingerprintsRequest { query: Some(query_to_wire(request)), parts: ranges_to_wire(parts) }
}

pub(crate) fn fingerprints_request(
    request: firn::FingerprintsRequest,
) -> Result<(QueryRequest, Vec<TimeRange>), Malformed> {
    let parts = ranges(&request.parts)?;
    let query = request.query.ok_or_else(|| Malformed("a question about no query".to_string()))?;
    Ok((query_request(query), parts))
}

pub(crate) fn fingerprint_to_wire(fingerprint: Option<Fingerprint>) -> firn::Fingerprint {
    match fingerprint {
        Some(Fingerprint { until_ms, print, table_version }) => {
            firn::Fingerprint { settled: true, until_ms, print, table_version }
        }
        None => firn::Fingerprint::default(),
    }
}

pub(crate) fn fingerprint(fingerprint: &firn::Fingerprint) -> Option<Fingerprint> {
    let firn::Fingerprint { settled, until_ms, print, table_version } = *fingerprint;
    settled.then_some(Fingerprint { until_ms, print, table_version })
}

fn ranges_to_wire(ranges: &[TimeRange]) -> bytes::Bytes {
    column(|out| ranges.iter().for_each(|range| put_i64s(out, &[range.start, range.end])))
}

fn ranges(bytes: &bytes::Bytes) -> Result<Vec<TimeRange>, Malformed> {
    let numbers = i64s(bytes)?;
    let (pairs, odd) = numbers.as_chunks::<2>();
    match odd.is_empty() {
        true => Ok(pairs.iter().map(|[start, end]| TimeRange::new(*start, *end)).collect()),
        false => Err(Malformed("a range without its end".to_string())),
    }
}
