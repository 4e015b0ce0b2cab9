//! `/metrics`, for Prometheus: OpenMetrics text if that is asked for, the older text format otherwise.

use actix_web::http::header::{ACCEPT, VARY};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::Rest;
use super::problem::Problem;
use super::query::Query;
use crate::metrics::Format;

/// Media types, without their parameters.
const OPEN_METRICS: &str = "application/openmetrics-text";
const PLAIN: &str = "text/plain";

#[utoipa::path(
    get, path = "/metrics", tag = "health", operation_id = "metrics", summary = "Metrics of this node, as METRICS.md lists them",
    description = "OpenMetrics text if `Accept` prefers it, the text format 0.0.4 otherwise",
    responses((status = 200, description = "The metrics", content((String = "text/plain"), (String = "application/openmetrics-text")))),
    security(()),
)]
pub(crate) async fn metrics(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let accepts = request.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    let format = preferred(&accepts.collect::<Vec<_>>().join(","));
    let text = rest.metrics.text(format).map_err(|_| Problem::internal("the metrics cannot be written"))?;
    let content_type = match format {
        Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        Format::Plain => "text/plain; version=0.0.4; charset=utf-8",
    };
    Ok(HttpResponse::Ok().content_type(content_type).insert_header((VARY, "Accept")).body(text))
}

/// OpenMetrics only if it is named, and not valued less than plain text. Whoever accepts anything gets what everybody reads.
fn preferred(accept: &str) -> Format {
    let (mut open, mut plain) = (0.0_f32, 0.0_f32);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let quality = parts
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .map_or(1.0, |(_, value)| value.trim().parse().unwrap_or(0.0));
        if media_type.eq_ignore_ascii_case(OPEN_METRICS) {
            open = open.max(quality);
        } else if media_type.eq_ignore_ascii_case(PLAIN) {
            plain = plain.max(quality);
        }
    }
    if open > 0.0 && open >= plain { Format::OpenMetrics } else { Format::Plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        for accept in [
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; version=1.0.0; charset=utf-8",
            "text/plain;q=0.5, application/openmetrics-text;version=1.0.0",
            // What Prometheus 3 sends.
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;\
             q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        ] {
            assert_eq!(preferred(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/html,*/*;q=0.1",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=much",
            "application/openmetrics-text;q=0.1, text/plain;q=0.9",
            ";;=,,",
        ] {
            assert_eq!(preferred(accept), Format::Plain, "{accept}");
        }
    }
}
