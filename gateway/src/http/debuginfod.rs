//! The debuginfod web API (debuginfod(8), WEBAPI): `/buildid/ID/{debuginfo,executable,section/NAME,source/PATH}`.

use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};

use super::{Asked, WasReset, below, tail};
use crate::http::{deliver, error};
use crate::resolve::Gateway;
use crate::resolve::answer::Answer;
use crate::resolve::question::{Malformed, Question, What};
use crate::server::{caller, reset_undecided};

pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.service(below("/buildid", answer));
}

async fn answer(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let question = tail(&request, "/buildid/").map_err(|_| Malformed::Utf8).and_then(|tail| Question::parse(&tail));
    let question = match question {
        Ok(question) => question,
        Err(malformed) => return error::malformed(&malformed),
    };
    request.extensions_mut().insert(Asked(question.what.name()));
    let caller = caller(&request, &gateway.config);
    match gateway.answer(&question, &caller).await {
        Ok(Some(Answer::File(found))) => Box::pin(deliver::file(&request, &gateway.files, &question.what, found)).await,
        Ok(Some(Answer::Redirect(redirect))) => deliver::redirect(&request, redirect),
        // Absent for a question that went in a circle is not absent for everybody.
        Ok(None) if caller.hops >= gateway.config.federation.max_hops => error::absent_for_now(),
        Ok(None) => error::absent(),
        Err(_) => undecided(&request, &gateway, matches!(question.what, What::Section(_))),
    }
}

/// A reset of the connection where that is right, else a status.
pub(super) fn undecided(request: &HttpRequest, gateway: &Gateway, is_section: bool) -> HttpResponse {
    let mut response = error::undecided(is_section);
    if reset_undecided(request, &gateway.config) {
        response.extensions_mut().insert(WasReset);
    }
    response
}
