//! The debuginfod web API (debuginfod(8), WEBAPI): `/buildid/ID/{debuginfo,executable,section/NAME,source/PATH}`.

use actix_web::http::header::HeaderName;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};

use super::route::Endpoint;
use super::{ResetMark, deliver, error, redirect, tail, value};
use crate::providers::federation::verdict::Absence;
use crate::resolve::Gateway;
use crate::resolve::answer::Answer;
use crate::resolve::decision::NoAnswer;
use crate::resolve::question::{Malformed, Question, Resource};
use crate::server::{caller, reset_unavailable};

/// Why an answer was what it was, by `federation.trace`.
pub(super) const TRACE: HeaderName = HeaderName::from_static("x-darkserver-trace");

/// Answers a question for bytes.
pub(super) async fn answer(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let question = tail(&request).map_err(|_| Malformed::Utf8).and_then(|tail| Question::parse(&tail));
    let question = match question {
        Ok(question) => question,
        Err(malformed) => return error::malformed(&malformed),
    };
    request.extensions_mut().insert(Endpoint(question.resource.name()));
    let caller = caller(&request, &gateway.config);
    let decision = gateway.answer(&question, &caller).await;
    let trace = gateway.config.federation.trace.then(|| value(&decision.to_string()));
    let mut response = match decision.answer {
        Ok(Answer::File(found)) => Box::pin(deliver::file(&request, &gateway.cache, &question.resource, found)).await,
        Ok(Answer::Redirect(to)) => redirect::response(&request, to),
        Err(NoAnswer::Absent(Absence::Certain)) => error::absent(),
        Err(NoAnswer::Absent(Absence::Provisional(_))) => error::absent_for_now(),
        Err(NoAnswer::TooLarge(size)) => error::too_large(size, caller.max_size),
        Err(NoAnswer::SectionNotServed) => error::section_not_served(),
        Err(NoAnswer::Unavailable(_)) => {
            response_unavailable(&request, &gateway, matches!(question.resource, Resource::Section(_)))
        }
    };
    if let Some(trace) = trace {
        response.headers_mut().insert(TRACE, trace);
    }
    response
}

/// The response to a request that was not answered at all.
pub(super) fn unavailable(request: &HttpRequest, gateway: &Gateway) -> HttpResponse {
    response_unavailable(request, gateway, asks_for_section(request))
}

/// A reset of the connection where the configuration or the client asks for that, else a status.
fn response_unavailable(request: &HttpRequest, gateway: &Gateway, is_section: bool) -> HttpResponse {
    let mut response = error::unavailable(is_section);
    if reset_unavailable(request, &gateway.config) {
        response.extensions_mut().insert(ResetMark);
    }
    response
}

/// The label `endpoint` of a request that no handler has read: the kind of its question, or `malformed`.
pub(super) fn endpoint(request: &HttpRequest) -> &'static str {
    question(request).map_or("malformed", |question| question.resource.name())
}

/// The question of a request; `None` if it is malformed.
fn question(request: &HttpRequest) -> Option<Question> {
    Question::parse(&tail(request).ok()?).ok()
}

/// True if a request asks for a section. A source path may have a directory of that name.
fn asks_for_section(request: &HttpRequest) -> bool {
    question(request).is_some_and(|question| matches!(question.resource, Resource::Section(_)))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_section_is_told_from_a_source_below_a_directory_of_that_name() {
        for (path, is_section) in [
            ("/buildid/ab12/section/.text", true),
            ("/buildid/ab12/section%2F.text", true),
            ("/darkserver/buildid/ab12/section/.text", true),
            ("/buildid/ab12//section/.text", true),
            ("/buildid/ab12/source/usr/section/x.c", false),
            ("/buildid/ab12/source/section/x.c", false),
            ("/buildid/ab12/source%2Fsection%2Fx.c", false),
            ("/buildid/ab12/debuginfo/section/x", false),
            ("/buildid/section/.text", false),
        ] {
            assert_eq!(asks_for_section(&TestRequest::with_uri(path).to_http_request()), is_section, "{path}");
        }
    }
}
