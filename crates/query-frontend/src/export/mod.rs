//! `/export`: series with their samples as they are, for those who keep or study them elsewhere.

mod lines;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use columnar::{Columnar, ColumnarError, Format};
use model::{SeriesData, TimeRange};
use wire::QueryError;

use self::lines::Lines;
use crate::error::ApiError;
use crate::http::Deps;
use crate::labels;
use crate::params::Params;
use crate::raw::{Answer, Encode, Gate, Pages, Wanted};

#[derive(Clone)]
struct Exports {
    deps: Deps,
    gate: Gate,
}

/// `/export`
pub(crate) fn routes(deps: Deps, gate: Gate) -> Router {
    Router::new().route("/export", get(export).post(export)).with_state(Exports { deps, gate })
}

/// What the answer is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A line of JSON per series.
    Lines,
    Columnar(Format),
}

impl Form {
    fn of(params: &Params) -> Result<Form, ApiError> {
        match params.get("format").unwrap_or("json") {
            "json" => Ok(Form::Lines),
            "arrow" => Ok(Form::Columnar(Format::Arrow)),
            "parquet" => Ok(Form::Columnar(Format::Parquet)),
            other => {
                Err(ApiError::parameter("format", format!("{other:?} is none of json, arrow and parquet")))
            }
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Form::Lines => "application/stream+json; charset=utf-8",
            Form::Columnar(Format::Arrow) => "application/vnd.apache.arrow.stream",
            Form::Columnar(Format::Parquet) => "application/vnd.apache.parquet",
        }
    }
}

async fn export(
    State(exports): State<Exports>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let form = Form::of(&params)?;
    let rows_max = rows_max(&params)?;
    let start = params.time("start")?.unwrap_or(i64::MIN);
    let end = params.time("end")?.unwrap_or(i64::MAX);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start timestamp"));
    }
    let selectors = labels::selectors(&params).map_err(|e| ApiError::parameter("match[]", e))?;
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let tenants = exports.deps.tenants(&headers)?;
    let failed = |e| ApiError::instead_of("export", &tenants, e);
    let place = exports.gate.enter().await.map_err(failed)?;
    let Deps { querier, memory, .. } = &exports.deps;
    let wanted = Wanted { tenants: tenants.clone(), selectors, range: TimeRange::new(start, end) };
    let pages = Pages::new(Arc::clone(querier), memory.clone(), wanted);
    let body = match form {
        Form::Lines => Answer::new([pages], Lines::new(rows_max), place).body("export").await,
        Form::Columnar(format) => match Table::open(format) {
            Ok(table) => Answer::new([pages], table, place).body("export").await,
            Err(error) => Err(error),
        },
    };
    Ok(answered(form, body.map_err(failed)?))
}

fn answered(form: Form, body: Body) -> Response {
    let content_type = HeaderValue::from_static(form.content_type());
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// `max_rows_per_line`: 0 or absent is no limit.
fn rows_max(params: &Params) -> Result<usize, ApiError> {
    let Some(text) = params.get("max_rows_per_line") else { return Ok(usize::MAX) };
    let wrong = |_| ApiError::parameter("max_rows_per_line", "it must be a non-negative number");
    let rows: usize = text.parse().map_err(wrong)?;
    Ok(if rows == 0 { usize::MAX } else { rows })
}

/// Series as rows of a table.
struct Table(Option<Columnar>);

impl Table {
    fn open(format: Format) -> Result<Table, QueryError> {
        Ok(Table(Some(Columnar::open(format).map_err(internal)?)))
    }
}

impl Encode for Table {
    fn page(&mut self, _query: usize, series: &[SeriesData]) -> Result<Vec<u8>, QueryError> {
        let Some(columnar) = &mut self.0 else { return Ok(Vec::new()) };
        columnar.rows(series).map_err(internal)
    }

    fn end(&mut self) -> Result<Vec<u8>, QueryError> {
        self.0.take().map_or(Ok(Vec::new()), |columnar| columnar.end().map_err(internal))
    }
}

fn internal(error: ColumnarError) -> QueryError {
    QueryError::Internal(error.to_string())
}
